"""
Where a build begins to need an event loop.

A build in which every step is cached never waits for anything, so it is driven without asyncio, whose import
alone takes longer than such a build. `needs_loop` is awaited before the first real wait: it suspends once,
which tells whoever drives the coroutine by hand to go on under a loop. Under asyncio it only lets others run.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

_T = TypeVar("_T")


@types.coroutine
def needs_loop() -> Generator[None, None, None]:
    """Suspend once; what follows may use asyncio."""
    yield


def drive(coroutine: Coroutine[Any, Any, _T], run: Callable[[Coroutine[Any, Any, _T]], _T]) -> _T:
    """
    Run a coroutine to its end, with `run` (asyncio.run, imported by then) only when it asks for a loop.

    Raises:
        Exception: whatever the coroutine raises.
    """
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: _T = done.value
        return result
    return run(coroutine)
