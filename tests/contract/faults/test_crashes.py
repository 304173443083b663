"""A registry that is killed: what was acknowledged is there, and nobody has to mend it (gates 1, 3, 4)."""

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from oci_image.digest import Digest
from registry.server.housekeeping.fsck import check
from registry.server.housekeeping.scrub import Scrubber
from registry.server.store.filesystem import FilesystemStore
from tests.contract.faults.serving import SOURCES, connect, send, served, start
from tests.contract.faults.stores import manifest
from tests.contract.faults.workload import WORKLOAD

MIB = 1 << 20


def check_after_kill(root, acknowledged, attempted):
    start = time.process_time()
    store = FilesystemStore(root)
    took = time.process_time() - start
    try:
        assert [item for item in check(store, repair=False) if "is empty" not in item.problem] == []
        assert Scrubber(store).scrub().damaged == {}
        for (repository, tag), wanted in acknowledged.items():
            held = str(store.tags.get(repository, tag) or "-")
            assert held in {wanted, attempted.get((repository, tag), wanted)}, (repository, tag)
        for repository in store.tags.repositories():
            for tag in store.tags.names(repository):
                found = store.manifests.get(repository, store.tags.get(repository, tag))
                layer = json.loads(found.raw)["layers"][0]
                assert store.blobs.stat(repository, Digest.parse(layer["digest"])) == layer["size"]
        for key in acknowledged:
            acknowledged[key] = str(store.tags.get(*key) or "-")
    finally:
        store.close()
    return took


@pytest.mark.parametrize("kills", [4, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(3600)])])
def test_kills_lose_nothing_that_was_acknowledged(tmp_path, kills, figure):
    """Pushes, deletions and collections, killed at random points: no tag is lost or wrong (gate 1)."""
    root = str(tmp_path / "root")
    acknowledged: dict[tuple[str, str], str] = {}
    attempted: dict[tuple[str, str], str] = {}
    chance = random.Random(kills)
    slowest = 0.0
    changes = 0
    for seed in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", WORKLOAD, root, str(seed)],
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": SOURCES, "PATH": os.environ["PATH"]},
        )
        assert process.stdout.readline() == b"started\n"
        time.sleep(chance.uniform(0.02, 0.5))
        process.send_signal(signal.SIGKILL)
        lines = process.stdout.read().decode().splitlines()
        process.wait()
        process.stdout.close()
        for line in lines:
            word, *key, digest = line.split()
            (attempted if word == "try" else acknowledged)[tuple(key)] = digest
            changes += word == "put"
        slowest = max(slowest, check_after_kill(root, acknowledged, attempted))
        attempted.clear()
    assert slowest < 2
    assert len(acknowledged) > 5
    figure(
        1, f"{kills} kills, {changes} acknowledged changes, 0 lost or wrong, slowest start {slowest:.2f} s"
    )


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.long)])
def test_a_start_with_many_blobs_is_fast(tmp_path, count, figure):
    """After a kill, with repositories to read again: two seconds for 10,000 blobs (gate 1)."""
    root = str(tmp_path / "root")
    store = FilesystemStore(root)
    for repository in range(10):
        name = f"r{repository}"
        raw = manifest(json.dumps({"schemaVersion": 2, "n": repository}).encode())
        store.manifests.put(name, raw, ["t"])
        folder = f"{root}/{store.layout.member_directory(name, 'blobs', 'sha256')}"
        os.makedirs(folder, exist_ok=True)
        for number in range(count // 10):
            data = f"{repository} {number}".encode()
            path = store.layout.blob(Digest.of(data))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(data)
            os.link(path, f"{folder}/{Digest.of(data).hex}")
    os.close(store._lock_descriptor)  # as a kill does: nothing was written down
    store.index.close()
    started = time.process_time()
    with_all = FilesystemStore(root)
    took = time.process_time() - started
    assert len(with_all.index.rows("SELECT 1 FROM blobs")) == count
    with_all.close()
    assert took < 2 * max(0.25, count / 10_000)
    figure(1, f"start with {count} blobs, all to be read again: {took:.2f} s of processor time")


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_a_killed_upload_goes_on(tmp_path, kills, figure):
    """At most the last MiB is lost, the offset is what the disk has, the digest at the end right (gate 3)."""
    chance = random.Random(3)
    lost = []
    for turn in range(kills):
        data = os.urandom(3 * MIB + chance.randrange(MIB))
        # What comes with the head of the request is taken from the parser, and counts as well.
        sent = chance.randrange(MIB, len(data)) if turn else MIB + 20_000
        root = tmp_path / "root"
        with served(root) as server:
            location = start(server.url)
            with connect(server.port) as socket:
                head = f"PATCH {location} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(data)}\r\n\r\n"
                socket.sendall(head.encode() + data[:sent])
                time.sleep(0.3)
                server.kill()
        with served(root) as server:
            status, headers, _ = send("GET", server.url + location)
            assert status == 204
            held = int(headers["Range"].partition("-")[2]) + 1
            assert sent - MIB <= held <= sent
            lost.append(sent - held)
            sent_range = {"Content-Range": f"{held}-{len(data) - 1}"}
            assert send("PATCH", server.url + location, data[held:], sent_range)[0] == 202
            assert send("PUT", f"{server.url}{location}?digest={Digest.of(data)}", b"")[0] == 201
            assert send("GET", f"{server.url}/v2/a/blobs/{Digest.of(data)}")[2] == data, turn
            server.stop()
    figure(3, f"{kills} of {kills} resumed and right, at most {max(lost)} bytes sent again")


def test_a_stopping_server_finishes_and_refuses(tmp_path, figure):
    """Running requests end with 201, others get 503, it takes at most the time to drain (gate 4)."""
    data = os.urandom(200_000)
    with served(tmp_path / "root", drain_seconds=4.0) as server:
        kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        kept.connect()
        running, statuses = [], []
        for number in range(8):
            part = data + bytes([number])
            socket = connect(server.port)
            path = f"/v2/a/blobs/uploads/?digest={Digest.of(part)}"
            socket.sendall(f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(part)}\r\n\r\n".encode())
            socket.sendall(part[:1000])
            running.append((socket, part[1000:]))
        time.sleep(0.3)
        stopped = time.monotonic()
        server.child.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        kept.request("GET", "/v2/")
        assert kept.getresponse().status == 503
        kept.close()

        def finish(socket, rest):
            with socket:
                socket.sendall(rest)
                statuses.append(socket.recv(100)[:12])

        threads = [threading.Thread(target=finish, args=pair) for pair in running]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [b"HTTP/1.1 201"] * 8
        assert server.child.wait(10) == 0
        took = time.monotonic() - stopped
        assert took < 4.5
    figure(4, f"8 running pushes finished, others 503, stopped after {took:.1f} s, status 0")
