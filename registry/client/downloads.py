"""
Pulling one blob: streamed into a writer, verified, and continued after a broken connection.

Invariants: not one byte more than promised is taken; nothing is committed unless digest and size are right;
reading from the network and writing (with digesting) overlap. Governing sources: OCI distribution-spec,
"Pulling blobs"; RFC 9110 section 14.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from oci_image.descriptor import Descriptor
from oci_image.errors import VerificationFailed
from oci_image.store.base import BlobWriter

from ..errors import ApiError, TransportProblem
from ..protocol import headers, routes
from ..protocol.challenges import repository_scope
from .endpoints import check_reachable_from
from .messages import Request
from .transport import Stream, Transport

_BATCH = 2 * 1024 * 1024


class Download:
    """
    One blob on its way out of a repository.

    Args:
        transport: where requests go.
        registry: the registry's name.
        repository: the repository's name.
        descriptor: what is expected.
        report: told how many bytes arrived.
    """

    def __init__(
        self,
        transport: Transport,
        registry: str,
        repository: str,
        descriptor: Descriptor,
        report: Callable[[int], None],
    ) -> None:
        self._transport = transport
        self._registry = registry
        self._repository = repository
        self._descriptor = descriptor
        self._report = report
        self._what = f"{registry}/{repository}: blob {descriptor.digest}"

    async def into(self, sink: BlobWriter) -> None:
        """
        Fetch the blob and commit it; on failure the writer is left for its owner to discard.

        Raises:
            VerificationFailed: the bytes are not the promised ones.
            ApiError: the registry (and every other URL of the descriptor) does not have it.
            TransportProblem: the connection broke again and again.
        """
        try:
            await self._complete(sink, routes.blob(self._repository, self._descriptor.digest))
        except ApiError as problem:
            if problem.status != 404 or not self._descriptor.urls:
                raise
            await self._from_elsewhere(sink, problem)
        try:
            await asyncio.to_thread(sink.commit, self._descriptor.digest)
        except VerificationFailed as problem:
            raise VerificationFailed(
                f"{self._what}: the registry delivered other bytes: {problem.message}"
            ) from problem

    async def _from_elsewhere(self, sink: BlobWriter, missing: ApiError) -> None:
        """Layers that are not distributed through registries name where they can be had."""
        base = await self._transport.peer(self._registry).reach()
        for url in self._descriptor.urls:
            if not url.startswith(("http://", "https://")):
                continue
            try:
                check_reachable_from(base, url)
                await self._complete(sink, url)
            except (ApiError, TransportProblem) as problem:
                missing.add_note(problem.message)
            else:
                return
        raise missing

    async def _complete(self, sink: BlobWriter, target: str) -> None:
        failures = 0
        while sink.size < self._descriptor.size or self._descriptor.size == 0:
            before = sink.size
            try:
                await self._part(sink, target)
                if sink.size < self._descriptor.size:
                    raise TransportProblem(  # noqa: TRY301 - handled like a connection that breaks
                        f"{self._what}: the answer ended after {sink.size} of {self._descriptor.size} bytes",
                        temporary=True,
                    )
            except TransportProblem as problem:
                if not problem.temporary:
                    raise
                failures = 1 if sink.size > before else failures + 1
                pause = self._transport.options.retry.delay(failures)
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            else:
                return

    async def _part(self, sink: BlobWriter, target: str) -> None:
        offset = sink.size
        request = Request(
            method="GET",
            target=target,
            what=self._what,
            headers={"Range": headers.format_range(offset)} if offset else {},
            scopes=(repository_scope(self._repository, "pull"),),
            accepted=(200, 206) if offset else (200,),
        )
        async with self._transport.stream(self._registry, request) as stream:
            skip = self._check_head(stream, offset)
            pump = _Pump(sink)
            left = self._descriptor.size - offset + skip
            try:
                async for chunk in stream.chunks:
                    left -= len(chunk)
                    if left < 0:
                        raise VerificationFailed(
                            f"{self._what}: more than the promised {self._descriptor.size} bytes came"
                        )
                    fresh = chunk[skip:] if skip < len(chunk) else b""
                    skip = max(0, skip - len(chunk))
                    await pump.write(fresh)
                    self._report(self._descriptor.size - left)
            finally:
                await pump.finish()

    def _check_head(self, stream: Stream, offset: int) -> int:
        """How many bytes of the answer we have already."""
        size, start = self._descriptor.size, 0
        if stream.status == 206:
            part = headers.parse_content_range(stream.headers.get("Content-Range", ""))
            start = part.range.start
            if start > offset or (part.total is not None and part.total != size):
                raise VerificationFailed(f"{self._what}: the registry answered with another range")
        length = stream.headers.get("Content-Length", "")
        if length.isascii() and length.isdigit() and int(length[:18]) != size - start:
            raise VerificationFailed(
                f"{self._what}: {int(length[:18])} bytes were offered, {size - start} were promised"
            )
        stated = stream.headers.get(headers.DIGEST_HEADER, "")
        algorithm = self._descriptor.digest.algorithm
        if stated.startswith(algorithm + ":") and stated != str(self._descriptor.digest):
            raise VerificationFailed(f"{self._what}: the registry says that it is {stated[:140]!r}")
        return offset - start


class _Pump:
    """Writes in a thread while the next bytes arrive; at most two batches are in memory."""

    def __init__(self, sink: BlobWriter) -> None:
        self._sink = sink
        self._waiting: list[bytes] = []
        self._size = 0
        self._running: asyncio.Future[None] | None = None

    async def write(self, data: bytes) -> None:
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= _BATCH:
            await self._flush()

    async def finish(self) -> None:
        if self._waiting:
            await self._flush()
        await self._settle()

    async def _flush(self) -> None:
        await self._settle()
        batch, self._waiting, self._size = self._waiting, [], 0
        self._running = asyncio.get_running_loop().run_in_executor(None, self._write_all, batch)

    async def _settle(self) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])  # the writer is discarded next: no thread may still use it
            raise

    def _write_all(self, batch: list[bytes]) -> None:
        for data in batch:
            self._sink.write(data)
