"""
Which requests are running, so that a server that stops can let them finish.

aiohttp drops what clients send as soon as its own shutdown begins, which would cut uploads short; so the
server waits here first. Invariant: only the event loop touches the count.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from ..errors import ApiError
from ..protocol.errors import ErrorCode


class RunningRequests:
    """Counts requests, which are surrounded by it; after `drain` was called, new ones are refused."""

    def __init__(self) -> None:
        self._count = 0
        self._draining = False
        self._idle = asyncio.Event()

    @property
    def count(self) -> int:
        """How many requests are running."""
        return self._count

    @property
    def is_draining(self) -> bool:
        """Whether new requests are refused."""
        return self._draining

    def __enter__(self) -> None:
        """
        A request begins.

        Raises:
            ApiError: UNAVAILABLE, the server is stopping.
        """
        if self._draining:
            raise ApiError(
                ErrorCode.UNAVAILABLE, message="the registry is stopping", headers={"Retry-After": "5"}
            )
        self._count += 1

    def __exit__(self, *_: object) -> None:
        """It ended."""
        self._count -= 1
        if not self._count:
            self._idle.set()

    async def drain(self, seconds: float) -> None:
        """Refuse new requests, and wait until no more are running, or for so long."""
        self._draining = True
        if self._count:
            self._idle.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._idle.wait()
