"""
A digest that is computed beside other work.

Hashing and writing let go of the interpreter lock, so on two processors both go on at the same time.
"""

from __future__ import annotations

import queue
import threading

from ..digest import Hasher

_MOST_WAITING = 2
"""Blocks that may wait to be hashed; whoever has more to hash waits."""


class HashingThread:
    """
    Feeds a hasher in a thread of its own. Used by one thread at a time.

    Args:
        hasher: belongs to this object until `finish` returns.
    """

    def __init__(self, hasher: Hasher) -> None:
        self._hasher = hasher
        self._waiting: queue.Queue[bytes | bytearray | memoryview | None] = queue.Queue(_MOST_WAITING)
        self._dropping = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes, which nobody changes any more."""
        self._waiting.put(data)

    def finish(self) -> None:
        """Wait until the hasher has everything."""
        self._waiting.put(None)
        self._thread.join()

    def drop(self) -> None:
        """Forget what was not hashed yet; the hasher is of no use afterwards."""
        self._dropping = True
        self.finish()

    def _work(self) -> None:
        while (data := self._waiting.get()) is not None:
            if not self._dropping:
                self._hasher.update(data)
