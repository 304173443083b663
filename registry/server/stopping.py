"""When a server is to stop: SIGTERM and SIGINT, for as long as it listens to them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event that is set when the process is asked to end; outside the block the signals are as before."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        for number in _SIGNALS:
            loop.add_signal_handler(number, stop.set)
        yield stop
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
