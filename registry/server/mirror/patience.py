"""
When an upstream is not asked, because it said so or because it just failed.

Invariants: only the event loop touches it; the number of remembered failures is bounded; a limit for
manifests does not hold up blobs, because registries count manifests, and a pull that began should end.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from .upstream import Failure, UpstreamFailed

_REMEMBERED = 10_000
_LONGEST_LIMIT = 6 * 3600.0
_DEFAULT_LIMIT = 60.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_BROKEN_SECONDS = 2.0


class Patience:
    """
    What is known about failures of one upstream.

    Args:
        offline: whether it is never asked.
        missing_ttl: seconds for which something stays missing.
        name: of the mirror, for messages.
        clock: seconds that never jump.
    """

    def __init__(
        self, name: str, *, offline: bool, missing_ttl: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._offline = offline
        self._missing_ttl = missing_ttl
        self._clock = clock
        self._limited: dict[str, float] = {}
        self._down_until = 0.0
        self._failures = 0
        self._known: OrderedDict[Hashable, tuple[float, UpstreamFailed | None]] = OrderedDict()

    def check(self, kind: str, key: Hashable) -> bool:
        """
        Whether something is known to be missing; False when the upstream is to be asked.

        Args:
            kind: what the upstream counts: ``manifests``, ``blobs``.
            key: what is wanted.

        Raises:
            UpstreamFailed: it is not to be asked now.
        """
        if self._offline:
            raise UpstreamFailed(Failure.OFFLINE, f"the mirror {self._name} is offline and does not have it")
        now = self._clock()
        limited = self._limited.get(kind, 0.0)
        if now < limited:
            raise UpstreamFailed(
                Failure.LIMITED,
                f"the upstream of {self._name} limits how often it may be asked",
                retry_after=limited - now,
            )
        if now < self._down_until:
            raise UpstreamFailed(
                Failure.DOWN,
                f"the upstream of {self._name} was not reached a moment ago",
                retry_after=self._down_until - now,
            )
        until, problem = self._known.get((kind, key), (0.0, None))
        if now >= until:
            return False
        if problem is not None:
            raise problem
        return True

    def note_missing(self, kind: str, key: Hashable) -> None:
        """Something is not there."""
        self.note_success()
        self._remember((kind, key), self._missing_ttl, None)

    def note_success(self) -> None:
        """An answer came."""
        self._failures = 0
        self._down_until = 0.0

    def note_failure(self, kind: str, key: Hashable, problem: UpstreamFailed) -> None:
        """No usable answer came."""
        if problem.failure is Failure.LIMITED:
            seconds = _DEFAULT_LIMIT if problem.retry_after is None else problem.retry_after
            self._limited[kind] = self._clock() + min(seconds, _LONGEST_LIMIT)
        elif problem.failure is Failure.DOWN:
            pause = min(_SHORTEST_PAUSE * 2.0 ** min(self._failures, 10), _LONGEST_PAUSE)
            self._failures += 1
            self._down_until = self._clock() + pause
        elif problem.failure is Failure.REFUSED:
            self._remember((kind, key), self._missing_ttl, problem)
        else:
            self._remember((kind, key), _BROKEN_SECONDS, problem)

    def _remember(self, key: Hashable, seconds: float, problem: UpstreamFailed | None) -> None:
        if seconds <= 0:
            return
        self._known[key] = (self._clock() + seconds, problem)
        self._known.move_to_end(key)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
