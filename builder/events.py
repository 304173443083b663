"""
What happens in a build, as values.

The build calls one sink with them, from the event loop's thread, in order. Times are seconds of a monotonic
clock. Nothing here formats for a terminal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from .graph import Step


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step begins to run."""

    step: Step
    time: float


@dataclass(frozen=True, slots=True)
class StepCached:
    """An earlier result of the step is reused."""

    step: Step


@dataclass(frozen=True, slots=True)
class StepLog:
    """The command of a step printed bytes; `stream` is 1 for stdout, 2 for stderr."""

    step: Step
    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step is done; `layer_size` is the size of its layer in bytes."""

    step: Step
    time: float
    layer_size: int


@dataclass(frozen=True, slots=True)
class StepProblem:
    """A step failed or was cancelled."""

    step: Step
    time: float
    message: str


@dataclass(frozen=True, slots=True)
class TaskStarted:
    """Something beside the steps begins: resolving a base, loading the context, exporting, pushing."""

    task: str
    time: float


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """How far a task is; `total` is 0 when unknown. `item` is what it works on (a layer, a file)."""

    task: str
    item: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class TaskDone:
    """A task is done; `detail` is one line about the result, or empty."""

    task: str
    time: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class TaskProblem:
    """A task failed or was cancelled."""

    task: str
    time: float
    message: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person should know: level "info" or "warning"."""

    level: str
    text: str


Event: TypeAlias = (
    StepStarted
    | StepCached
    | StepLog
    | StepDone
    | StepProblem
    | TaskStarted
    | TaskProgress
    | TaskDone
    | TaskProblem
    | Notice
)
EventSink: TypeAlias = Callable[[Event], None]


def discard(event: Event) -> None:
    """The sink that ignores everything."""
    del event
