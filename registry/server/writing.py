"""
The bytes of one body on their way to the storage, while the next ones are received.

Invariants: blocks are written one after the other, in the order in which they came, in a thread; that thread
goes on for as long as there are blocks, without a turn of the event loop between two of them; everything that
was put is written when `finish` returns, or the failure is raised.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from .state import ServerState
from .store.base import Upload

_Parts = Sequence[bytes | memoryview]


def _keep() -> None:
    """Nothing waits for the memory of a block."""


class BlockWriter:
    """
    Appends blocks to an upload, and seals what was hashed and written where pulls will want that.

    Args:
        upload: takes the bytes.
        state: has the threads and the seals.
    """

    def __init__(self, upload: Upload, state: ServerState) -> None:
        self._upload = upload
        self._state = state
        self._seals = state.seals if state.seals_uploads else None
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._blocks: deque[tuple[_Parts, Callable[[], None]]] = deque()
        self._is_working = False  # read and changed under the lock
        self._work: asyncio.Future[None] | None = None
        self._underway = 0
        self._failure: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def put(self, parts: _Parts, *, ahead: int, release: Callable[[], None] = _keep) -> None:
        """
        Have a block written.

        Args:
            parts: the bytes of the block; they do not change before `release` is called.
            ahead: how many blocks may still have to be written when this returns.
            release: called by the event loop once the block is written, or when that failed.

        Raises:
            StorageFull: this block or an earlier one did not fit.
        """
        if self._failure is None:
            self._underway += 1
            with self._lock:
                self._blocks.append((parts, release))
                starts, self._is_working = not self._is_working, True
            if starts:
                self._work = asyncio.ensure_future(self._state.in_thread(self._write))
        while self._underway > ahead and self._failure is None:
            self._waiter = self._loop.create_future()
            await self._waiter
        if self._failure is not None:
            raise self._failure

    async def finish(self, rest: _Parts) -> None:
        """Wait until everything is written, and write the rest."""
        if self._work is not None:
            await self._work
        if rest:
            await self._state.in_thread(self._append, rest)

    def _append(self, parts: _Parts) -> None:
        before = self._upload.size
        self._upload.write(parts)
        if self._seals is not None:
            self._seals.extend(self._upload.identifier, before, parts)

    def _write(self) -> None:
        while True:
            with self._lock:
                if not self._blocks:
                    self._is_working = False
                    return
                parts, release = self._blocks.popleft()
            failure: BaseException | None = None
            try:
                self._append(parts)
            except BaseException as problem:
                failure = problem
                raise
            finally:
                self._loop.call_soon_threadsafe(partial(self._written, release, failure))

    def _written(self, release: Callable[[], None], failure: BaseException | None) -> None:
        self._underway -= 1
        self._failure = failure
        release()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
