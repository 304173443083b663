"""
A live picture on a terminal: one line for each step, the last output lines of those that run.

Drawing is rich's work. While the picture lives it is never higher than the terminal: what finished first
makes room, and is there again in the last picture, which stays.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import singledispatchmethod
from typing import Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

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
from ..problems import visible

_TAIL = 6
_LONGEST = 1 << 12
"""Bytes that are kept of a line that does not end."""


@dataclass(slots=True)
class _Row:
    title: str
    began: float
    ended: float | None = None
    state: str = "running"
    tail: list[str] = field(default_factory=list)
    items: dict[str, tuple[int, int]] = field(default_factory=dict)
    rest: bytes = b""

    @property
    def height(self) -> int:
        """Lines that it takes."""
        return 1 + len(self.tail) + bool(self.rest) + len(self.items)


class TtyProgress:
    """The renderer of ``--progress tty``."""

    def __init__(self, out: TextIO, *, color: bool) -> None:
        self._console = Console(file=out, no_color=not color, highlight=False)
        self._rows: dict[object, _Row] = {}
        self._began = time.monotonic()
        self._finished = ""
        self._live = Live(
            get_renderable=self._picture,
            console=self._console,
            refresh_per_second=10,
            vertical_overflow="crop",
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __call__(self, event: Event) -> None:
        """Take the event into the picture, which appears with the first one."""
        self._take(event)
        if not self._live.is_started and not self._finished:
            self._live.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._finished = " FINISHED" if exc_info[0] is None else " FAILED"
        if self._live.is_started:
            self._live.vertical_overflow = "visible"
            self._live.stop()

    @singledispatchmethod
    def _take(self, event: object) -> None:
        raise TypeError(f"no picture for {type(event).__name__}")

    @_take.register
    def _(self, event: StepStarted) -> None:
        self._rows[event.step.digest] = _Row(event.step.origin.title, event.time)

    @_take.register
    def _(self, event: StepCached) -> None:
        self._rows[event.step.digest] = _Row(event.step.origin.title, 0.0, 0.0, "cached")

    @_take.register
    def _(self, event: StepLog) -> None:
        row = self._rows[event.step.digest]
        *lines, row.rest = (row.rest + event.data).split(b"\n")
        row.rest = row.rest[-_LONGEST:]
        row.tail = (row.tail + [_text(line) for line in lines])[-_TAIL:]

    @_take.register
    def _(self, event: StepDone) -> None:
        row = self._rows[event.step.digest]
        row.state, row.ended, row.tail, row.rest = "done", event.time, [], b""

    @_take.register
    def _(self, event: StepProblem) -> None:
        row = self._rows.setdefault(event.step.digest, _Row(event.step.origin.title, event.time))
        row.state = "canceled" if event.message == "cancelled" else "failed"
        row.ended, row.tail, row.rest = event.time, [], b""

    @_take.register
    def _(self, event: TaskStarted) -> None:
        self._rows[event.task] = _Row(event.task, event.time)

    @_take.register
    def _(self, event: TaskProgress) -> None:
        row = self._rows.setdefault(event.task, _Row(event.task, time.monotonic()))
        row.items[event.item] = (event.done, event.total)

    @_take.register
    def _(self, event: TaskDone) -> None:
        row = self._rows.setdefault(event.task, _Row(event.task, event.time))
        row.state, row.ended, row.items = "done", event.time, {}
        if event.detail:
            row.title = f"{row.title}: {event.detail}"

    @_take.register
    def _(self, event: TaskProblem) -> None:
        row = self._rows.setdefault(event.task, _Row(event.task, event.time))
        row.state = "canceled" if event.message == "cancelled" else "failed"
        row.ended, row.items = event.time, {}

    @_take.register
    def _(self, event: Notice) -> None:
        word, style = ("WARN", "yellow") if event.level == "warning" else (event.level, "")
        # Not broken into lines here: a terminal does that, and text that is copied from it stays whole.
        self._console.print(Text(f"{word}: {event.text}", style=style), soft_wrap=True)

    def _picture(self) -> RenderableType:
        now = time.monotonic()
        ended = sum(row.state != "running" for row in self._rows.values())
        count = f"({ended}/{len(self._rows)}){self._finished}"
        head = Text(f"[+] Building {now - self._began:.1f}s {count}")
        table = Table.grid(padding=(0, 1))
        # A terminal echoes Ctrl-C as ^C behind the last line, which must not become two lines by that.
        table.width = max(20, self._console.width - 3)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", no_wrap=True)
        for row in self._fitting():
            _add(table, row, now)
        return Group(head, table)

    def _fitting(self) -> list[_Row]:
        """The rows that fit on the terminal, without the first of those that are over."""
        rows = list(self._rows.values())
        surplus = sum(row.height for row in rows) + 2 - self._console.height
        if self._finished or surplus <= 0:
            return rows
        shown = []
        for row in rows:
            if surplus > 0 and row.state in ("done", "cached"):
                surplus -= row.height
            else:
                shown.append(row)
        return shown


_STYLES = {"running": "", "done": "blue", "cached": "blue", "failed": "red", "canceled": "yellow"}
_WORDS = {"cached": "CACHED ", "failed": "ERROR ", "canceled": "CANCELED "}


def _add(table: Table, row: _Row, now: float) -> None:
    title = visible(row.title.replace("\n", " "))
    seconds = (row.ended if row.ended is not None else now) - row.began
    table.add_row(
        Text(f" => {_WORDS.get(row.state, '')}{title}", style=_STYLES[row.state]), Text(f"{seconds:.1f}s")
    )
    for line in [*row.tail, *([_text(row.rest)] if row.rest else [])]:
        table.add_row(Text(f" => => # {line}", style="dim"), Text(""))
    for item, (done, total) in row.items.items():
        share = f"{100 * done // total:3d}%" if total else f"{done / 1e6:.1f} MB"
        table.add_row(Text(f" => => {item}", style="dim"), Text(share))


def _text(line: bytes) -> str:
    return visible(line.decode(errors="replace").expandtabs())
