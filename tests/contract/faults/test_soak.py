"""A mixed load for a long time: memory, descriptors, threads, tasks and records become flat (gate 23)."""

import json
import random
import signal
import statistics
import threading
import time
from pathlib import Path

import pytest

from oci_image.digest import Digest
from tests.contract.faults.serving import Session, image, served

MIB = 1 << 20

# Has the server write down what it holds when it is asked to: SIGUSR1. Garbage of the interpreter and free
# memory of the allocator go first: what is left is what is kept.
INSIDE = """
import ctypes, gc, os, signal
from registry.server.hoarding import OpenUploads
from registry.server.leases import Leases
from registry.server.store.sessions import Sessions
from registry.server.verification import VerifiedBlobs

inner = serve

def size(record):
    parts = [part for part in vars(record).values() if not isinstance(part, str)]
    return sum(len(part) for part in parts if hasattr(part, "__len__"))

def report(loop):
    gc.collect()
    known = {kind.__name__: 0 for kind in (OpenUploads, Leases, Sessions, VerifiedBlobs)}
    for item in gc.get_objects():
        for kind in (OpenUploads, Leases, Sessions, VerifiedBlobs):
            if isinstance(item, kind):
                known[kind.__name__] += size(item)
    known["tasks"] = len(asyncio.all_tasks(loop))
    item = None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    known["blocks"] = sys.getallocatedblocks()
    with open("%s.new", "w") as file:
        json.dump(known, file)
    os.rename("%s.new", "%s")

async def serve(config, *, ready):
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, report, loop)
    await inner(config, ready=ready)
"""


class Mixed(threading.Thread):
    """A client that does a bit of everything, with a pause between two rounds of nine requests."""

    def __init__(self, url, number, stop, pause=0.0):
        super().__init__()
        self.session = Session(url)
        self.number = number
        self.stop = stop
        self.pause = pause
        self.count = 0

    def run(self):
        chance = random.Random(self.number)
        while not self.stop.wait(self.pause):
            self.count += 1
            config, layer = chance.randbytes(100), chance.randbytes(chance.choice([1000, 50_000, 400_000]))
            place = f"r{chance.randrange(5)}"
            for data in (config, layer):
                assert self.session.push(place, data) == 201
            assert self.session.put(place, f"t{chance.randrange(20)}", image(config, layer)) in (201, 400)
            self.session("GET", f"/v2/{place}/blobs/{Digest.of(layer)}")
            self.session("GET", f"/v2/{place}/manifests/t{chance.randrange(20)}")
            self.session("GET", f"/v2/{place}/tags/list?n=5")
            self.session("GET", "/v2/_catalog")
            self.session("POST", f"/v2/{place}/blobs/uploads/")
            self.session("DELETE", f"/v2/{place}/manifests/t{chance.randrange(20)}")
        self.session.close()


def anonymous(server):
    """Resident bytes that are no file's: code comes and goes with what else the machine needs memory for."""
    for line in Path(f"/proc/{server.child.pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel does not say")


def holdings(server, path):
    """What the server counts in itself, between requests."""
    server.child.send_signal(signal.SIGUSR1)
    end = time.monotonic() + 20
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)
    found = json.loads(path.read_text())
    path.unlink()
    return found


def load(server, seconds, seed, least=0, pause=0.0):
    """Three clients for so long and so many requests; the requests, the most threads and descriptors."""
    stop = threading.Event()
    clients = [Mixed(server.url, seed + number, stop, pause) for number in range(3)]
    for client in clients:
        client.start()
    threads, descriptors = 0, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end or 9 * sum(client.count for client in clients) < least:
        time.sleep(0.1)
        threads, descriptors = max(threads, server.threads()), max(descriptors, server.descriptors())
    stop.set()
    for client in clients:
        client.join()
    return 9 * sum(client.count for client in clients), threads, descriptors


def at_rest(server, path):
    """What the server keeps once uploads have expired and garbage was collected."""
    time.sleep(2.5)
    found = holdings(server, path)
    return found | {"memory": anonymous(server), "descriptors": server.descriptors()}


