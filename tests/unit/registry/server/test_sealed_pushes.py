"""Blobs that are sealed while they are pushed, and how the first pull after that goes."""

import contextlib
import http.client
import os
import random
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from oci_image.digest import Digest
from registry.server.config import RegistryConfig
from registry.server.embedded import Registry
from registry.server.sealing import BLOCK

DATA = random.Random(61).randbytes(5 * 1024 * 1024 + 333)
DIGEST = Digest.of(DATA)
UPLOADS = "/v2/a/blobs/uploads/"


def registry(tmp_path, window=0.0):
    return Registry(
        RegistryConfig(port=0, root=str(tmp_path / "root"), verify_window=window, drain_seconds=0.5)
    )


def ask(url, method, path, body=None, headers=None):
    """Status, headers, body and whether that is complete."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    with contextlib.closing(connection):
        connection.request(
            method, path, body, headers or {}, encode_chunked="Transfer-Encoding" in (headers or {})
        )
        answer = connection.getresponse()
        try:
            return answer.status, answer.headers, answer.read(), True
        except http.client.IncompleteRead as cut:
            return answer.status, answer.headers, cut.partial, False
        except ConnectionError:
            return answer.status, answer.headers, b"", False


def pull(url):
    status, _, body, complete = ask(url, "GET", f"/v2/a/blobs/{DIGEST}")
    return body if status == 200 and complete else None


def begin(url):
    return ask(url, "POST", UPLOADS)[1]["Location"].removeprefix(url)


def finish(url, place, digest=DIGEST, body=b""):
    return ask(url, "PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", body)[0]


def in_one_post(url):
    return ask(url, "POST", f"{UPLOADS}?digest={DIGEST}", DATA)[0]


def in_one_put(url):
    return finish(url, begin(url), body=DATA)


def in_chunks_of_http(url):
    place = begin(url)
    pieces = (DATA[start : start + 70_001] for start in range(0, len(DATA), 70_001))
    assert ask(url, "PATCH", place, pieces, {"Transfer-Encoding": "chunked"})[0] == 202
    return finish(url, place)


def in_patches(url, size):
    place = begin(url)
    for start in range(0, len(DATA) - size, size):
        bounds = {"Content-Range": f"{start}-{start + size - 1}"}
        assert ask(url, "PATCH", place, DATA[start : start + size], bounds)[0] == 202
    return finish(url, place, body=DATA[start + size :])


def after_a_break(url):
    """The client goes away within a body, asks how much came, and goes on."""
    place = begin(url)
    sent = 3 * 1024 * 1024 + 11
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port)) as held:
        held.sendall(f"PATCH {place} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(DATA)}\r\n\r\n".encode())
        held.sendall(DATA[:sent])
    for _ in range(200):
        status, headers, _, _ = ask(url, "GET", place)
        if status == 204 and headers["Range"] == f"0-{sent - 1}":
            break
        time.sleep(0.02)
    for _ in range(200):  # until the request before has ended
        status = ask(url, "PATCH", place, DATA[sent:], {"Content-Range": f"{sent}-{len(DATA) - 1}"})[0]
        if status == 202:
            break
        time.sleep(0.02)
    return finish(url, place)


PUSHES = {
    "post": in_one_post,
    "put": in_one_put,
    "http-chunks": in_chunks_of_http,
    "patches": lambda url: in_patches(url, 1024 * 1024),
    "odd-patches": lambda url: in_patches(url, 700_001),
    "break": after_a_break,
}


def path_of(tmp_path):
    return tmp_path / "root" / "blobs" / DIGEST.algorithm / DIGEST.hex[:2] / DIGEST.hex


def flip(tmp_path, offset):
    path = path_of(tmp_path)
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 4]))


@pytest.mark.parametrize("push", PUSHES.values(), ids=PUSHES)
def test_the_first_pull_needs_no_digest(tmp_path, hashed, push):
    with registry(tmp_path) as url:
        assert push(url) == 201
        assert pull(url) == DATA
        status, _, body, _ = ask(url, "GET", f"/v2/a/blobs/{DIGEST}", headers={"Range": "bytes=5-300000"})
        assert (status, body) == (206, DATA[5:300_001])
    assert hashed == []


@pytest.mark.parametrize("block", [0, 1, 7, 20])
def test_a_wrong_block_is_not_sent(tmp_path, hashed, block):
    """Also not at the first pull after the push; what comes before it may be."""
    with registry(tmp_path) as url:
        assert in_one_put(url) == 201
        flip(tmp_path, min(block * BLOCK + 1000, len(DATA) - 1))
        _, _, body, complete = ask(url, "GET", f"/v2/a/blobs/{DIGEST}")
        assert not complete
        assert len(body) <= block * BLOCK
        assert body == DATA[: len(body)]
        assert ask(url, "HEAD", f"/v2/a/blobs/{DIGEST}")[0] == 404
        assert in_one_put(url) == 201
        assert pull(url) == DATA
    assert hashed == []


def test_a_long_window_leaves_pushes_alone(tmp_path, monkeypatch):
    """What was pushed counts as verified anyway."""
    monkeypatch.setattr("registry.server.sealing.Seals.extend", None)
    with registry(tmp_path, window=60.0) as url:
        assert in_one_put(url) == 201
        assert pull(url) == DATA


def test_a_wrong_digest_leaves_no_seal(tmp_path, monkeypatch):
    added = []
    monkeypatch.setattr(
        "registry.server.sealing.Seals.add", lambda _seals, digest, _seal: added.append(digest)
    )
    with registry(tmp_path) as url:
        assert finish(url, begin(url), digest=Digest.of(b"other"), body=DATA) == 400
        assert added == []
        assert in_one_put(url) == 201
    assert added == [DIGEST]


def test_an_upload_that_another_process_began(tmp_path, hashed):
    """Its beginning was not sealed, so the first pull computes the digest, once."""
    half = 2 * 1024 * 1024
    with registry(tmp_path) as url:
        place = begin(url)
        assert ask(url, "PATCH", place, DATA[:half], {"Content-Range": f"0-{half - 1}"})[0] == 202
    with registry(tmp_path) as url:
        assert finish(url, place, body=DATA[half:]) == 201
        for _ in range(3):
            assert pull(url) == DATA
    assert sum(hashed) == len(DATA)


def test_a_chunk_that_was_taken_back(tmp_path):
    """A chunk of another length than it said is forgotten; what follows is right nevertheless."""
    with registry(tmp_path) as url:
        place = begin(url)
        whole = {"Content-Range": f"0-{2 * BLOCK - 1}"}
        assert ask(url, "PATCH", place, DATA[: 2 * BLOCK], whole)[0] == 202
        bounds = {"Content-Range": f"{2 * BLOCK}-{4 * BLOCK - 1}", "Transfer-Encoding": "chunked"}
        assert ask(url, "PATCH", place, iter([DATA[-BLOCK:]]), bounds)[0] == 400
        assert finish(url, place, body=DATA[2 * BLOCK :]) == 201
        assert pull(url) == DATA


def test_simultaneous_pulls_compute_one_digest(tmp_path, hashed):
    """Of a blob that this process has not seen before."""
    with registry(tmp_path) as url:
        assert in_one_put(url) == 201
    with registry(tmp_path) as url, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(pull, [url] * 8)) == [DATA] * 8
        assert list(pool.map(pull, [url] * 16)) == [DATA] * 16
    assert sum(hashed) == len(DATA)


def test_slow_clients_get_all_of_it(tmp_path):
    """What is verified waits for the socket, and a client that goes away leaves nothing open."""
    with registry(tmp_path) as url:
        assert in_one_put(url) == 201
        address = urlsplit(url)
        before = len(os.listdir("/proc/self/fd"))

        def read_slowly(most):
            with socket.socket() as held:
                held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                held.connect((address.hostname, address.port))
                held.sendall(
                    f"GET /v2/a/blobs/{DIGEST} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode()
                )
                time.sleep(0.3)
                found = bytearray()
                while len(found) < most and (more := held.recv(65536)):
                    found += more
                return bytes(found).partition(b"\r\n\r\n")[2]

        assert read_slowly(2 * len(DATA)) == DATA
        read_slowly(100_000)
        assert pull(url) == DATA
        deadline = time.monotonic() + 10
        while len(os.listdir("/proc/self/fd")) > before and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(os.listdir("/proc/self/fd")) <= before
