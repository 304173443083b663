"""The signals that STOPSIGNAL takes: Linux's names with or without SIG, and numbers."""

from __future__ import annotations

import re

_NAMES = frozenset(
    (
        *("ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL"),
        *("PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP"),
        *("TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX"),
    )
)
_LAST_ABOVE_RTMIN = 15
_LAST_BELOW_RTMAX = 14


def is_signal(text: str) -> bool:
    """Whether the text names a signal (case does not matter) or is a number above 0."""
    if re.fullmatch(r"\+?[0-9]{1,9}", text):
        return int(text) > 0
    name = text.upper().removeprefix("SIG")
    if name in _NAMES:
        return True
    for base, sign, last in (("RTMIN", "+", _LAST_ABOVE_RTMIN), ("RTMAX", "-", _LAST_BELOW_RTMAX)):
        offset = name.removeprefix(base + sign)
        if offset != name and re.fullmatch("[1-9][0-9]?", offset):
            return int(offset) <= last
    return False
