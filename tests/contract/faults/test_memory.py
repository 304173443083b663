"""Memory of the server: large blobs, many uploads, many slow readers (gate 14)."""

import hashlib
import http.client
import os
import random
import threading
import time

import pytest

from oci_image.digest import Digest
from tests.contract.faults.serving import connect, push, send, served, start

MIB = 1 << 20
BLOCK = random.Random(1).randbytes(MIB)


def large_blob(mebibytes):
    """The digest of a blob that is sent from one block again and again."""
    hasher = hashlib.sha256()
    for number in range(mebibytes):
        hasher.update(number.to_bytes(8, "big") + BLOCK[8:])
    return f"sha256:{hasher.hexdigest()}"


def send_large(port, mebibytes, digest):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    parts = (number.to_bytes(8, "big") + BLOCK[8:] for number in range(mebibytes))
    path = f"/v2/a/blobs/uploads/?digest={digest}"
    connection.request("POST", path, parts, {"Content-Length": str(mebibytes * MIB)})
    status = connection.getresponse().status
    connection.close()
    return status


class Peak:
    """The largest memory of a server within a block."""

    def __init__(self, server):
        self.server = server
        self.before = server.memory()
        self.most = self.before
        self.threads = server.threads()
        self._stop = threading.Event()

    def __enter__(self):
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self):
        while not self._stop.wait(0.02):
            self.most = max(self.most, self.server.memory())
            self.threads = max(self.threads, self.server.threads())

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    @property
    def grown(self):
        return self.most - self.before


@pytest.mark.parametrize("mebibytes", [128, pytest.param(10 * 1024, marks=pytest.mark.long)])
def test_a_large_blob_needs_little_memory(tmp_path, mebibytes, figure):
    """At most 64 MiB over an idle server, for a push and for pulls of either kind."""
    digest = large_blob(mebibytes)
    with served(tmp_path / "root") as server:
        assert push(server.url, "a", b"warm") == 201
        with Peak(server) as pushing:
            assert send_large(server.port, mebibytes, digest) == 201
        server.stop()
    with served(tmp_path / "root") as server:
        assert push(server.url, "a", b"warm again") == 201
        grown = []
        for _ in range(2):  # verified while it is sent, then sent by the kernel
            with Peak(server) as pulling:
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
                connection.request("GET", f"/v2/a/blobs/{digest}")
                answer = connection.getresponse()
                hasher = hashlib.sha256()
                while block := answer.read(MIB):
                    hasher.update(block)
                connection.close()
            assert f"sha256:{hasher.hexdigest()}" == digest
            grown.append(pulling.grown)
        server.stop()
    assert max(pushing.grown, *grown) <= 64 * MIB
    figure(
        14,
        f"{mebibytes} MiB: push +{pushing.grown // MIB} MiB, "
        f"pulls +{grown[0] // MIB} and +{grown[1] // MIB} MiB of memory",
    )


@pytest.mark.parametrize(("uploads", "mebibytes"), [(200, 1), pytest.param(200, 16, marks=pytest.mark.long)])
def test_many_uploads_need_little_memory(tmp_path, uploads, mebibytes, figure):
    """Two hundred at once, at most 256 MiB over an idle server."""
    with served(tmp_path / "root", stall_seconds=300) as server:
        assert push(server.url, "a", b"warm") == 201
        sockets = [connect(server.port, 300) for _ in range(uploads)]
        digests = [Digest.of(number.to_bytes(8, "big") + BLOCK[8:]) for number in range(uploads)]
        with Peak(server) as peak:
            for number, socket in enumerate(sockets):
                path = (
                    f"/v2/a/blobs/uploads/?digest={digests[number]}" if mebibytes == 1 else start(server.url)
                )
                method = "POST" if mebibytes == 1 else "PATCH"
                head = f"{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {mebibytes * MIB}\r\n\r\n"
                socket.sendall(head.encode() + number.to_bytes(8, "big"))
            rest = memoryview(BLOCK)[8:]
            pieces = [rest[at : at + 65536] for at in range(0, len(rest), 65536)]
            for turn in range(mebibytes):
                for piece in pieces:
                    for socket in sockets:
                        socket.sendall(piece)
                if turn + 1 < mebibytes:
                    for number, socket in enumerate(sockets):
                        socket.sendall(number.to_bytes(8, "big"))
            statuses = {socket.recv(12) for socket in sockets}
        for socket in sockets:
            socket.close()
        server.stop()
    assert statuses == {b"HTTP/1.1 201" if mebibytes == 1 else b"HTTP/1.1 202"}
    assert peak.grown <= 256 * MIB
    figure(14, f"{uploads} uploads of {mebibytes} MiB at once: +{peak.grown // MIB} MiB of memory")


@pytest.mark.parametrize("is_warm", [False, True], ids=["not verified yet", "verified"])
@pytest.mark.parametrize("readers", [100, pytest.param(200, marks=pytest.mark.long)])
def test_slow_readers_hold_nothing(tmp_path, readers, is_warm, figure):
    """No thread, and little memory each; others are served meanwhile."""
    blobs = [os.urandom(16) + BLOCK * 8 for _ in range(4)]
    with served(tmp_path / "root") as server:
        for data in blobs:
            assert push(server.url, "a", data) == 201
        server.stop()
    with served(tmp_path / "root") as server:
        assert push(server.url, "a", b"warm") == 201
        for data in blobs if is_warm else []:
            assert len(send("GET", f"{server.url}/v2/a/blobs/{Digest.of(data)}")[2]) == len(data)
        threads = server.threads()
        with Peak(server) as peak:
            sockets = []
            for number in range(readers):
                socket = connect(server.port)
                digest = Digest.of(blobs[number % len(blobs)])
                socket.sendall(f"GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
                sockets.append(socket)
            for socket in sockets:
                assert socket.recv(1024).startswith(b"HTTP/1.1 200")
            time.sleep(0.5)
            held = server.memory() - peak.before
            asked = time.perf_counter()
            assert send("GET", f"{server.url}/v2/")[0] == 200
            asked = time.perf_counter() - asked
        for socket in sockets:
            socket.close()
        server.stop()
    # The first ones are verified while they are sent, with two blocks of a MiB each.
    allowed = 32 * MIB + readers * 64 * 1024
    assert held <= allowed
    assert server.child.returncode == 0
    figure(
        14,
        f"{readers} readers that read nothing ({'verified' if is_warm else 'not verified'}): "
        f"+{held // MIB} MiB, {threads} to {peak.threads} threads of the pool of 32, "
        f"another request took {1000 * asked:.0f} ms",
    )
    assert peak.threads <= 32 + 4
