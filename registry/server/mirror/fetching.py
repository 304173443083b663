"""
One blob on its way from an upstream: received, resumed, verified, kept.

Invariants: nothing is kept before its digest was found right; an interrupted fetch goes on where it was; what
a quota has no room for is delivered to those who wait, and not kept.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol, runtime_checkable

from oci_image.digest import Digest

from ...errors import ApiError, Denied, RegistryError
from ...protocol.errors import ErrorCode
from .. import quota
from ..state import ServerState
from ..store.base import RegistryStore
from ..verification import Identity, identity
from .names import Place
from .pump import Pump
from .site import Site
from .spool import Spool
from .upstream import BlobStream, Failure, UpstreamFailed

_LOG = logging.getLogger(__name__)
KIND = "blobs"
_BLOCK = 1024 * 1024
_ATTEMPTS = 4  # in a row without a byte
_ALL_ATTEMPTS = 100
_PAUSE = 0.2


@runtime_checkable
class _Adopts(Protocol):
    """A storage that can take a file as it is."""

    def adopt(self, repository: str, digest: Digest, path: str) -> None:
        """Move a verified and flushed file to the name of its digest."""
        ...


def unknown(digest: Digest) -> ApiError:
    """The blob is not to be had."""
    return ApiError(ErrorCode.BLOB_UNKNOWN, {"digest": str(digest)})


class Fetch:
    """
    The fetch of one blob.

    Args:
        state: the server.
        site: the mirror.
        place: the repository.
        spool: where the bytes go; it is released at the end.
    """

    def __init__(self, state: ServerState, site: Site, place: Place, spool: Spool) -> None:
        self._state = state
        self._site = site
        self._place = place
        self._spool = spool
        self._digest = spool.digest
        self._key = (place.repository, spool.digest)

    async def run(self) -> bool:
        """Get the blob; whether it was kept. What goes wrong is told through the spool."""
        site, spool = self._site, self._spool
        try:
            await self._receive()
            await self._state.in_thread(spool.verify)
            site.patience.note_success()
            site.figures.asked(site.mirror.prefix, "found")
            spool.end(None)
            _LOG.info("fetched %s of %s, %d bytes", self._digest, self._place.repository, spool.size)
            return await self._keep()
        except UpstreamFailed as problem:
            site.note_failure(KIND, self._key, problem)
            spool.end(problem)
        except RegistryError as problem:
            spool.end(problem)
        except BaseException:
            spool.end(UpstreamFailed(Failure.DOWN, "the fetch was interrupted"))
            raise
        finally:
            spool.release()
        return False

    async def _receive(self) -> None:
        spool, idle = self._spool, 0
        for _ in range(_ALL_ATTEMPTS):
            before = spool.size
            try:
                await self._part()
                if spool.total in (None, spool.size):
                    return
                raise UpstreamFailed(  # noqa: TRY301 - handled like a connection that breaks
                    Failure.DOWN, f"{self._digest}: {spool.size} of {spool.total} bytes came"
                )
            except UpstreamFailed as problem:
                idle = idle + 1 if spool.size == before else 0
                can_go_on = spool.size and problem.failure in (Failure.DOWN, Failure.BROKEN)
                if not can_go_on or idle >= _ATTEMPTS:
                    raise
                _LOG.info("%s goes on after %d bytes: %s", self._digest, spool.size, problem.message)
                await asyncio.sleep(_PAUSE * 2**idle)
        raise UpstreamFailed(Failure.DOWN, f"{self._digest}: the connection breaks again and again")

    async def _part(self) -> None:
        spool = self._spool
        async with self._site.upstream.open_blob(self._place.remote, self._digest, spool.size) as stream:
            if stream is None:
                self._site.note_missing(KIND, self._key)
                raise unknown(self._digest)
            spool.expect(stream.total)
            pump = Pump(self._state, spool)
            try:
                await self._copy(stream, pump)
            finally:
                await pump.finish()

    async def _copy(self, stream: BlobStream, pump: Pump) -> None:
        spool = self._spool
        skip = spool.size - stream.start
        if skip < 0:
            raise UpstreamFailed(Failure.LIED, f"{self._digest}: the upstream answered with another range")
        left = None if spool.total is None else spool.total - spool.size
        async for received in stream.chunks:
            chunk = received[skip:] if skip < len(received) else b""
            skip = max(0, skip - len(received))
            self._site.figures.received(self._site.mirror.prefix, len(received))
            if left is not None:
                left -= len(chunk)
                if left < 0:
                    raise UpstreamFailed(Failure.LIED, f"{self._digest}: more than the promised bytes came")
            if chunk:
                await pump.write(chunk)

    async def _keep(self) -> bool:
        state, repository = self._state, self._place.repository
        try:
            kept = await state.in_thread(self._store)
        except Denied as problem:
            self._site.answered("unkept")
            _LOG.warning("%s of %s is not kept: %s", self._digest, repository, problem.message)
            return False
        except RegistryError as problem:
            _LOG.error("%s of %s is not kept: %s", self._digest, repository, problem.message)
            return False
        state.verified.add(self._digest, kept)
        return True

    def _store(self) -> Identity | None:
        store, spool, repository = self._state.store, self._spool, self._place.repository
        with quota.taking(store, self._state.config.policies, repository, self._digest, spool.size):
            if isinstance(store.blobs, _Adopts):
                spool.flush()
                store.blobs.adopt(repository, self._digest, spool.path)
            else:
                _copy_into(store, repository, spool)
        file = store.blobs.open(repository, self._digest)
        if file is None:
            return None
        with file:
            return identity(file)


def _copy_into(store: RegistryStore, repository: str, spool: Spool) -> None:
    upload = store.uploads.create(repository, spool.digest.algorithm)
    try:
        for offset in range(0, spool.size, _BLOCK):
            upload.write([spool.read(offset, _BLOCK)])
        upload.commit(spool.digest)
    except BaseException:
        upload.discard()
        raise
