"""
BuildKit's form of progress (``--progress rawjson``): one JSON object on a line, as the programs read it that
follow builds of docker buildx.

Steps and tasks are its vertexes, what a task works on its statuses; output and descriptions of warnings are
base64. Notices belong to a vertex of their own. Governing source: ``SolveStatus`` of BuildKit's client.
"""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime
from functools import singledispatchmethod
from typing import Any, Self, TextIO

from oci_image.digest import Digest

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

_CANCELED = "context canceled"
"""The words by which readers tell what was cancelled from what failed."""
_NOTICES = "notices"
_STDERR = 2


class RawJsonProgress:
    """The renderer of ``--progress rawjson``."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._clock = time.time() - time.monotonic()
        self._started: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        """Write the event."""
        self._write(self._status(event))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None

    def _write(self, status: dict[str, Any]) -> None:
        self._out.write(json.dumps(status, ensure_ascii=False, separators=(",", ":")) + "\n")
        self._out.flush()

    def _time(self, moment: float | None = None) -> str:
        """A moment of the events' clock, or this one, as RFC 3339 has it."""
        seconds = self._clock + (time.monotonic() if moment is None else moment)
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")

    @singledispatchmethod
    def _status(self, event: object) -> dict[str, Any]:
        raise TypeError(f"no form for {type(event).__name__} among BuildKit's")

    @_status.register
    def _(self, event: StepStarted) -> dict[str, Any]:
        return self._began(_step(event.step), event.time)

    @_status.register
    def _(self, event: StepCached) -> dict[str, Any]:
        now = self._time()
        return _vertexes({**_step(event.step), "started": now, "completed": now, "cached": True})

    @_status.register
    def _(self, event: StepLog) -> dict[str, Any]:
        return self._log(str(event.step.digest), event.stream, event.data)

    @_status.register
    def _(self, event: StepDone) -> dict[str, Any]:
        return self._ended(_step(event.step), event.time)

    @_status.register
    def _(self, event: StepProblem) -> dict[str, Any]:
        return self._ended(_step(event.step), event.time, event.message)

    @_status.register
    def _(self, event: TaskStarted) -> dict[str, Any]:
        return self._began(_task(event.task), event.time)

    @_status.register
    def _(self, event: TaskProgress) -> dict[str, Any]:
        now = self._time()
        ends = {"completed": now} if event.total and event.done >= event.total else {}
        vertex = _task(event.task)["digest"]
        amounts = {"total": event.total, "current": event.done, "timestamp": now}
        return {"statuses": [{"id": event.item, "vertex": vertex, **amounts, "started": now, **ends}]}

    @_status.register
    def _(self, event: TaskDone) -> dict[str, Any]:
        ended = self._ended(_task(event.task), event.time)
        if not event.detail:
            return ended
        now = self._time(event.time)
        times = {"timestamp": now, "started": now, "completed": now}
        vertex = ended["vertexes"][0]["digest"]
        return {**ended, "statuses": [{"id": event.detail, "vertex": vertex, "current": 0, **times}]}

    @_status.register
    def _(self, event: TaskProblem) -> dict[str, Any]:
        return self._ended(_task(event.task), event.time, event.message)

    @_status.register
    def _(self, event: Notice) -> dict[str, Any]:
        vertex = _task(_NOTICES)
        if vertex["digest"] not in self._started:
            now = time.monotonic()
            self._write(self._began(vertex, now))
            self._write(self._ended(vertex, now))
        if event.level != "warning":
            return self._log(vertex["digest"], _STDERR, f"{event.text}\n".encode())
        short = base64.b64encode(event.text.encode()).decode()
        return {"warnings": [{"vertex": vertex["digest"], "level": 1, "short": short}]}

    def _began(self, vertex: dict[str, Any], moment: float) -> dict[str, Any]:
        started = self._started[vertex["digest"]] = self._time(moment)
        return _vertexes({**vertex, "started": started})

    def _ended(self, vertex: dict[str, Any], moment: float, problem: str = "") -> dict[str, Any]:
        completed = self._time(moment)
        started = self._started.get(vertex["digest"], completed)
        error = {"error": _CANCELED if problem == "cancelled" else problem} if problem else {}
        return _vertexes({**vertex, "started": started, "completed": completed, **error})

    def _log(self, vertex: str, stream: int, data: bytes) -> dict[str, Any]:
        text = base64.b64encode(data).decode()
        return {"logs": [{"vertex": vertex, "stream": stream, "data": text, "timestamp": self._time()}]}


def _vertexes(vertex: dict[str, Any]) -> dict[str, Any]:
    return {"vertexes": [vertex]}


def _step(step: Step) -> dict[str, Any]:
    inputs = {"inputs": [str(one.digest) for one in step.inputs]} if step.inputs else {}
    return {"digest": str(step.digest), **inputs, "name": step.origin.title}


def _task(task: str) -> dict[str, Any]:
    return {"digest": str(Digest.of(task.encode())), "name": task}
