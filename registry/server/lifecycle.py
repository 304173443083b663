"""
What a server does beside answering: write down uses, make image layouts current, collect garbage.

Invariants: it works in the server's threads, so requests go on; a failure is logged and tried again; storages
without a directory have nothing of this.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from aiohttp import web

from ..errors import RegistryError
from .state import STATE, ServerState
from .store.filesystem import FilesystemStore

_LOG = logging.getLogger(__name__)
_SETTLE_SECONDS = 2.0


async def background(app: web.Application) -> AsyncIterator[None]:
    """A cleanup context of the application."""
    state = app[STATE]
    if not isinstance(state.store, FilesystemStore):
        yield
        return
    chore = asyncio.create_task(_settle(state, state.store))
    yield
    chore.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await chore


async def _settle(state: ServerState, store: FilesystemStore) -> None:
    while True:
        await asyncio.sleep(_SETTLE_SECONDS)
        try:
            await state.in_thread(store.settle_quiet)
        except RegistryError as problem:
            _LOG.warning("the image layouts cannot be written: %s", problem.message)
