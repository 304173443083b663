"""
What a server does beside answering: write down uses, make image layouts current, collect garbage.

Invariants: it works in the server's threads, so requests go on; a failure is logged and tried again; storages
without an index have nothing of this.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from aiohttp import web

from oci_image.digest import Digest

from ...errors import RegistryError
from ..config import RegistryConfig
from ..events import Bulletin
from ..leases import Key
from ..quota import check_store
from ..state import STATE, ServerState
from ..store.memory import MemoryStore
from ..switches import Switches

if TYPE_CHECKING:
    from ..store.indexed import IndexedStore
    from .upkeep import Audience, Upkeep

_LOG = logging.getLogger(__name__)
_SETTLE_SECONDS = 2.0

InThread = Callable[[Callable[[], object]], Awaitable[object]]


async def background(app: web.Application) -> AsyncIterator[None]:
    """A cleanup context of the application."""
    state = app[STATE]
    check_store(state.store, state.config.policies)
    if isinstance(state.store, MemoryStore) or not state.belongings.owns_directory:
        yield
        return
    from ..store.indexed import IndexedStore

    if not isinstance(state.store, IndexedStore):
        yield
        return
    upkeep = make_upkeep(
        state.config,
        state.store,
        _OneServer(state, state.store),
        bulletin=state.belongings.bulletin,
        announce=_announcing(state),
    )
    from ..admin import serving

    async with (
        looking_after(upkeep, state.config, state.in_thread, state.switches),
        serving(upkeep, state),
    ):
        yield


def _announcing(state: ServerState) -> Callable[[], None]:
    """Lets the delivery of events know of new ones, from any thread."""
    loop = asyncio.get_running_loop()

    def announce() -> None:
        if state.outbox is not None:
            with contextlib.suppress(RuntimeError):  # the server stops; the next one delivers
                loop.call_soon_threadsafe(state.outbox.announce)

    return announce


def make_upkeep(
    config: RegistryConfig,
    store: IndexedStore,
    audience: Audience,
    *,
    bulletin: Bulletin | None,
    announce: Callable[[], None],
) -> Upkeep:
    """What looks after the directory as the settings say."""
    from ..tidings import Tidings
    from .upkeep import Upkeep  # costs a tenth of the start

    return Upkeep(
        store,
        audience,
        grace=config.gc_grace,
        undelete=config.gc_undelete,
        policies=config.policies,
        scrub_rate=config.scrub_rate,
        is_sparse=config.is_sparse,
        tidings=None if bulletin is None else Tidings(store, bulletin, announce),
    )


class _OneServer:
    """Implements `Audience` for the one process that serves the directory."""

    def __init__(self, state: ServerState, store: IndexedStore) -> None:
        self._state = state
        self._store = store
        self._loop = asyncio.get_running_loop()

    def changed(self, repository: str, keys: Sequence[Key] = ()) -> None:
        """Only the event loop touches the cache. Until it did, the keys stay condemned: nobody uses them."""
        try:
            self._loop.call_soon_threadsafe(self._forget, repository, keys)
        except RuntimeError:  # the server stops
            self._store.leases.release(keys)

    def _forget(self, repository: str, keys: Sequence[Key]) -> None:
        with self._state.metadata.change(repository, blobs=True):
            self._store.leases.release(keys)
        for _repository, digest in keys:  # what is gone needs no place in the record
            self._state.verified.remove(digest)

    def damaged(self, digest: Digest) -> None:
        """Its next reader must verify it."""
        with contextlib.suppress(RuntimeError):  # the server stops
            self._loop.call_soon_threadsafe(self._state.note_damage, digest)


@contextlib.asynccontextmanager
async def looking_after(
    upkeep: Upkeep, config: RegistryConfig, in_thread: InThread, switches: Switches
) -> AsyncIterator[None]:
    """Do what the settings ask for from time to time, within the block."""
    await in_thread(upkeep.tell)  # what went just before the last server ended, or while there was none
    chores = [asyncio.create_task(_settle(upkeep, in_thread))]
    if config.gc_interval:
        chores.append(asyncio.create_task(_collect(upkeep, config.gc_interval, in_thread, switches)))
    if config.scrub_interval:
        chores.append(asyncio.create_task(_scrub(upkeep, config.scrub_interval, in_thread)))
    try:
        yield
    finally:
        upkeep.stop()
        for chore in chores:
            chore.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await chore


async def _scrub(upkeep: Upkeep, interval: float, in_thread: InThread) -> None:
    def scrub() -> None:
        report = upkeep.scrub()
        _LOG.info("verified %d things, %d bytes", report.checked, report.size)

    while True:
        await asyncio.sleep(interval)
        try:
            await in_thread(scrub)
        except RegistryError as problem:
            _LOG.warning("the content cannot be verified: %s", problem.message)


async def _collect(upkeep: Upkeep, interval: float, in_thread: InThread, switches: Switches) -> None:
    def collect() -> None:
        report = upkeep.collect()
        if report.deletions or report.purged:
            _LOG.info(
                "collected %d things, %d bytes; purged %d files from the trash",
                len(report.deletions),
                report.freed,
                report.purged,
            )

    while True:
        await asyncio.sleep(interval)
        if switches.is_read_only:  # somebody may be copying the storage
            continue
        try:
            await in_thread(collect)
        except RegistryError as problem:
            _LOG.warning("garbage cannot be collected: %s", problem.message)


async def _settle(upkeep: Upkeep, in_thread: InThread) -> None:
    while True:
        await asyncio.sleep(_SETTLE_SECONDS)
        try:
            await in_thread(upkeep.store.settle_quiet)
        except RegistryError as problem:
            _LOG.warning("the image layouts cannot be written: %s", problem.message)
