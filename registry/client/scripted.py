"""
A registry that says what it was told to say: the peer of tests for everything that real servers do rarely.

It speaks HTTP over a loopback socket, so that time limits, redirects, broken connections and wrong lengths
are real. Invariants: every request is recorded; a request that is not in the table fails the test when the
registry is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

_ENDLESS_CHUNK = bytes(64 * 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request that arrived; header names are lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """
    What to answer, and what to do wrong.

    Attributes:
        status: the HTTP status.
        headers: further headers; Content-Length is added unless one is given here.
        body: what is sent.
        cut: close the connection after this many bytes of the body.
        take: take only so many bytes of the request's body, then close without any answer.
        stall: never answer; together with `take`, leave the rest of the request unread as well.
        endless: go on sending after the body, without a Content-Length.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    take: int | None = None
    stall: bool = False
    endless: bool = False


Answerer = Reply | Callable[[Seen], Reply]


class ScriptedRegistry:
    """A table of (method, target) to replies, as an asynchronous context manager around a loopback server."""

    def __init__(self) -> None:
        self.requests: list[Seen] = []
        self.unexpected: list[str] = []
        self._table: dict[tuple[str, str], list[Answerer]] = {}
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}
        self.on("GET", "/v2/", Reply(body=b"{}"))

    def on(self, method: str, target: str, *replies: Answerer) -> None:
        """Answer these requests with the replies in order, then with the last one again and again."""
        self._table[method, target] = list(replies)

    @property
    def name(self) -> str:
        """The registry's name in a reference: ``127.0.0.1:port``."""
        if self._server is None:
            raise RuntimeError("the scripted registry is not running")
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://{self.name}"

    def asked(self, method: str, prefix: str = "") -> list[Seen]:
        """The requests with this method whose target begins with `prefix`."""
        return [seen for seen in self.requests if seen.method == method and seen.target.startswith(prefix)]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            serving = [task for task in self._open.values() if task is not None]
            for writer in self._open:
                writer.transport.abort()
            await asyncio.gather(*serving, return_exceptions=True)
        if self.unexpected and kind is None:
            raise AssertionError(f"unexpected requests: {self.unexpected}")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = asyncio.current_task()
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._exchange(reader, writer):
                    pass
        finally:
            writer.close()
            del self._open[writer]

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        fields = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
        }
        answerer = self._next(method, target)
        seen = Seen(method=method, target=target, headers=fields)
        if isinstance(answerer, Reply) and answerer.take is not None:
            taken = await reader.readexactly(answerer.take) if answerer.take else b""
            self.requests.append(Seen(method=method, target=target, headers=fields, body=taken))
            while answerer.stall and not writer.is_closing():  # noqa: ASYNC110 - nothing tells of an abort
                await asyncio.sleep(0.01)
            writer.transport.abort()
            return False
        seen = Seen(method=method, target=target, headers=fields, body=await _read_body(reader, fields))
        self.requests.append(seen)
        reply = answerer(seen) if callable(answerer) else answerer
        if reply.stall:
            await reader.read(1)
            return False
        return await self._answer(writer, method, reply)

    def _next(self, method: str, target: str) -> Answerer:
        replies = self._table.get((method, target))
        if not replies:
            self.unexpected.append(f"{method} {target}")
            return Reply(status=500, body=b"not in the table")
        return replies.pop(0) if len(replies) > 1 else replies[0]

    async def _answer(self, writer: asyncio.StreamWriter, method: str, reply: Reply) -> bool:
        fields = dict(reply.headers)
        if not reply.endless:
            fields.setdefault("Content-Length", str(len(reply.body)))
        lines = [f"HTTP/1.1 {reply.status} Scripted", *(f"{name}: {value}" for name, value in fields.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if method != "HEAD":
            writer.write(reply.body if reply.cut is None else reply.body[: reply.cut])
        await writer.drain()
        while reply.endless:
            writer.write(_ENDLESS_CHUNK)
            await writer.drain()
        return reply.cut is None


async def _read_body(reader: asyncio.StreamReader, fields: Mapping[str, str]) -> bytes:
    if fields.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(fields.get("content-length", "0")))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body
