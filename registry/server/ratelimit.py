"""
How many requests each caller may send.

Invariants: a user has one allowance wherever the requests come from, an anonymous caller one per address;
an allowance refills steadily up to its burst; wrong credentials have an allowance of their own per address;
the allowances of the last 100,000 callers are remembered (0.3 KiB each, 30 MiB), others begin with a full
one.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from ..errors import ApiError
from ..protocol.errors import ErrorCode

_CALLERS_LIMIT = 100_000


class RateLimit:
    """
    The allowances of all callers.

    Args:
        per_second: requests by which an allowance refills in a second.
        burst: the most requests that an allowance holds.
        clock: seconds that never jump.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._clock = clock
        self._held: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def spend(self, user: str, address: str) -> None:
        """
        Take one request from the allowance of the user, or of the address of an anonymous caller.

        Raises:
            ApiError: TOOMANYREQUESTS, with ``Retry-After``.
        """
        self._take(("user", user) if user else ("address", address))

    def check_failures(self, address: str) -> None:
        """
        Refuse credentials from an address that sent too many wrong ones.

        Raises:
            ApiError: TOOMANYREQUESTS, with ``Retry-After``.
        """
        self._left(("failures", address))

    def spend_failure(self, address: str) -> None:
        """
        Note wrong credentials.

        Raises:
            ApiError: TOOMANYREQUESTS, with ``Retry-After``.
        """
        self._take(("failures", address))

    def _take(self, key: tuple[str, str]) -> None:
        self._held[key] = (self._left(key) - 1, self._clock())
        self._held.move_to_end(key)
        if len(self._held) > _CALLERS_LIMIT:
            self._held.popitem(last=False)

    def _left(self, key: tuple[str, str]) -> float:
        now = self._clock()
        left, since = self._held_by(key) or (self._burst, now)
        left = min(self._burst, left + (now - since) * self._per_second)
        if left < 1:
            seconds = max(1, math.ceil((1 - left) / self._per_second))
            raise ApiError(ErrorCode.TOOMANYREQUESTS, headers={"Retry-After": str(seconds)})
        return left

    def _held_by(self, key: tuple[str, str]) -> tuple[float, float] | None:
        """What an allowance held, and when."""
        return self._held.get(key)
