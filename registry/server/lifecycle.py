"""
What a server does beside answering: write down uses, make image layouts current, collect garbage.

Invariants: it works in the server's threads, so requests go on; a failure is logged and tried again; storages
without a directory have nothing of this.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence

from aiohttp import web

from oci_image.digest import Digest

from ..errors import RegistryError
from .gc import Collector
from .leases import Key
from .policies import policy_of
from .quota import check_store
from .retention import remove_expired
from .scrub import Scrubber
from .state import STATE, ServerState
from .store.filesystem import FilesystemStore

_LOG = logging.getLogger(__name__)
_SETTLE_SECONDS = 2.0


async def background(app: web.Application) -> AsyncIterator[None]:
    """A cleanup context of the application."""
    state = app[STATE]
    check_store(state.store, state.config.policies)
    if not isinstance(state.store, FilesystemStore):
        yield
        return
    collector = _collector(state, state.store)
    chores = [asyncio.create_task(_settle(state, state.store))]
    if state.config.gc_interval:
        chores.append(asyncio.create_task(_collect(state, state.store, collector)))
    scrubber = _scrubber(state, state.store)
    if state.config.scrub_interval:
        chores.append(asyncio.create_task(_scrub(state, scrubber)))
    yield
    collector.stopped.set()
    scrubber.stopped.set()
    for chore in chores:
        chore.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await chore


def _collector(state: ServerState, store: FilesystemStore) -> Collector:
    loop = asyncio.get_running_loop()

    def forget(repository: str, keys: Sequence[Key]) -> None:
        with state.metadata.change(repository, blobs=True):
            store.leases.release(keys)

    def finish(repository: str, keys: Sequence[Key]) -> None:
        # Only the event loop touches the cache. Until it did, the keys stay condemned, so nobody uses it.
        try:
            loop.call_soon_threadsafe(forget, repository, keys)
        except RuntimeError:  # the server stops
            store.leases.release(keys)

    config = state.config

    def grace_of(repository: str) -> float:
        policy = policy_of(config.policies, repository)
        return min(config.gc_grace, policy.ttl) if policy is not None and policy.ttl else config.gc_grace

    return Collector(
        store, grace=config.gc_grace, undelete=config.gc_undelete, finish=finish, grace_of=grace_of
    )


def _scrubber(state: ServerState, store: FilesystemStore) -> Scrubber:
    loop = asyncio.get_running_loop()

    def forget(digest: Digest, repositories: tuple[str, ...]) -> None:
        state.verified.remove(digest)
        for repository in repositories:
            with state.metadata.change(repository, blobs=True):
                pass

    def damaged(digest: Digest, repositories: tuple[str, ...]) -> None:
        _LOG.error("%s is damaged; push it again to repair it in %s", digest, ", ".join(repositories))
        with contextlib.suppress(RuntimeError):  # the server stops
            loop.call_soon_threadsafe(forget, digest, repositories)

    return Scrubber(store, rate=state.config.scrub_rate, damaged=damaged)


async def _scrub(state: ServerState, scrubber: Scrubber) -> None:
    while True:
        await asyncio.sleep(state.config.scrub_interval)
        try:
            report = await state.in_thread(scrubber.scrub)
        except RegistryError as problem:
            _LOG.warning("the content cannot be verified: %s", problem.message)
        else:
            _LOG.info("verified %d things, %d bytes", report.checked, report.size)


async def _collect(state: ServerState, store: FilesystemStore, collector: Collector) -> None:
    loop = asyncio.get_running_loop()

    def forget(repository: str) -> None:
        with state.metadata.change(repository):
            pass

    def changed(repository: str) -> None:
        with contextlib.suppress(RuntimeError):  # the server stops
            loop.call_soon_threadsafe(forget, repository)

    while True:
        await asyncio.sleep(state.config.gc_interval)
        try:
            for item in await state.in_thread(remove_expired, store, state.config.policies, changed):
                _LOG.info("%s: %s", item.repository, item.reason)
            report = await state.in_thread(collector.collect)
        except RegistryError as problem:
            _LOG.warning("garbage cannot be collected: %s", problem.message)
        else:
            if report.deletions or report.purged:
                _LOG.info(
                    "collected %d things, %d bytes; purged %d files from the trash",
                    len(report.deletions),
                    report.freed,
                    report.purged,
                )


async def _settle(state: ServerState, store: FilesystemStore) -> None:
    while True:
        await asyncio.sleep(_SETTLE_SECONDS)
        try:
            await state.in_thread(store.settle_quiet)
        except RegistryError as problem:
            _LOG.warning("the image layouts cannot be written: %s", problem.message)
