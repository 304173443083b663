"""
What the event loop complains about while it accepts connections.

Invariant: a server without free descriptors says so now and then. asyncio reports every attempt to accept, a
thousand of them each second, and its log would fill the disk. Governing source: accept(2).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import Callable
from typing import Any

_LOG = logging.getLogger(__name__)
_PERIOD = 10.0
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class AcceptingProblems:
    """An exception handler of an event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: float | None = None

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Say what is exhausted once in a while; everything else is reported as always."""
        problem = context.get("exception")
        if not (isinstance(problem, OSError) and problem.errno in _EXHAUSTED and "socket" in context):
            loop.default_exception_handler(context)
            return
        now = self._clock()
        if self._said is None or now - self._said >= _PERIOD:
            self._said = now
            _LOG.error("connections cannot be accepted: %s", problem.strerror)
