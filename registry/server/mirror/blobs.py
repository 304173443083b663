"""
Blobs of upstreams: fetched once for everybody, delivered while they arrive, kept when they are right.

Invariants: one fetch of a blob goes on at a time; a client never gets the last byte of something wrong, and a
fetch goes on when its client goes away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass

from aiohttp import web

from oci_image.digest import Digest

from ...errors import ApiError, RegistryError
from ...protocol import headers
from ...protocol.errors import ErrorCode
from ..auth import Caller
from ..requests import Call, entity_tag
from ..state import ServerState
from .fetching import KIND, Fetch, unknown
from .names import Place
from .site import Site, error_of
from .spool import Spool
from .upstream import Failure, UpstreamFailed

_LOG = logging.getLogger(__name__)
_BATCH = 256 * 1024
_SMALL_BATCH = 32 * 1024  # when many blobs are sent: together they would need much memory
_FEW_DELIVERIES = 8
_SMALL = 256 * 1024  # one piece: waiting for it gives a wrong one an honest status


@dataclass(frozen=True, slots=True, eq=False)
class _Running:
    spool: Spool
    task: asyncio.Task[bool]


def blob_headers(digest: Digest) -> dict[str, str]:
    """What is said of a blob before it is here."""
    return {
        "Content-Type": "application/octet-stream",
        headers.DIGEST_HEADER: str(digest),
        "ETag": entity_tag(digest),
        "Cache-Control": "max-age=31536000",
    }


class Blobs:
    """
    The blobs of all mirrors of one server.

    Args:
        state: the server.
        directory: where they arrive.
    """

    def __init__(self, state: ServerState, directory: str) -> None:
        self._state = state
        self._directory = directory
        self._running: dict[tuple[str, Digest], _Running] = {}

    async def close(self) -> None:
        """End what goes on, but keep what came completely."""
        for fetch in list(self._running.values()):
            if not fetch.spool.is_whole:
                fetch.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await fetch.task

    async def size(self, site: Site, place: Place, digest: Digest, known: int | None) -> int:
        """
        The size of a blob that is not here.

        Raises:
            ApiError: it is not there either, or cannot be had.
        """
        try:
            size = await site.ask(
                KIND, (place.repository, digest), lambda: site.upstream.blob_size(place.remote, digest)
            )
        except UpstreamFailed as problem:
            if known is not None and problem.failure is not Failure.OFFLINE:
                return known
            raise error_of(problem, missing=ErrorCode.BLOB_UNKNOWN) from problem
        if size is None:
            raise unknown(digest)
        return size

    async def deliver(
        self, call: Call, site: Site, place: Place, digest: Digest, known: int | None
    ) -> web.StreamResponse | None:
        """
        Answer with a blob that is not here; None once it is here.

        Raises:
            ApiError: it is not to be had.
        """
        if await self._is_at_hand(call.caller, place, digest, known):
            site.answered("hit")
            return None
        fetch = self._join(site, place, digest, known)
        spool = fetch.spool
        spool.use()
        try:
            total = await spool.promised()
            if total is None or total <= _SMALL or "Range" in call.request.headers:
                kept = await asyncio.shield(fetch.task)
                if spool.problem is not None:
                    raise spool.problem
                return None if kept else await self._send(call, spool)
            return await self._send(call, spool)
        except UpstreamFailed as problem:
            raise error_of(problem, missing=ErrorCode.BLOB_UNKNOWN) from problem
        finally:
            spool.release()

    async def repair(self, site: Site, place: Place, digest: Digest) -> bool:
        """Get a blob that was damaged here again; False when it is not to be had."""
        try:
            fetch = self._join(site, place, digest, None)
        except (ApiError, UpstreamFailed):
            return False
        return await asyncio.shield(fetch.task)

    async def _is_at_hand(self, caller: Caller, place: Place, digest: Digest, known: int | None) -> bool:
        """
        Whether another repository had the blob, so that this one has it now too.

        Only what a manifest of this repository refers to, and from where the caller may read.
        """
        store = self._state.store
        if known is None or (place.repository, digest) in self._running:
            return False

        def mount() -> bool:
            return any(
                caller.may_mount_from(name) and store.blobs.mount(place.repository, digest, name)
                for name in store.blobs.holders(digest)
                if name != place.repository
            )

        return await self._state.in_thread(mount)

    def _join(self, site: Site, place: Place, digest: Digest, known: int | None) -> _Running:
        key = (place.repository, digest)
        fetch = self._running.get(key)
        if fetch is not None:
            site.answered("hit")
            return fetch
        try:
            missing = site.is_missing(KIND, key)
        except UpstreamFailed as problem:
            site.answered("failed")
            raise error_of(problem, missing=ErrorCode.BLOB_UNKNOWN) from problem
        if missing:
            site.answered("missing")
            raise unknown(digest)
        site.answered("miss")
        spool = Spool(self._directory, digest, known)
        work = Fetch(self._state, site, place, spool).run()
        task = asyncio.get_running_loop().create_task(work, name=f"mirror {digest}")
        fetch = self._running[key] = _Running(spool, task)
        task.add_done_callback(lambda _done: self._running.pop(key, None))
        return fetch

    async def _send(self, call: Call, spool: Spool) -> web.StreamResponse:
        """Send bytes as they come; the connection is cut when they turn out to be wrong."""
        request, state = call.request, self._state
        response = web.StreamResponse(headers=blob_headers(spool.digest))
        response.content_length = spool.total
        await response.prepare(request)
        offset, mark = 0, object()
        state.deliveries.add(mark)
        try:
            while offset < (spool.total or 0):
                end = await spool.beyond(offset)
                batch = _BATCH if len(state.deliveries) <= _FEW_DELIVERIES else _SMALL_BATCH
                block = await state.in_thread(spool.read, offset, min(batch, end - offset))
                await response.write(block)
                offset += len(block)
        except RegistryError as problem:
            _LOG.warning("the delivery of %s was cut: %s", spool.digest, problem.message)
            if request.transport is not None:
                request.transport.abort()
            return response
        finally:
            state.deliveries.discard(mark)
        await response.write_eof()
        return response
