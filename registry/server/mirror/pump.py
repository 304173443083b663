"""
From the network into a spool: one batch is written while the next one arrives.

Invariants: what arrived becomes readable without waiting for more; at most two batches are in memory; no
thread uses the spool after `finish`.
"""

from __future__ import annotations

import asyncio

from ..state import ServerState
from .spool import Spool

_BATCH = 1024 * 1024


class Pump:
    """
    Writes to one spool.

    Args:
        state: the server, whose threads write.
        spool: where to.
    """

    def __init__(self, state: ServerState, spool: Spool) -> None:
        self._state = state
        self._spool = spool
        self._waiting: list[bytes] = []
        self._size = 0
        self._running: asyncio.Future[None] | None = None
        self._problem: BaseException | None = None

    async def write(self, data: bytes) -> None:
        """
        Take bytes.

        Raises:
            StorageFull, StorageProblem: earlier ones could not be written.
        """
        self._waiting.append(data)
        self._size += len(data)
        if self._running is None:
            self._begin()
        while self._size >= _BATCH:
            await self._pause()

    async def finish(self) -> None:
        """
        Wait until everything is written.

        Raises:
            StorageFull, StorageProblem: something could not be.
        """
        while self._running is not None:
            await self._pause()
        self._check()

    async def _pause(self) -> None:
        if self._running is not None:
            await asyncio.wait([self._running])
        self._check()

    def _check(self) -> None:
        if self._problem is not None:
            raise self._problem

    def _begin(self) -> None:
        parts, self._waiting, self._size = self._waiting, [], 0
        self._running = asyncio.ensure_future(self._state.in_thread(self._spool.append, parts))
        self._running.add_done_callback(self._end)

    def _end(self, done: asyncio.Future[None]) -> None:
        self._running = None
        self._problem = None if done.cancelled() else done.exception()
        if self._problem is None:
            self._spool.announce()
            if self._waiting:
                self._begin()
