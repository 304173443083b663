"""How people read numbers and times: Docker's words and columns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

from ..request import DEFAULT_EPOCH


def size(count: float) -> str:
    """Bytes in decimal units with three digits, as Docker writes them: ``1.23MB``."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.3g}{unit}" if unit != "B" else f"{count:.0f}B"
        count /= 1000
    raise AssertionError(count)


def ago(seconds: float) -> str:
    """A duration as Docker says it: ``About a minute``, ``3 hours``, ``2 weeks``."""
    minutes, hours = seconds / 60, seconds / 3600
    days = hours / 24
    steps: tuple[tuple[bool, str], ...] = (
        (seconds < 1, "Less than a second"),
        (seconds < 2, "1 second"),
        (seconds < 60, f"{seconds:.0f} seconds"),
        (minutes < 2, "About a minute"),
        (hours < 1, f"{int(minutes)} minutes"),
        (hours < 1.5, "About an hour"),
        (hours < 48, f"{hours:.0f} hours"),
        (days < 14, f"{int(days)} days"),
        (days < 60, f"{int(days / 7)} weeks"),
        (days < 730, f"{int(days / 30)} months"),
    )
    return next((text for fits, text in steps if fits), f"{int(days / 365)} years")


def since(created: str | None, came: float | None = None) -> str:
    """
    An RFC 3339 time as ``3 hours ago``.

    Where there is none, or the fixed one of builds that were given none, that at which it came here (in Unix
    seconds) takes its place, or else "N/A".
    """
    moment: float | None = None
    if created:
        try:
            moment = datetime.fromisoformat(created).timestamp()
        except ValueError:
            return created
    if moment is None or moment == DEFAULT_EPOCH:
        moment = came
    return "N/A" if moment is None else ago(max(0.0, time.time() - moment)) + " ago"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns three blanks apart, as Docker's."""
    everything = [list(header), *map(list, rows)]
    widths = [max(len(row[i]) for row in everything) for i in range(len(header))]
    lines = [
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in everything
    ]
    return "\n".join(lines)
