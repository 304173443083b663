"""
One fetch for everybody who wants the same thing at the same time.

Invariants: a fetch goes on when the client that began it goes away, for others may wait and the next one will
ask; its failure is everybody's; `close` ends all of them and waits for that. Only the event loop touches it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """The fetches that are going on, by what they fetch."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Task[T]] = {}

    async def join(self, key: Hashable, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the fetch that is going on, or of one that starts now."""
        # A client that goes away must not take the fetch with it.
        return await asyncio.shield(self.begin(key, start))

    def begin(self, key: Hashable, start: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """The fetch that is going on, or one that starts now."""
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.get_running_loop().create_task(start())
            task.add_done_callback(lambda done: self._end(key, done))
        return task

    def _end(self, key: Hashable, task: asyncio.Task[T]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        if not task.cancelled():
            task.exception()  # seen, even if everybody who waited has gone

    async def close(self) -> None:
        """End everything."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
