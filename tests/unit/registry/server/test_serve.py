"""A server process: start, stop, crash, full disk, damaged disk."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from oci_image.digest import Digest
from registry.errors import InvalidConfiguration
from registry.server.config import RegistryConfig
from registry.server.embedded import Registry
from registry.server.listening import listening
from registry.server.store.filesystem import FilesystemStore
from registry.server.store.memory import MemoryStore

ROOT = Path(__file__).parents[4]
PROGRAM = """
import asyncio, sys
from registry.server.config import RegistryConfig
from registry.server.serve import serve
config = RegistryConfig(port=0, root=sys.argv[1], drain_seconds=float(sys.argv[2]))
asyncio.run(serve(config, ready=lambda url: print(url, flush=True)))
"""


def request(method, url, data=None, **headers):
    """Status, headers and body; an error status is no exception here."""
    sent = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(sent, timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as problem:
        with problem:
            return problem.code, problem.headers, problem.read()


@contextlib.contextmanager
def process(root, drain=5.0):
    """A server in a process of its own."""
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(root), str(drain)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        yield child, child.stdout.readline().strip()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def push(url, data, repository="a"):
    status, _, body = request("POST", f"{url}/v2/{repository}/blobs/uploads/?digest={Digest.of(data)}", data)
    return status, body


def test_a_terminated_server_finishes_what_it_started(tmp_path):
    """SIGTERM: nothing new is accepted, the running request is answered, the exit status is 0."""
    with process(tmp_path / "root") as (child, url):
        port = int(url.rpartition(":")[2])
        data = b"x" * 100_000
        digest = Digest.of(data)
        running = socket.create_connection(("127.0.0.1", port))
        kept = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        kept.connect()
        head = f"POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: h\r\n"
        running.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data[:50_000])
        time.sleep(0.3)
        child.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", port))
        kept.request("GET", "/v2/")
        answer = kept.getresponse()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        answer.read()
        kept.close()
        running.sendall(data[50_000:])
        assert running.recv(100).startswith(b"HTTP/1.1 201 ")
        running.close()
        assert child.wait(10) == 0
    store = FilesystemStore(str(tmp_path / "root"))
    assert store.blobs.stat("a", digest) == len(data)
    store.close()


def test_a_client_that_hangs_does_not_stop_the_stop(tmp_path):
    """The time to drain is limited."""
    with process(tmp_path / "root", drain=0.3) as (child, url):
        hanging = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
        hanging.sendall(b"POST /v2/a/blobs/uploads/?digest=" + str(Digest.of(b"")).encode())
        hanging.sendall(b" HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nx")
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        assert child.wait(10) == 0
        hanging.close()


def test_uploads_survive_a_kill(tmp_path):
    """After SIGKILL the old Location works, the offset is right, and the digest at the end as well."""
    data = os.urandom(3_000_000)
    with process(tmp_path / "root") as (child, url):
        _, headers, _ = request("POST", f"{url}/v2/a/blobs/uploads/")
        location = headers["Location"]
        assert request("PATCH", url + location, data[:2_000_000])[0] == 202
        child.kill()
        child.wait()
    with process(tmp_path / "root") as (_, url):
        status, headers, _ = request("GET", url + location)
        assert (status, headers["Range"]) == (204, "0-1999999")
        status, _, _ = request(
            "PATCH", url + location, data[2_000_000:], **{"Content-Range": "2000000-2999999"}
        )
        assert status == 202
        status, headers, _ = request("PUT", f"{url}{location}?digest={Digest.of(data)}", b"")
        assert status == 201
        assert request("GET", url + headers["Location"])[2] == data


def test_nothing_that_was_acknowledged_is_lost_by_kills(tmp_path):
    """Kills at random moments of pushing: every 201 is there afterwards, and no tag leads nowhere."""
    root, acknowledged, tagged = tmp_path / "root", {}, {}
    for round_ in range(4):
        with process(root) as (child, url):
            deadline = time.monotonic() + 0.15 + 0.1 * round_
            with contextlib.suppress(OSError):
                for number in range(10_000):
                    data = f"{round_}/{number}".encode() * 100
                    raw = json.dumps({"schemaVersion": 2, "manifests": [], "n": [round_, number]}).encode()
                    if push(url, data)[0] == 201:
                        acknowledged[Digest.of(data)] = data
                    if request("PUT", f"{url}/v2/a/manifests/t{number % 5}", raw)[0] == 201:
                        tagged[f"t{number % 5}"] = raw
                    if time.monotonic() > deadline:
                        break
            child.kill()
            child.wait()
    assert acknowledged
    with process(root) as (_, url):
        for digest, data in acknowledged.items():
            assert request("GET", f"{url}/v2/a/blobs/{digest}")[2] == data
        tags = json.loads(request("GET", f"{url}/v2/a/tags/list")[2])["tags"]
        assert set(tags) >= set(tagged)
        for tag, raw in tagged.items():
            assert request("GET", f"{url}/v2/a/manifests/{tag}")[2] == raw


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 4 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", path], check=False, capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", path], check=True)


def test_a_full_disk_is_507_and_heals(tiny_disk):
    """The partial upload is gone at once, no path is told, a small push works, pulls never fail."""
    small = b"small"
    with Registry(root=str(tiny_disk / "root")) as url:
        assert push(url, small)[0] == 201
        for _ in range(3):
            status, body = push(url, b"x" * 6_000_000)
            assert status == 507
            assert str(tiny_disk).encode() not in body
            assert json.loads(body)["errors"][0]["code"] == "UNKNOWN"
        _, headers, _ = request("POST", f"{url}/v2/a/blobs/uploads/")
        assert request("PATCH", url + headers["Location"], b"y" * 6_000_000)[0] == 507
        assert request("GET", url + headers["Location"])[0] == 404
        assert push(url, b"another small one")[0] == 201
        assert request("GET", f"{url}/v2/a/blobs/{Digest.of(small)}")[2] == small
    assert list((tiny_disk / "root" / "uploads").rglob("*.*")) == []


def damage(root, digest):
    path = Path(root) / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("size", [5000, 5_000_000])
@pytest.mark.parametrize("text", [None, "bytes=0-99"])
def test_damaged_bytes_are_never_delivered(tmp_path, size, text):
    """One flipped bit: no complete answer, then 404; a push of the same blob repairs it."""
    data = os.urandom(size)
    digest = Digest.of(data)
    root = str(tmp_path / "root")
    with Registry(root=root) as url:
        blob = f"{url}/v2/a/blobs/{digest}"
        assert push(url, data)[0] == 201
        damage(root, digest)
        sent = {"Range": text} if text else {}
        if size > 1_000_000 and text is None:
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                request("GET", blob)
        else:
            assert request("GET", blob, **sent)[0] == 404
        assert request("GET", blob)[0] == 404
        assert request("HEAD", blob)[0] == 404
        assert push(url, data)[0] == 201
        assert request("GET", blob)[2] == data


def test_damage_is_found_after_a_restart(tmp_path):
    """A new process trusts nothing that it did not verify itself; without verification it would be served."""
    data = os.urandom(5000)
    root = str(tmp_path / "root")
    with Registry(root=root) as url:
        push(url, data)
    damage(root, Digest.of(data))
    unverified = RegistryConfig(port=0, root=root, verify_reads=False, drain_seconds=0.1)
    with Registry(unverified) as url:
        assert request("GET", f"{url}/v2/a/blobs/{Digest.of(data)}")[0] == 200
    with Registry(root=root) as url:
        assert request("GET", f"{url}/v2/a/blobs/{Digest.of(data)}")[0] == 404


async def test_an_address_that_is_taken():
    """The message names it, and says what to do."""
    async with listening(RegistryConfig(port=0, drain_seconds=0.1), MemoryStore()) as url:
        port = int(re.search(r":(\d+)$", url).group(1))
        with pytest.raises(InvalidConfiguration, match=str(port)) as caught:
            async with listening(RegistryConfig(port=port), MemoryStore()):
                pass
        assert "another port" in caught.value.hint


def test_the_embedded_registry_starts_fast():
    """Well below a second, also when it is started again and again."""
    with Registry():
        pass
    started = time.perf_counter()
    for _ in range(5):
        with Registry() as url:
            assert request("GET", f"{url}/v2/")[0] == 200
    assert (time.perf_counter() - started) / 5 < 1.0


def test_the_embedded_registry_reports_what_is_wrong(tmp_path):
    """The error of its thread is raised where it was started."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidConfiguration), Registry(root=str(tmp_path / "file")):
        pass


def test_an_embedded_registry_over_a_given_store():
    """Content is there before, and stays after."""
    store = MemoryStore()
    registry = Registry(store=store)
    with registry as url:
        assert url.endswith(registry.host)
        assert push(url, b"x")[0] == 201
    assert store.blobs.stat("a", Digest.of(b"x")) == 1


async def test_embedded_registries_live_beside_a_running_loop():
    """A test that is asynchronous itself can use one."""
    with Registry() as url:
        status, _, _ = await asyncio.to_thread(request, "GET", f"{url}/v2/")
    assert status == 200
