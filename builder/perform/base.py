"""
What every way of performing a step shares: the dispatch by kind of op, and the one bridge to threads.

`perform` is asynchronous because commands and fetches wait; file work runs in threads through `in_thread`.
The runner knows no op: what it has to ask is asked through `given`, `identities` and `perform`.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import singledispatch
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from ..events import EventSink
from ..graph import Step
from ..host import Host
from ..ops import BaseImage, ExecMount, Scratch
from ..request import Bounds
from ..snapshots import Snapshot

if TYPE_CHECKING:
    from runtime.mounts import Mount

    from ..contexts.context import BuildContext
    from ..ssh import AgentSource

_P = ParamSpec("_P")
_T = TypeVar("_T")


class MountSource(Protocol):
    """Has contents for cache mounts that are not in the store."""

    async def restore(self, name: str, mount: ExecMount, place: str) -> bool:
        """Fill the empty directory of the mount of this name; False leaves it as it is."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplies:
    """
    What one build gives to its steps.

    `contexts` maps names ("" is the main one) to build contexts; `secrets` ids to values, `ssh` ids to
    agents. None of the values of the last two is ever part of a key, an event or an error. `bounds` are those
    of every command, and change no result. `mounts` has what new cache mounts begin with. `said` holds
    notices that were given, so that each is given once. `expected` has the steps that may yet have to be
    done, as far as the runner has looked.
    """

    host: Host
    sink: EventSink
    contexts: Mapping[str, BuildContext] = field(default_factory=dict)
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    ssh: Mapping[str, AgentSource] = field(default_factory=dict)
    bounds: Bounds = field(default_factory=Bounds)
    mounts: MountSource | None = None
    said: set[str] = field(default_factory=set)
    expected: set[Step] = field(default_factory=set)


@dataclass(slots=True)
class Mounted:
    """What a RUN gets: mounts in their order, and variables and groups that come with them."""

    mounts: list[Mount] = field(default_factory=list)
    env: list[str] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)


class Stopped(Exception):
    """Raised inside a thread at a checkpoint, after its caller was cancelled."""


_stop: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar("stop", default=None)


@singledispatch
async def perform(op: object, inputs: Sequence[Snapshot], step: Step, supplies: Supplies) -> Snapshot:
    """
    Do the step; every layer of the result is in the local store.

    Raises:
        BuildError: the step failed, or cannot be done here.
        ImageError: layers cannot be read or written.
    """
    del inputs, step, supplies
    raise TypeError(f"nothing performs {type(op).__name__}")


@singledispatch
def given(op: object) -> Snapshot | None:
    """The result of an op that needs no work (the start of a stage), None for all others."""
    del op
    return None


@given.register
def _(op: Scratch) -> Snapshot:
    del op
    return Snapshot()


@given.register
def _(op: BaseImage) -> Snapshot:
    return Snapshot(op.layers)


@singledispatch
async def identities(op: object, inputs: Sequence[Snapshot], supplies: Supplies) -> tuple[str, ...]:
    """
    What the op's result depends on in each input: its ChainID, or a digest of the part that is used.

    Raises:
        BuildError: the part that is used is not there.
        ImageError: layers cannot be read.
    """
    del op, supplies
    return tuple(snapshot.chain for snapshot in inputs)


async def in_thread(function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """
    Run a blocking function in a thread.

    A cancelled caller waits until the function has ended (it stops at its next `checkpoint`), so that nothing
    runs, and nothing is written, after the build is over.
    """
    stop = threading.Event()
    context = contextvars.copy_context()
    context.run(_stop.set, stop)
    future = asyncio.get_running_loop().run_in_executor(None, lambda: context.run(function, *args, **kwargs))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stop.set()
        await _ended(future)
        raise


async def _ended(future: asyncio.Future[_T]) -> None:
    while not future.done():
        try:
            await asyncio.wait((future,))
        except asyncio.CancelledError:  # cancelled once more: the thread still has to be waited for
            continue
    future.exception()  # its failure is of no interest any more, and must not be reported as forgotten


def checkpoint() -> None:
    """
    Called now and then inside a thread's loops.

    Raises:
        Stopped: nobody waits for the result any more.
    """
    stop = _stop.get()
    if stop is not None and stop.is_set():
        raise Stopped
