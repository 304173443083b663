"""
Large bodies of known length, taken from the socket into buffers of our own.

The parser of aiohttp hands out what comes as many small objects that were copied twice. For a body whose end
is known from the start it is not needed: bytes are received where they are hashed and written from.
Invariants: not one byte after the body is taken; the connection goes back to aiohttp, with a new parser, when
the body is complete, also when nobody wanted the rest of it; only the event loop touches this.
Governing sources: RFC 9112 section 6.3 (Content-Length); asyncio's `BufferedProtocol`.
"""

from __future__ import annotations

import asyncio
from collections import deque

from aiohttp import web
from aiohttp.http import HttpRequestParser

_WORTH = 256 * 1024  # below this, the parser costs less than the change of hands
_SCRATCH = 64 * 1024


class DirectBody(asyncio.BufferedProtocol):
    """
    What is left of the body of a request.

    Args:
        request: whose body it is; its connection is taken over.
        transport: its connection.
        size: how many bytes have not come yet.
        batch: the size of a buffer.
        count: how many buffers there are: with two, one is filled while the other one is written.
        came: how many bytes came before; they are written with the first buffer, which is smaller by as much,
            down to half of its size: what waits for it is what a crash costs.
    """

    def __init__(
        self,
        request: web.Request,
        transport: asyncio.Transport,
        size: int,
        *,
        batch: int,
        count: int,
        came: int = 0,
    ) -> None:
        self._handler = request.protocol
        self._content = request.content
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self.left = size
        self._free = [memoryview(bytearray(min(batch, size))) for _ in range(count)]
        self._filling = self._free.pop()[: max(batch - came, batch // 2)]
        self._filled = 0
        self._full: deque[memoryview] = deque()
        self._paused = self._dropping = self._lost = False
        self._waiter: asyncio.Future[None] | None = None
        self.count = count
        transport.set_protocol(self)

    # What the transport calls.

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        del sizehint
        return self._filling[self._filled : self._filled + self.left]

    def buffer_updated(self, nbytes: int) -> None:
        """Some bytes came."""
        self.left -= nbytes
        self._content.total_bytes += nbytes
        if not self._dropping:
            self._filled += nbytes
            if not self.left or self._filled == len(self._filling):
                self._pass_on()
        if not self.left:
            self._give_back()

    def eof_received(self) -> None:
        """The client sends no more; the transport closes itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went away."""
        self._lost = True
        self._handler.connection_lost(exc)
        self._wake()

    def pause_writing(self) -> None:
        """As aiohttp does it."""
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        """As aiohttp does it."""
        self._handler.resume_writing()

    # What the handler of the request calls.

    async def next(self, seconds: float) -> memoryview | None:
        """
        The next full buffer, or the rest; empty at the end; None when nothing was complete in time.

        Raises:
            ConnectionResetError: the client went away; `rest` has what came before.
        """
        if not self._full and self.left and not self._lost:
            self._waiter = self._loop.create_future()
            timer = self._loop.call_later(seconds, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        if self._full:
            return self._full.popleft()
        if not self.left:
            return memoryview(b"")
        if self._lost:
            raise ConnectionResetError("the client went away")
        return None

    def give(self, buffer: memoryview) -> None:
        """Take a buffer back that `next` lent, now that its bytes are used."""
        whole = memoryview(buffer.obj)
        if self._paused:
            self._paused = False
            self._filling, self._filled = whole, 0
            self._transport.resume_reading()
        else:
            self._free.append(whole)

    def rest(self) -> list[memoryview]:
        """What came and was not handed out; whatever comes from now on is dropped."""
        parts = [*self._full, self._filling[: self._filled]] if self.left else list(self._full)
        self._full.clear()
        if self.left and not self._lost:
            self._dropping = True
            self._filling, self._filled = memoryview(bytearray(_SCRATCH)), 0
            if self._paused:
                self._paused = False
                self._transport.resume_reading()
        return [part for part in parts if part]

    def _pass_on(self) -> None:
        self._full.append(self._filling[: self._filled])
        self._filled = 0
        self._wake()
        if self._free:
            self._filling = self._free.pop()
        elif self.left:
            self._paused = True
            self._filling = memoryview(b"")
            self._transport.pause_reading()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _give_back(self) -> None:
        handler = self._handler
        # The old parser waits for the bytes that it did not see.
        handler._parser = HttpRequestParser(  # noqa: SLF001 - aiohttp has no door to this, and is pinned
            handler,
            self._loop,
            handler._read_bufsize,  # noqa: SLF001 - as above
            max_line_size=handler.max_line_size,
            max_field_size=handler.max_field_size,
            max_headers=handler.max_headers,
            payload_exception=web.RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=handler._max_msg_queue_size,  # noqa: SLF001 - as above
        )
        self._transport.set_protocol(handler)
        self._content.feed_eof()


def take_over(request: web.Request, *, batch: int, count: int) -> tuple[list[bytes], DirectBody | None]:
    """
    What has come of a request's body, and the rest of it; None for a rest that aiohttp should read.

    Args:
        request: nobody has read from its body.
        batch: the size of a buffer.
        count: how many buffers there are.
    """
    size, transport, content = request.content_length, request.transport, request.content
    if size is None or size < _WORTH or transport is None:
        return [], None
    came: list[bytes] = []
    while chunk := content.read_nowait():
        came.append(chunk)
    left = size - content.total_bytes
    if left < _WORTH or content.is_eof() or transport.get_protocol() is not request.protocol:
        return came, None
    taken = sum(map(len, came))
    return came, DirectBody(request, transport, left, batch=batch, count=count, came=taken)