SETTINGS = {"gc_interval": 0.5, "gc_grace": 1.0, "gc_undelete": 0.0, "upload_idle_seconds": 1.0}
HOUR = [pytest.mark.long, pytest.mark.timeout(6000)]


def test_a_mixed_load_for_a_while(tmp_path, figure):
    """Once the caches have filled, a load leaves nothing behind."""
    path = tmp_path / "holdings"
    warming, seconds = 2, 4
    with served(tmp_path / "root", before=INSIDE.replace("%s", str(path)), **SETTINGS) as server:
        warmed, _, _ = load(server, warming, 0)
        before = at_rest(server, path)
        requests, threads, descriptors = load(server, seconds, 3)
        after = at_rest(server, path)
        server.stop()
    grown = after["memory"] - before["memory"]
    rows = ", ".join(f"{name} {before[name]} and {after[name]}" for name in ("OpenUploads", "VerifiedBlobs"))
    figure(
        23,
        f"{requests} requests in {seconds} s, after {warmed} in {warming} s: memory at rest "
        f"{grown / 1024:+.0f} KiB, Python's blocks {after['blocks'] - before['blocks']:+d}, descriptors "
        f"{before['descriptors']} and {after['descriptors']} (at most {descriptors}), tasks "
        f"{before['tasks']} and {after['tasks']}, at most {threads} threads, rows of records: {rows}",
    )
    assert threads <= 40
    assert after["descriptors"] <= before["descriptors"] + 2
    for name in ("OpenUploads", "Leases", "Sessions", "VerifiedBlobs", "tasks"):
        assert after[name] <= before[name] + 300, name
    assert after["tasks"] <= before["tasks"] + 1
    assert grown <= 16 * MIB


@pytest.mark.parametrize(("parts", "seconds"), [(3, 1), pytest.param(12, 300, marks=HOUR)])
def test_a_mixed_load_for_an_hour(tmp_path, parts, seconds, figure):
    """What the server keeps at rest after each twelfth of an hour lies on a line that hardly rises."""
    path = tmp_path / "holdings"
    hour = parts * seconds >= 3600
    with served(tmp_path / "root", before=INSIDE.replace("%s", str(path)), **SETTINGS) as server:
        warmed, _, _ = load(server, seconds, 0, least=30_000 if hour else 0)
        found, requests, started = [(0.0, at_rest(server, path))], 0, time.monotonic()
        for part in range(parts):
            count, threads, descriptors = load(server, seconds, 3 * (part + 1), pause=0.1 if hour else 0.0)
            requests += count
            found.append(((time.monotonic() - started) / 3600, at_rest(server, path)))
            assert threads <= 40
            assert descriptors <= 60
        server.stop()
    slopes = {name: slope(found, name) for name in ("memory", "descriptors", "tasks", "blocks")}
    figure(
        23,
        f"{requests} requests in {found[-1][0] * 60:.0f} minutes, after {warmed}: an hour adds at rest "
        f"{slopes['memory'] / 1024:+.0f} KiB, {slopes['descriptors']:+.2f} descriptors, "
        f"{slopes['tasks']:+.2f} tasks, {slopes['blocks']:+.0f} of Python's blocks; in KiB after each part: "
        + ", ".join(str(held["memory"] // 1024) for _, held in found),
    )
    first, last = found[0][1], found[-1][1]
    assert last["descriptors"] <= first["descriptors"] + 2
    assert last["tasks"] <= first["tasks"] + 1
    if hour:
        assert slopes["memory"] <= MIB
        assert last["memory"] - first["memory"] <= 16 * requests
        assert last["blocks"] - first["blocks"] <= requests / 10
        assert abs(slopes["descriptors"]) < 1
        assert abs(slopes["tasks"]) < 1


def slope(found, name):
    """By how much something rises in an hour: the line with the least squares."""
    return statistics.linear_regression([when for when, _ in found], [held[name] for _, held in found]).slope
