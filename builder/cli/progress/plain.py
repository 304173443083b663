"""
Plain lines, as in a log: ``#4 [build 2/3] RUN make``, ``#4 0.312 output``, ``#4 DONE 1.2s``.

Numbers are given in the order in which things begin. Output lines are held back until they are complete.
"""

from __future__ import annotations

import time
from functools import singledispatchmethod
from typing import Self, TextIO

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


class PlainProgress:
    """The renderer of ``--progress plain``."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._numbers: dict[object, int] = {}
        self._began: dict[object, float] = {}
        self._rest: dict[tuple[object, int], bytes] = {}

    def __call__(self, event: Event) -> None:
        """Show the event."""
        self._show(event)
        self._out.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for (thing, stream), rest in list(self._rest.items()):
            if rest:
                self._line(thing, rest)
            self._rest.pop((thing, stream))
        self._out.flush()

    @singledispatchmethod
    def _show(self, event: object) -> None:
        raise TypeError(f"no plain form for {type(event).__name__}")

    @_show.register
    def _(self, event: StepStarted) -> None:
        self._begin(event.step.digest, event.step.origin.title, event.time)

    @_show.register
    def _(self, event: StepCached) -> None:
        number = self._number(event.step.digest)
        self._out.write(f"#{number} {event.step.origin.title}\n#{number} CACHED\n\n")

    @_show.register
    def _(self, event: StepLog) -> None:
        key = (event.step.digest, event.stream)
        *lines, rest = (self._rest.get(key, b"") + event.data).split(b"\n")
        for line in lines:
            self._line(event.step.digest, line)
        self._rest[key] = rest

    @_show.register
    def _(self, event: StepDone) -> None:
        self._flush(event.step)
        self._end(event.step.digest, event.time, "DONE")

    @_show.register
    def _(self, event: StepProblem) -> None:
        self._flush(event.step)
        self._fail(event.step.digest, event.message)

    @_show.register
    def _(self, event: TaskStarted) -> None:
        self._begin(event.task, event.task, event.time)

    @_show.register
    def _(self, event: TaskProgress) -> None:
        # Only ends are worth a line in a log.
        if event.total and event.done >= event.total:
            self._out.write(f"#{self._number(event.task)} {event.item} {_size(event.total)}\n")

    @_show.register
    def _(self, event: TaskDone) -> None:
        if event.detail:
            self._out.write(f"#{self._number(event.task)} {event.detail}\n")
        self._end(event.task, event.time, "DONE")

    @_show.register
    def _(self, event: TaskProblem) -> None:
        self._fail(event.task, event.message)

    @_show.register
    def _(self, event: Notice) -> None:
        self._out.write(f"{'WARN' if event.level == 'warning' else event.level}: {event.text}\n")

    def _number(self, thing: object) -> int:
        return self._numbers.setdefault(thing, len(self._numbers) + 1)

    def _begin(self, thing: object, title: str, time: float) -> None:
        self._began[thing] = time
        self._out.write(f"#{self._number(thing)} {title}\n")

    def _end(self, thing: object, time: float, word: str) -> None:
        seconds = time - self._began.get(thing, time)
        self._out.write(f"#{self._number(thing)} {word} {seconds:.1f}s\n\n")

    def _fail(self, thing: object, message: str) -> None:
        word = "CANCELED" if message == "cancelled" else f"ERROR: {message}"
        self._out.write(f"#{self._number(thing)} {word}\n\n")

    def _line(self, thing: object, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r").rpartition("\r")[2]
        now = time.monotonic()
        self._out.write(f"#{self._number(thing)} {now - self._began.get(thing, now):.3f} {text}\n")

    def _flush(self, step: Step) -> None:
        for stream in (1, 2):
            rest = self._rest.pop((step.digest, stream), b"")
            if rest:
                self._line(step.digest, rest)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError(count)
