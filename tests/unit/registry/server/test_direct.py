"""Large bodies go from the socket to the storage without the parser of aiohttp."""

import logging
import random
import socket
import ssl
import time
from contextlib import contextmanager

import pytest

from oci_image.digest import Digest
from registry.errors import StorageFull
from registry.server.config import RegistryConfig
from registry.server.embedded import Registry
from registry.server.policies import Policy
from registry.server.store.memory import MemoryStore
from registry.testing import make_registry

HOST = "Host: h\r\n"
LARGE = random.Random(3).randbytes(3 * 1024 * 1024 + 17)


@contextmanager
def connected(url, context=None):
    host, _, port = url.partition("://")[2].rpartition(":")
    plain = socket.create_connection((host, int(port)), timeout=20)
    with context.wrap_socket(plain, server_hostname="localhost") if context else plain as held:
        yield held


def ask(held, method, path, body=b"", headers=""):
    held.sendall(f"{method} {path} HTTP/1.1\r\n{HOST}{headers}Content-Length: {len(body)}\r\n\r\n".encode())
    held.sendall(body)
    return answer(held, method)


def answer(held, method="GET"):
    """Status, headers by small names, and body of exactly one answer."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        data += held.recv(1)
        assert data, "the connection was closed"
    first, *lines = data.decode().strip().split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = int(first.split()[1])
    size = 0 if method == "HEAD" or status == 204 else int(fields.get("content-length", "0"))
    body = b""
    while len(body) < size:
        body += held.recv(size - len(body))
    return status, fields, body


def begin(held, repository="a"):
    status, fields, _ = ask(held, "POST", f"/v2/{repository}/blobs/uploads/")
    assert status == 202
    return fields["location"]


def put(location, digest):
    return f"{location}?digest={digest}"


def is_settled(held, location, wanted):
    """Whether the upload comes to hold so many bytes."""
    for _ in range(100):
        _, fields, _ = ask(held, "GET", location)
        if fields["range"] == f"0-{wanted - 1}":
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(params=["memory", "files", "tls"])
def served(request, tmp_path):
    """URL of a server, and what clients need to trust it."""
    root = str(tmp_path / "root") if request.param == "files" else ""
    registry = make_registry(str(tmp_path), root=root, tls=request.param == "tls", stall_seconds=1.0)
    with registry as url:
        context = ssl.create_default_context(cafile=registry.certificate) if registry.certificate else None
        yield url, context


def test_large_bodies_arrive_whole(served):
    """One PUT, and PATCH with ranges, over a connection that goes on with other requests."""
    with connected(*served) as held:
        whole, parts = Digest.of(LARGE), Digest.of(LARGE[:-1])
        assert ask(held, "PUT", put(begin(held), whole), LARGE)[0] == 201
        location = begin(held)
        for start in range(0, len(LARGE) - 1, 1_000_000):
            part = LARGE[start : min(start + 1_000_000, len(LARGE) - 1)]
            extent = f"Content-Range: {start}-{start + len(part) - 1}\r\n"
            assert ask(held, "PATCH", location, part, extent)[0] == 202
        assert ask(held, "PUT", put(location, parts))[0] == 201
        for digest, data in ((whole, LARGE), (parts, LARGE[:-1])):
            status, _, body = ask(held, "GET", f"/v2/a/blobs/{digest}")
            assert (status, body) == (200, data)


def test_the_next_request_is_left_alone(served):
    """Requests that were sent without waiting are answered in their order."""
    with connected(*served) as held:
        first, second = begin(held), begin(held)
        digest, other = Digest.of(LARGE), Digest.of(LARGE[1:])
        requests = b"".join(
            f"PUT {put(location, wanted)} HTTP/1.1\r\n{HOST}Content-Length: {len(data)}\r\n\r\n".encode()
            + data
            for location, wanted, data in ((first, digest, LARGE), (second, other, LARGE[1:]))
        )
        held.sendall(requests + f"HEAD /v2/a/blobs/{digest} HTTP/1.1\r\n{HOST}\r\n".encode())
        assert [answer(held)[0], answer(held)[0]] == [201, 201]
        status, fields, _ = answer(held, "HEAD")
        assert (status, fields["content-length"]) == (200, str(len(LARGE)))


@pytest.mark.parametrize("sent", [700_000, 2_500_000])
def test_what_came_before_the_end_of_a_connection_is_kept(served, sent):
    """To the last byte, and the upload can go on from there."""
    with connected(*served) as held:
        location = begin(held)
        with connected(*served) as broken:
            broken.sendall(
                f"PATCH {location} HTTP/1.1\r\n{HOST}Content-Length: {len(LARGE)}\r\n\r\n".encode()
            )
            broken.sendall(LARGE[:sent])
            time.sleep(0.3)
        assert is_settled(held, location, sent)
        assert ask(held, "PUT", put(location, Digest.of(LARGE)), LARGE[sent:])[0] == 201


def test_a_large_body_that_stalls_is_given_up(served):
    """408; what came is kept."""
    with connected(*served) as held:
        location = begin(held)
        with connected(*served) as stalled:
            stalled.sendall(
                f"PATCH {location} HTTP/1.1\r\n{HOST}Content-Length: {len(LARGE)}\r\n\r\n".encode()
            )
            stalled.sendall(LARGE[:600_000])
            assert answer(stalled)[0] == 408
        assert is_settled(held, location, 600_000)


def test_a_full_disk_ends_the_upload_and_not_the_connection(tmp_path):
    """507 at once; the rest of the body is dropped, and the next request is answered."""

    class FullUploads:
        def __init__(self, uploads):
            self._uploads = uploads

        def __getattr__(self, name):
            return getattr(self._uploads, name)

        def create(self, repository, algorithm="sha256"):
            upload = self._uploads.create(repository, algorithm)

            def write(parts):
                upload.discard()
                raise StorageFull("no space is left")

            upload.write = write
            return upload

    store = MemoryStore()
    store.uploads = FullUploads(store.uploads)
    with Registry(RegistryConfig(port=0, drain_seconds=0.5), store=store) as url, connected(url) as held:
        location = begin(held)
        digest = Digest.of(LARGE)
        assert ask(held, "PUT", put(location, digest), LARGE)[0] == 507
        assert ask(held, "GET", "/v2/")[0] == 200
        assert ask(held, "GET", location)[0] == 404


def test_quotas_hold_for_large_bodies(tmp_path):
    """403 for what is too much, and the upload is gone."""
    policy, root = Policy(repositories="**", quota=1_000_000), str(tmp_path / "root")
    with make_registry(str(tmp_path), root=root, policies=(policy,)) as url, connected(url) as held:
        small = LARGE[:900_000]
        location = begin(held)
        assert ask(held, "PUT", put(begin(held), Digest.of(small)), small)[0] == 201
        assert ask(held, "PATCH", location, LARGE)[0] == 403
        assert ask(held, "GET", location)[0] == 404


def test_bytes_are_counted(tmp_path, caplog):
    """The log of accesses and the figures know of every byte."""
    caplog.set_level(logging.INFO, "registry.access")
    with (
        make_registry(str(tmp_path), metrics=True, metrics_public=True) as url,
        connected(url) as held,
    ):
        assert ask(held, "PUT", put(begin(held), Digest.of(LARGE)), LARGE)[0] == 201
        figures = ask(held, "GET", "/metrics")[2].decode()
    (counted,) = [
        line for line in figures.splitlines() if line.startswith("pybuild_registry_received_bytes_total")
    ]
    assert float(counted.split()[1]) == len(LARGE)
    assert [record.fields["received"] for record in caplog.records if record.fields["method"] == "PUT"] == [
        len(LARGE)
    ]
