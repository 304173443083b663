"""
When a request is tried again, and after how long.

Invariants: attempts and waiting are bounded; a registry's Retry-After is honoured up to a limit, beyond which
giving up at once is kinder than hanging. Governing source: RFC 9110 sections 10.2.3 and 15.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

TEMPORARY_STATUSES = frozenset((408, 429, 500, 502, 503, 504))


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """
    How patient a client is; all times in seconds.

    Attributes:
        attempts: how often a request is sent at most.
        first_delay: the pause after the first failure, doubled after each further one.
        longest_delay: no pause is longer; a registry that asks for more is given up.
    """

    attempts: int = 5
    first_delay: float = 0.5
    longest_delay: float = 60.0

    def delay(self, failures: int, retry_after: float | None = None) -> float | None:
        """The pause after this many failures (at least 1), or None to give up."""
        if failures >= self.attempts:
            return None
        if retry_after is not None:
            return max(retry_after, 0.0) if retry_after <= self.longest_delay else None
        return min(self.first_delay * 2.0 ** (failures - 1), self.longest_delay)


def parse_retry_after(header: str | None, now: float) -> float | None:
    """The seconds that a Retry-After header asks for (a number or a date), None if it says nothing usable."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(parsedate_to_datetime(text).timestamp() - now, 0.0) if text else None
    except (ValueError, OverflowError):
        return None
