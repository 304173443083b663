"""
A live picture on a terminal: one line for each step, the last output lines of those that run.

Drawing is rich's work; what is finished stays in the scroll-back once, so that long builds do not flicker.
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
    TaskProgress,
    TaskStarted,
)

_TAIL = 6


@dataclass(slots=True)
class _Row:
    title: str
    began: float
    ended: float | None = None
    state: str = "running"
    tail: list[str] = field(default_factory=list)
    items: dict[str, tuple[int, int]] = field(default_factory=dict)
    rest: bytes = b""


class TtyProgress:
    """The renderer of ``--progress tty``."""

    def __init__(self, out: TextIO, *, color: bool) -> None:
        self._console = Console(file=out, no_color=not color, highlight=False)
        self._rows: dict[object, _Row] = {}
        self._began = time.monotonic()
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
        if not self._live.is_started:
            self._live.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
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
        texts = [line.decode(errors="replace").rstrip("\r").rpartition("\r")[2] for line in lines]
        row.tail = (row.tail + texts)[-_TAIL:]

    @_take.register
    def _(self, event: StepDone) -> None:
        row = self._rows[event.step.digest]
        row.state, row.ended, row.tail = "done", event.time, []

    @_take.register
    def _(self, event: StepProblem) -> None:
        row = self._rows.setdefault(event.step.digest, _Row(event.step.origin.title, event.time))
        row.state, row.ended, row.tail = "failed", event.time, []

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
    def _(self, event: Notice) -> None:
        style = "yellow" if event.level == "warning" else ""
        self._console.print(Text(f"{event.level}: {event.text}", style=style))

    def _picture(self) -> RenderableType:
        now = time.monotonic()
        ended = sum(row.state != "running" for row in self._rows.values())
        head = Text(f"[+] Building {now - self._began:.1f}s ({ended}/{len(self._rows)})")
        table = Table.grid(expand=True, padding=(0, 1))
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", no_wrap=True)
        for row in self._rows.values():
            _add(table, row, now)
        return Group(head, table)


_STYLES = {"running": "", "done": "blue", "cached": "blue", "failed": "red"}


def _add(table: Table, row: _Row, now: float) -> None:
    words = {"cached": "CACHED ", "failed": "ERROR "}
    title = row.title.replace("\n", " ")
    seconds = (row.ended if row.ended is not None else now) - row.began
    table.add_row(
        Text(f" => {words.get(row.state, '')}{title}", style=_STYLES[row.state]), Text(f"{seconds:.1f}s")
    )
    for line in row.tail:
        table.add_row(Text(f" => => # {line}", style="dim"), Text(""))
    for item, (done, total) in row.items.items():
        share = f"{100 * done // total:3d}%" if total else f"{done / 1e6:.1f} MB"
        table.add_row(Text(f" => => {item}", style="dim"), Text(share))
