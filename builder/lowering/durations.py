"""Durations as history entries show them: the text form of Go's time.Duration."""

from __future__ import annotations

_UNITS = ((1_000_000, "ms"), (1_000, "µs"), (1, "ns"))
_SECOND = 1_000_000_000


def format_duration(nanoseconds: int) -> str:
    """The duration as ``1h2m3.5s``, ``250ms`` or ``0s``."""
    if nanoseconds < 0:
        return "-" + format_duration(-nanoseconds)
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < _SECOND:
        size, unit = next((size, unit) for size, unit in _UNITS if nanoseconds >= size)
        return _decimal(nanoseconds, size) + unit
    minutes, rest = divmod(nanoseconds, 60 * _SECOND)
    hours, minutes = divmod(minutes, 60)
    text = _decimal(rest, _SECOND) + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _decimal(value: int, unit: int) -> str:
    whole, fraction = divmod(value, unit)
    if not fraction:
        return str(whole)
    digits = str(fraction).rjust(len(str(unit)) - 1, "0").rstrip("0")
    return f"{whole}.{digits}"
