"""
SIGTERM and SIGHUP end a call as Ctrl-C does: what was begun is given back before the process goes.

Not installed while a build only looks at its cache: there is nothing to give back then.
"""

from __future__ import annotations

import signal
from types import FrameType


def end_in_order() -> None:
    """From now on these signals interrupt, instead of ending the process on the spot."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup(1) ignores SIGHUP, and that stays
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)  # asyncio puts its own there, which cancels what runs
    if not callable(handler):
        raise KeyboardInterrupt
    handler(number, frame)
