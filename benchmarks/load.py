"""
The load generator of the registry benchmark: plain sockets, Python's standard library, no other program.

Bytes go out by sendfile and come in with MSG_TRUNC, which drops them in the kernel, so a transfer costs the
client next to nothing. Small requests run over kept connections of one epoll loop; each connection sends the
next request as soon as the last answer is complete. Sending one costs the client some 20 microseconds of
processor time, which it takes from the server when both share the cores: compare servers, not machines.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

Address = tuple[str, int]
Chunks = Iterator[list[bytes | memoryview]]
_DROP = 1 << 20
_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers with small names, and the body (empty when it was dropped)."""

    status: int
    headers: dict[str, str]
    body: bytes


class UnexpectedAnswer(RuntimeError):
    """The server did not do what the benchmark needs."""


def head_of(method: str, path: str, address: Address, headers: dict[str, str] | None = None) -> bytes:
    """The bytes of a request up to its body."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {address[0]}:{address[1]}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _parse(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return int(first.split()[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}


class Connection:
    """One kept connection for one request after the other."""

    def __init__(self, address: Address, *, encrypted: bool = False) -> None:
        self.address = address
        self._socket = socket.create_connection(address, timeout=_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._dropping = socket.MSG_TRUNC
        if encrypted:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE  # a server that this program started a moment ago
            self._socket = context.wrap_socket(self._socket)
            self._dropping = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        expect: int | None = None,
    ) -> Answer:
        """Send a request and return the whole answer."""
        length = {"Content-Length": str(len(body))} if body or method in ("POST", "PUT", "PATCH") else {}
        self._socket.sendall(head_of(method, path, self.address, {**(headers or {}), **length}) + body)
        return self._answer(method, expect)

    def send_file(
        self,
        method: str,
        path: str,
        part: tuple[Path, int, int, bytes],
        *,
        headers: dict[str, str],
        expect: int,
    ) -> Answer:
        """Send a part of a file (file, offset, count) and then some more bytes as the body of a request."""
        file, offset, count, tail = part
        length = {"Content-Length": str(count + len(tail))}
        self._socket.sendall(head_of(method, path, self.address, {**headers, **length}))
        with file.open("rb") as source:
            self._socket.sendfile(source, offset, count)
        if tail:
            self._socket.sendall(tail)
        return self._answer(method, expect)

    def send_chunks(
        self, method: str, path: str, chunks: Chunks, *, headers: dict[str, str], expect: int
    ) -> Answer:
        """Send lists of buffers, framing included, as the body of a request."""
        self._socket.sendall(head_of(method, path, self.address, headers))
        for buffers in chunks:
            sent = self._socket.sendmsg(buffers)
            if sent < sum(map(len, buffers)):
                self._socket.sendall(b"".join(buffers)[sent:])
        return self._answer(method, expect)

    def drop(self, path: str) -> int:
        """GET something and drop its body; the number of bytes it had."""
        self._socket.sendall(head_of("GET", path, self.address))
        status, headers, rest = self._head()
        if status != 200:
            raise UnexpectedAnswer(f"GET {path}: {status}")
        size = int(headers["content-length"])
        left = size - len(rest)
        nothing = bytearray(_DROP)
        while left > 0:
            count = self._socket.recv_into(nothing, min(left, _DROP), self._dropping)
            if not count:
                raise UnexpectedAnswer(f"GET {path}: ended {left} bytes early")
            left -= count
        return size

    def _head(self) -> tuple[int, dict[str, str], bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            more = self._socket.recv(65536)
            if not more:
                raise UnexpectedAnswer("the server closed the connection")
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        status, headers = _parse(head)
        return status, headers, rest

    def _answer(self, method: str, expect: int | None) -> Answer:
        status, headers, body = self._head()
        if status == 100:
            raise UnexpectedAnswer("100 Continue was not asked for")
        if method != "HEAD" and status not in (204, 304):
            body = self._body(headers, body)
        if expect is not None and status != expect:
            raise UnexpectedAnswer(f"{method}: {status} instead of {expect}: {body[:300]!r}")
        return Answer(status, headers, body)

    def _body(self, headers: dict[str, str], body: bytes) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            while not body.endswith(b"0\r\n\r\n"):
                body += self._socket.recv(65536)
            return _unchunk(body)
        size = int(headers.get("content-length", "0"))
        parts = [body]
        left = size - len(body)
        while left > 0:
            parts.append(self._socket.recv(min(left, 1 << 20)))
            left -= len(parts[-1])
        return b"".join(parts)


def _unchunk(data: bytes) -> bytes:
    found = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        count = int(size, 16)
        found += data[:count]
        data = data[count + 2 :]
    return found


@dataclass(frozen=True, slots=True)
class Rates:
    """Requests per second and latencies in milliseconds."""

    requests: int
    per_second: float
    p50: float
    p99: float


class _Kept:
    """A connection of the epoll loop: its socket, what came so far, when the request left."""

    __slots__ = ("data", "sent", "socket")

    def __init__(self, address: Address) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""
        self.sent = 0.0


_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)


def _complete(data: bytes, *, bodiless: bool) -> bool:
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    if not data.startswith(b"HTTP/1.1 200"):
        raise UnexpectedAnswer(data[:300].decode("latin-1"))
    if bodiless:
        return True
    found = _LENGTH.search(data, 0, end + 2)
    if found:
        return len(data) >= end + 4 + int(found[1])
    return data.endswith(b"0\r\n\r\n")


def hammer(address: Address, request: bytes, *, connections: int, seconds: float) -> Rates:
    """Send the same request over several connections for some time."""
    kept = {one.socket.fileno(): one for one in (_Kept(address) for _ in range(connections))}
    poll = select.epoll()
    latencies: list[float] = []
    bodiless = request.startswith(b"HEAD")
    start = time.perf_counter()
    for number, one in kept.items():
        poll.register(number, select.EPOLLIN)
        one.sent = time.perf_counter()
        one.socket.sendall(request)
    end = start + seconds
    while time.perf_counter() < end:
        for number, _ in poll.poll(1.0):
            one = kept[number]
            one.data += one.socket.recv(65536)
            if not _complete(one.data, bodiless=bodiless):
                continue
            now = time.perf_counter()
            latencies.append(now - one.sent)
            one.data = b""
            one.sent = now
            one.socket.sendall(request)
    took = time.perf_counter() - start
    poll.close()
    for one in kept.values():
        one.socket.close()
    if not latencies:
        raise UnexpectedAnswer("no answer came in time")
    latencies.sort()
    return Rates(len(latencies), len(latencies) / took, _part(latencies, 0.5), _part(latencies, 0.99))


def _part(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


@dataclass(frozen=True, slots=True)
class Blob:
    """The first `size` bytes of a file and a tail that makes them unlike any other blob."""

    digest: str
    file: Path
    size: int
    tail: bytes


def push_blob(address: Address, repository: str, blob: Blob, chunk: int = 0) -> None:
    """Push a blob: as one PUT, or as PATCH requests of `chunk` bytes and a closing PUT."""
    octets = {"Content-Type": "application/octet-stream"}
    with Connection(address) as connection:
        started = connection.request("POST", f"/v2/{repository}/blobs/uploads/", expect=202)
        location = local_path(started.headers["location"])
        step = chunk or blob.size
        for offset in range(0, blob.size, step) if chunk else ():
            count = min(step, blob.size - offset)
            tail = blob.tail if offset + count == blob.size else b""
            bounds = {**octets, "Content-Range": f"{offset}-{offset + count + len(tail) - 1}"}
            part = (blob.file, offset, count, tail)
            answer = connection.send_file("PATCH", location, part, headers=bounds, expect=202)
            location = local_path(answer.headers["location"])
        closing = f"{location}{'&' if '?' in location else '?'}digest={blob.digest}"
        if chunk:
            connection.request("PUT", closing, expect=201)
        else:
            whole = (blob.file, 0, blob.size, blob.tail)
            connection.send_file("PUT", closing, whole, headers=octets, expect=201)


def local_path(location: str) -> str:
    """A Location without the server."""
    return re.sub(r"^https?://[^/]*", "", location)


def pull_blob(address: Address, repository: str, digest: str) -> int:
    """Pull a blob and drop it; its size."""
    with Connection(address) as connection:
        return connection.drop(f"/v2/{repository}/blobs/{digest}")


def together(calls: Sequence[Callable[[], object]]) -> None:
    """Call everything at the same time, each in a thread; the first failure is raised."""
    with ThreadPoolExecutor(len(calls)) as pool:
        for future in [pool.submit(call) for call in calls]:
            future.result()
