"""One JSON object on a line for each event, for programs. Fields are only ever added."""

from __future__ import annotations

import json
from functools import singledispatchmethod
from typing import Any, Self, TextIO

from ...events import (
    Event,
    Notice,
    StepCached,
    StepDone,
    StepLog,
    StepProblem,
    StepStarted,
    TaskDone,
    TaskProblem,
    TaskProgress,
    TaskStarted,
)
from ...graph import Step

_STREAMS = {1: "stdout", 2: "stderr"}


class JsonProgress:
    """The renderer of ``--progress json``."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, event: Event) -> None:
        """Write the event."""
        value = self._fields(event)
        self._out.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")
        self._out.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None

    @singledispatchmethod
    def _fields(self, event: object) -> dict[str, Any]:
        raise TypeError(f"no JSON form for {type(event).__name__}")

    @_fields.register
    def _(self, event: StepStarted) -> dict[str, Any]:
        return {"event": "step-started", **_step(event.step), "time": round(event.time, 6)}

    @_fields.register
    def _(self, event: StepCached) -> dict[str, Any]:
        return {"event": "step-cached", **_step(event.step)}

    @_fields.register
    def _(self, event: StepLog) -> dict[str, Any]:
        text = event.data.decode(errors="replace")
        return {"event": "step-log", **_step(event.step), "stream": _STREAMS[event.stream], "data": text}

    @_fields.register
    def _(self, event: StepDone) -> dict[str, Any]:
        size = {"layer_size": event.layer_size}
        return {"event": "step-done", **_step(event.step), "time": round(event.time, 6), **size}

    @_fields.register
    def _(self, event: StepProblem) -> dict[str, Any]:
        message = {"message": event.message}
        return {"event": "step-problem", **_step(event.step), "time": round(event.time, 6), **message}

    @_fields.register
    def _(self, event: TaskStarted) -> dict[str, Any]:
        return {"event": "task-started", "task": event.task, "time": round(event.time, 6)}

    @_fields.register
    def _(self, event: TaskProgress) -> dict[str, Any]:
        amounts = {"done": event.done, "total": event.total}
        return {"event": "task-progress", "task": event.task, "item": event.item, **amounts}

    @_fields.register
    def _(self, event: TaskDone) -> dict[str, Any]:
        detail = {"detail": event.detail} if event.detail else {}
        return {"event": "task-done", "task": event.task, "time": round(event.time, 6), **detail}

    @_fields.register
    def _(self, event: TaskProblem) -> dict[str, Any]:
        message = {"message": event.message}
        return {"event": "task-problem", "task": event.task, "time": round(event.time, 6), **message}

    @_fields.register
    def _(self, event: Notice) -> dict[str, Any]:
        return {"event": "notice", "level": event.level, "text": event.text}


def _step(step: Step) -> dict[str, Any]:
    line = step.origin.span.start_line if step.origin.span else None
    return {"step": str(step.digest), "name": step.origin.title, "line": line}
