"""
From synchronous storage to the network: blobs in answers.

Invariants: the event loop never waits for the disk; memory per transfer is bounded, and a client that reads
slowly holds hardly any; bytes that turn out to be wrong are never delivered completely.
"""

from __future__ import annotations

import asyncio
import io
import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from aiohttp import web

from oci_image.digest import Digest
from oci_image.errors import VerificationFailed

from ..errors import ApiError
from ..protocol.errors import ErrorCode
from ..protocol.headers import ByteRange, format_content_range
from .proving import Company, Proof, prove_all
from .sealing import BLOCK
from .sending import send_file, send_proved_file
from .state import ServerState
from .verification import identity, is_file

_LOG = logging.getLogger(__name__)

BATCH = 1024 * 1024
_SMALL_BATCH = 32 * 1024  # when many blobs are sent: together they would need much memory
_FEW_DELIVERIES = 8
SMALL = 256 * 1024
"""Blobs up to this size are sent in one piece from memory."""

_WRITE = 256 * 1024  # above this, the transport copies what it cannot send at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A blob on its way to a client; whoever sends it closes the file."""

    request: web.Request
    state: ServerState
    digest: Digest
    file: BinaryIO
    size: int
    headers: Mapping[str, str]

    @property
    def is_small(self) -> bool:
        """Whether the file is in memory, and was verified when it was read."""
        return self.size <= SMALL

    @property
    def is_trusted(self) -> bool:
        """Whether the bytes need not be verified again."""
        config, verified = self.state.config, self.state.verified
        return self.is_small or not config.verify_reads or verified.holds(self.digest, identity(self.file))

    @property
    def is_sealed(self) -> bool:
        """Whether each block can be verified alone."""
        return self.state.seals.find(self.digest) is not None

    @property
    def is_sent_by_kernel(self) -> bool:
        """Whether bytes go from the file to the socket without coming by here."""
        transport = self.request.transport
        return transport is not None and not transport.get_extra_info("sslcontext") and is_file(self.file)

    @property
    def is_one_of_many(self) -> bool:
        """Whether so many large blobs are being sent that each must do with little memory."""
        return len(self.state.deliveries) > _FEW_DELIVERIES

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Surround the sending of a blob."""
        mark = object()
        if not self.is_small:
            self.state.deliveries.add(mark)
        try:
            yield
        finally:
            self.state.deliveries.discard(mark)


async def open_blob(state: ServerState, repository: str, digest: Digest) -> tuple[BinaryIO, int] | None:
    """
    A blob's file and size; a small one is read and verified at once. None when it is not there.

    What was verified is kept in memory, unless everything is to be verified each time.
    """

    def open_and_read() -> tuple[BinaryIO, int] | None:
        file = state.store.blobs.open(repository, digest)
        if file is None:
            return None
        size = file.seek(0, 2)
        file.seek(0)
        if size > SMALL:
            return file, size
        with file:
            content = file.read()
        if state.config.verify_reads and Digest.of(content, digest.algorithm) != digest:
            raise VerificationFailed(f"the content of {digest} is damaged")
        return io.BytesIO(content), len(content)

    try:
        if state.config.verify_reads and state.config.verify_window:
            return await state.metadata.opened(repository, digest, lambda: state.in_thread(open_and_read))
        return await state.in_thread(open_and_read)
    except VerificationFailed:
        await quarantine(state, digest)
        return None


async def send_blob(blob: Delivery) -> web.StreamResponse:
    """
    Answer with a whole blob, whose bytes are verified unless they were lately.

    Of many at once the later ones are verified before they are sent: the kernel can send them then, and
    a client that reads slowly holds no memory. What is sealed holds none when it is verified meanwhile.
    """
    with blob.file, blob.counted():
        if blob.is_small:
            return web.Response(body=blob.file.read(), headers=dict(blob.headers))
        if blob.is_one_of_many and not blob.is_trusted and not (blob.is_sealed and blob.is_sent_by_kernel):
            await _verify(blob)
        response = web.StreamResponse(headers=dict(blob.headers))
        response.content_length = blob.size
        trusted = blob.is_trusted
        await response.prepare(blob.request)
        if trusted:
            await _send_part(blob, response, ByteRange(0, blob.size))
        elif not await _send_verified(blob, response):
            if blob.request.transport is not None:
                blob.request.transport.abort()
            return response
        await response.write_eof()
        return response


async def _send_verified(blob: Delivery, response: web.StreamResponse) -> bool:
    """Send while the bytes are verified, a little ahead; the last piece goes out only when all are right."""
    proof = _proof(blob)
    try:
        if blob.is_sent_by_kernel:
            await send_proved_file(blob.request, blob.state, proof, blob.file)
        else:
            await _send_proved_blocks(blob, proof, response)
    except VerificationFailed:
        await quarantine(blob.state, blob.digest)
        return False
    blob.state.verified.add(blob.digest, identity(blob.file))
    return True


def _proof(blob: Delivery) -> Proof:
    """The verification of a blob, in company with those who send the same file now."""
    state, what = blob.state, identity(blob.file)
    company = Company(blob.digest, blob.size, state.seals)
    if what is not None:
        company = state.companies.setdefault((blob.digest, what), company)
    return Proof(blob.digest, blob.size, state.seals, company)


async def _send_proved_blocks(blob: Delivery, proof: Proof, response: web.StreamResponse) -> None:
    def take() -> bytes:
        block = blob.file.read(BLOCK)
        proof.take(block)
        return block

    block = await blob.state.in_thread(take)
    while block:
        following = asyncio.ensure_future(blob.state.in_thread(take)) if not proof.is_done else None
        try:
            await response.write(block)
        finally:
            block = await following if following is not None else b""


async def _send_part(blob: Delivery, response: web.StreamResponse, part: ByteRange) -> None:
    if blob.is_sent_by_kernel:
        await send_file(blob.request, blob.file, part.start, part.length)
    else:
        await _copy_part(blob, response, part)


async def _copy_part(blob: Delivery, response: web.StreamResponse, part: ByteRange) -> None:
    blob.file.seek(part.start)
    remaining = part.length
    while remaining:
        batch = _SMALL_BATCH if blob.is_one_of_many else BATCH
        block = memoryview(await blob.state.in_thread(blob.file.read, min(batch, remaining)))
        if not block:
            raise ConnectionResetError("the blob became shorter")
        remaining -= len(block)
        for start in range(0, len(block), _WRITE):
            await response.write(block[start : start + _WRITE])


async def send_ranges(blob: Delivery, parts: Sequence[ByteRange]) -> web.StreamResponse:
    """Answer with parts of a blob (206); the whole blob is verified first unless it was lately."""
    with blob.file, blob.counted():
        if not blob.is_trusted:
            await _verify(blob)
        response = web.StreamResponse(status=206, headers=dict(blob.headers))
        if len(parts) == 1:
            response.headers["Content-Range"] = format_content_range(parts[0], blob.size)
            response.content_length = parts[0].length
            await response.prepare(blob.request)
            await _send_part(blob, response, parts[0])
        else:
            await _send_multipart(blob, response, parts)
        await response.write_eof()
        return response


async def _send_multipart(blob: Delivery, response: web.StreamResponse, parts: Sequence[ByteRange]) -> None:
    boundary = secrets.token_hex(16)
    heads = [
        f"\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Range: {format_content_range(part, blob.size)}\r\n\r\n".encode()
        for part in parts
    ]
    end = f"\r\n--{boundary}--\r\n".encode()
    response.headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
    response.content_length = sum(map(len, heads)) + sum(part.length for part in parts) + len(end)
    await response.prepare(blob.request)
    for head, part in zip(heads, parts, strict=True):
        await response.write(head)
        await _copy_part(blob, response, part)
    await response.write(end)


async def _verify(blob: Delivery) -> None:
    """Read the whole blob; who wants the same one meanwhile waits for the result."""
    lock = blob.state.verifying.setdefault(blob.digest, asyncio.Lock())

    async with lock:
        if blob.is_trusted:
            return
        proof = _proof(blob)
        try:
            await blob.state.in_thread(prove_all, proof, blob.file)
        except VerificationFailed:
            await quarantine(blob.state, blob.digest)
            raise ApiError(ErrorCode.BLOB_UNKNOWN, {"digest": str(blob.digest)}) from None
        blob.state.verified.add(blob.digest, identity(blob.file))


async def quarantine(state: ServerState, digest: Digest) -> None:
    """Put a damaged blob out of reach; the next push of it repairs it."""
    _LOG.error("the content of %s is damaged; it was put aside", digest)
    await state.in_thread(state.store.blobs.quarantine, digest)
    state.metadata.clear()
    state.note_damage(digest)
