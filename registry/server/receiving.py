"""
From the network to synchronous storage: the bodies of requests.

Invariants: the event loop never waits for the disk; memory per transfer is bounded; bytes that were received
before a client went away are kept; nobody holds an upload for ever by sending next to nothing.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

from aiohttp import StreamReader, web

from ..errors import ApiError
from ..protocol.errors import ErrorCode
from .direct import DirectBody, take_over
from .state import ServerState
from .store.base import Upload
from .writing import BlockWriter

_BATCH = 1024 * 1024
_SMALL_BATCH = 128 * 1024  # when many uploads run: together they would need much memory
_FEW_UPLOADS = 16
_VERY_FEW_UPLOADS = 4  # whose threads may have a block in reserve; of more there is always one that can go on
_SLOWEST = 1024  # bytes per second, in the mean over the time of patience


async def invite(request: web.Request) -> None:
    """Answer ``Expect: 100-continue``, now that it is clear that the body is wanted."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


class _Pace:
    """
    How quickly the body of a request comes.

    A client whose network is gone, or that sends a byte now and then, would otherwise keep its upload for
    itself. Only the time counts for which the server waited.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._waited = 0.0
        self._came = 0

    def note(self, count: int, seconds: float) -> None:
        """
        Bytes that came after a wait.

        Raises:
            ApiError: hardly anything came for too long (408).
        """
        self._came += count
        self._waited += seconds
        if count and self._waited >= self._patience:
            if self._came < _SLOWEST * self._waited:
                raise _gave_up("the body comes too slowly")
            self._waited, self._came = 0.0, 0

    async def chunk(self, content: StreamReader) -> bytes:
        """
        What came since the last call; empty at the end.

        Raises:
            ApiError: nothing came for too long, or hardly anything (408).
        """
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._patience):
                chunk = await content.readany()
        except TimeoutError as problem:
            raise _gave_up("the body stalled") from problem
        self.note(len(chunk), time.monotonic() - started)
        return chunk

    async def block(self, body: DirectBody) -> memoryview:
        """As `chunk`, a buffer at a time."""
        while True:
            before, started = body.left, time.monotonic()
            block = await body.next(self._patience)
            if block is None and body.left == before:
                raise _gave_up("the body stalled")
            self.note(before - body.left, time.monotonic() - started)
            if block is not None:
                return block


def _gave_up(reason: str) -> ApiError:
    return ApiError(
        ErrorCode.BLOB_UPLOAD_INVALID, message=reason, status=408, headers={"Connection": "close"}
    )


async def read_document(request: web.Request, state: ServerState) -> bytes:
    """
    The whole body of a request, which is a manifest.

    Raises:
        ApiError: it is larger than the limit (413), or comes too slowly (408).
    """
    limit = state.config.manifest_limit
    too_large = ApiError(
        ErrorCode.SIZE_INVALID, {"limit": limit}, message=f"a manifest has at most {limit} bytes", status=413
    )
    if (request.content_length or 0) > limit:
        raise too_large
    await invite(request)
    pace = _Pace(state.config.stall_seconds)
    data = bytearray()
    while chunk := await pace.chunk(request.content):
        data += chunk
        if len(data) > limit:
            raise too_large
    return bytes(data)


async def receive(request: web.Request, upload: Upload, state: ServerState, limit: int | None = None) -> int:
    """
    Append the body of a request to an upload; what came before an interruption is kept.

    Batches are written while the next ones are received, unless many uploads run: then each holds one batch.

    Args:
        request: whose body is read.
        upload: takes the bytes.
        state: the server.
        limit: once more bytes than this came, the rest of the body is left alone.

    Returns:
        how many bytes came.

    Raises:
        ApiError: the body comes too slowly (408).
        StorageFull: the upload was discarded.
    """
    await invite(request)
    parts: list[bytes] = []
    if limit is None or (request.content_length or 0) <= limit:
        batch, count = _memory(len(state.busy_uploads))
        parts, direct = take_over(request, batch=batch, count=count)
        if direct is not None:
            return await _receive_directly(direct, parts, upload, state)
    return await _receive(request, parts, upload, state, limit)


def _memory(uploads: int) -> tuple[int, int]:
    """Size and number of the buffers for one of so many uploads: one is filled while another is written."""
    if uploads <= _VERY_FEW_UPLOADS:
        return _BATCH, 3
    return (_BATCH, 2) if uploads <= _FEW_UPLOADS else (_SMALL_BATCH, 1)


async def _receive_directly(body: DirectBody, parts: list[bytes], upload: Upload, state: ServerState) -> int:
    pace = _Pace(state.config.stall_seconds)
    writer = BlockWriter(upload, state)
    total = sum(map(len, parts)) + body.left
    try:
        while block := await pace.block(body):
            whole: list[bytes | memoryview] = [*parts, block]
            parts = []
            await writer.put(whole, ahead=body.count - 1, release=partial(body.give, block))
    finally:
        await writer.finish([*parts, *body.rest()])
    return total


async def _receive(
    request: web.Request, parts: list[bytes], upload: Upload, state: ServerState, limit: int | None
) -> int:
    pace = _Pace(state.config.stall_seconds)
    writer = BlockWriter(upload, state)
    batched = total = sum(map(len, parts))
    try:
        while chunk := await pace.chunk(request.content):
            parts.append(chunk)
            batched += len(chunk)
            total += len(chunk)
            if limit is not None and total > limit:
                break
            few = len(state.busy_uploads) <= _FEW_UPLOADS
            if batched >= (_BATCH if few else _SMALL_BATCH):
                whole, parts, batched = parts, [], 0
                await writer.put(whole, ahead=1 if few else 0)
    finally:
        await writer.finish(parts)
    return total
