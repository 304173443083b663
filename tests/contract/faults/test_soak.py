"""A mixed load for a long time: memory, descriptors, threads, tasks and records become flat (gate 23)."""

import json
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from oci_image.digest import Digest
from tests.contract.faults.serving import Session, image, served

MIB = 1 << 20

# Has the server write down what it holds when it is asked to: SIGUSR1.
INSIDE = """
import gc, os, signal
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
    with open("%s.new", "w") as file:
        json.dump(known, file)
    os.rename("%s.new", "%s")

async def serve(config, *, ready):
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, report, loop)
    await inner(config, ready=ready)
"""


class Mixed(threading.Thread):
    """A client that does a bit of everything."""

    def __init__(self, url, number, stop):
        super().__init__()
        self.session = Session(url)
        self.number = number
        self.stop = stop
        self.count = 0

    def run(self):
        chance = random.Random(self.number)
        while not self.stop.is_set():
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


def slope(samples):
    """Least squares: what a value grows by in a second."""
    mean_x = sum(x for x, _ in samples) / len(samples)
    mean_y = sum(y for _, y in samples) / len(samples)
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread


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


@pytest.mark.parametrize(
    ("warming", "seconds"),
    [(2, 4), pytest.param(240, 480, marks=[pytest.mark.long, pytest.mark.timeout(1500)])],
)
def test_a_mixed_load_for_a_while(tmp_path, warming, seconds, figure):
    """After the caches have filled nothing grows: memory at most 1 MiB an hour in the long form."""
    path = tmp_path / "holdings"
    settings = {"gc_interval": 0.5, "gc_grace": 1.0, "gc_undelete": 0.0, "upload_idle_seconds": 1.0}
    with served(tmp_path / "root", before=INSIDE.replace("%s", str(path)), **settings) as server:
        stop = threading.Event()
        clients = [Mixed(server.url, number, stop) for number in range(3)]
        for client in clients:
            client.start()
        time.sleep(warming)
        before = holdings(server, path)
        begun = time.monotonic()
        samples = []
        while time.monotonic() - begun < seconds:
            time.sleep(0.1)
            samples.append(
                (time.monotonic() - begun, anonymous(server), server.descriptors(), server.threads())
            )
        after = holdings(server, path)
        stop.set()
        for client in clients:
            client.join()
        requests = 9 * sum(client.count for client in clients)
        time.sleep(1.0)
        rest, idle = server.descriptors(), holdings(server, path)
        server.stop()
    growth = slope([(at, memory) for at, memory, _, _ in samples]) * 3600
    assert rest <= samples[0][2] + 2
    assert max(sample[3] for sample in samples) <= 40
    assert after["tasks"] <= before["tasks"] + 12
    assert idle["tasks"] <= 12
    for name, count in after.items():
        assert count <= 2 * before[name] + 300, name
    if seconds > 60:
        assert growth <= MIB
    assert max(memory for _, memory, _, _ in samples) - samples[0][1] <= (4 if seconds > 60 else 48) * MIB
    records = {name: (before[name], after[name]) for name in before}
    threads = max(sample[3] for sample in samples)
    figure(
        23,
        f"{requests} requests in {warming} and {seconds} s: memory grows by {growth / MIB:.2f} MiB an hour "
        f"in the second part, descriptors {samples[0][2]} to {rest}, at most {threads} threads, "
        f"before and after: {records}, idle {idle['tasks']} tasks",
    )
