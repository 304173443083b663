"""
One mirror at work: its upstream, what is known about its failures, and how these look to clients.

Invariant: every question to an upstream goes through here, so that it is counted, and is not asked when its
answer is known or the upstream wants to be left alone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import web

from ...errors import ApiError, Denied
from ...protocol.errors import ErrorCode
from .figures import Figures
from .patience import Patience
from .settings import Mirror
from .upstream import Failure, Upstream, UpstreamFailed

_LOG = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One mirror of a running server."""

    mirror: Mirror
    upstream: Upstream
    patience: Patience
    figures: Figures

    def is_missing(self, kind: str, key: Hashable) -> bool:
        """
        Whether something was missing a moment ago.

        Raises:
            UpstreamFailed: the upstream is not to be asked now.
        """
        return self.patience.check(kind, key)

    async def ask(self, kind: str, key: Hashable, question: Callable[[], Awaitable[T | None]]) -> T | None:
        """
        The answer to a question; None for what is not there.

        Raises:
            UpstreamFailed: no usable answer came, or the question was not asked.
        """
        if self.is_missing(kind, key):
            return None
        try:
            answer = await question()
        except UpstreamFailed as problem:
            self.note_failure(kind, key, problem)
            raise
        if answer is None:
            self.note_missing(kind, key)
        else:
            self.patience.note_success()
            self.figures.asked(self.mirror.prefix, "found")
        return answer

    def note_missing(self, kind: str, key: Hashable) -> None:
        """The upstream does not have something."""
        self.patience.note_missing(kind, key)
        self.figures.asked(self.mirror.prefix, "missing")

    def note_failure(self, kind: str, key: Hashable, problem: UpstreamFailed) -> None:
        """The upstream did not answer as it should."""
        self.patience.note_failure(kind, key, problem)
        self.figures.asked(self.mirror.prefix, problem.failure.value)
        level = logging.ERROR if problem.failure in (Failure.LIED, Failure.REFUSED) else logging.WARNING
        _LOG.log(level, "the upstream of %s: %s", self.mirror.prefix, problem.detail or problem.message)

    def answered(self, result: str) -> None:
        """Count an answer to a client."""
        self.figures.answered(self.mirror.prefix, result)


def error_of(problem: UpstreamFailed, *, missing: ErrorCode) -> ApiError:
    """
    What a client is told when an upstream failed and nothing is here.

    Args:
        problem: what happened.
        missing: what is said of something that is not here and is not asked for.
    """
    if problem.failure is Failure.OFFLINE:
        return ApiError(missing, message=problem.message)
    if problem.failure is Failure.REFUSED:
        return Denied(message=problem.message)
    if problem.failure is Failure.LIED:
        return ApiError(ErrorCode.UNKNOWN, message=problem.message, status=502)
    wait = {} if problem.retry_after is None else {"Retry-After": str(max(1, math.ceil(problem.retry_after)))}
    code = ErrorCode.TOOMANYREQUESTS if problem.failure is Failure.LIMITED else ErrorCode.UNAVAILABLE
    return ApiError(code, message=problem.message, headers=wait)


def warn(answer: web.StreamResponse, problem: UpstreamFailed, age: float | None) -> None:
    """
    Say that an answer may be old, and why.

    Governing sources: RFC 7234 section 5.5 (codes 110 to 112); OCI distribution-spec, "Warnings" (code 299).
    """
    if problem.failure is Failure.OFFLINE:
        answer.headers.add("Warning", '112 - "Disconnected Operation"')
        return
    answer.headers.add("Warning", '110 - "Response is Stale"')
    answer.headers.add("Warning", '111 - "Revalidation Failed"')
    reason = "".join(c if c.isascii() and c.isprintable() else "?" for c in problem.message)
    quoted = reason.replace("\\", "\\\\").replace('"', '\\"')[:300]
    answer.headers.add("Warning", f'299 - "served from the mirror: {quoted}"')
    if age is not None and math.isfinite(age):
        answer.headers["Age"] = str(max(0, int(age)))
