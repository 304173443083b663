"""
Several transfers at once, and one error when one of them fails.

Invariant: when `together` returns or raises, nothing that it started runs any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


async def together(work: Iterable[Coroutine[Any, Any, ResultT]]) -> list[ResultT]:
    """Run everything at once; the results in order, or the first error after the rest was cancelled."""
    first: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as failed:
        first = failed.exceptions[0]
    if first is not None:
        raise first
    return [task.result() for task in tasks]
