"""How a build is shown: plain lines and the live picture."""

import base64
import io
import json
import re
from datetime import datetime, timedelta

import pytest

from builder.cli.problems import add_excerpt, render, visible
from builder.cli.progress.open import open_progress
from builder.cli.progress.tty import TtyProgress
from builder.errors import BuildError, StepFailed
from builder.events import (
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
from builder.graph import Origin, Step
from builder.ops import MakeDir
from dockerfile_grammar.spans import Span
from oci_image.errors import StoreProblem


def step(name: str) -> Step:
    return Step(MakeDir(path=name, epoch=0), (), Origin(name=name, span=None))


class Terminal(io.StringIO):
    """A terminal of 60 columns and 10 lines, as far as rich asks."""

    def isatty(self) -> bool:
        return True


def test_plain_lines_are_whole_and_numbered() -> None:
    """Parts of lines are joined, an unfinished one comes last, numbers follow the order of beginning."""
    out = io.StringIO()
    first, second = step("one"), step("two")
    with open_progress("plain", out, color=False) as progress:
        progress(StepStarted(first, 1.0))
        progress(StepStarted(second, 1.0))
        progress(StepLog(first, 1, b"hal"))
        progress(StepLog(second, 2, b"10%\r20%\r\nrest"))
        progress(StepLog(first, 1, b"f\n"))
        progress(StepDone(first, 2.5, 0))
        progress(StepProblem(second, 3.0, "cancelled"))
        progress(StepCached(step("three")))
        progress(Notice("warning", "careful"))
        progress(TaskStarted("pushing", 1.0))
        progress(TaskProgress("pushing", "layer", 1500, 1500))
        progress(TaskDone("pushing", 2.0, "done"))
        progress(TaskStarted("fetching", 1.0))
        progress(TaskProblem("fetching", 2.0, "no route"))

    assert re.sub(r"(?m)^(#\d) \d+\.\d{3} ", r"\1 T ", out.getvalue()) == (
        "#1 one\n#2 two\n#2 T 20%\n#1 T half\n#1 DONE 1.5s\n\n#2 T rest\n#2 CANCELED\n\n"
        "#3 three\n#3 CACHED\n\nWARN: careful\n#4 pushing\n#4 layer 1.5 kB\n#4 done\n#4 DONE 1.0s\n\n"
        "#5 fetching\n#5 ERROR: no route\n\n"
    )


def test_the_form_of_buildkit() -> None:
    """Programs that follow docker buildx find steps, tasks, output and warnings where they look for them."""
    out = io.StringIO()
    base = step("base")
    run = Step(MakeDir(path="run", epoch=0), (base,), Origin(name="RUN make", span=None))
    with open_progress("rawjson", out, color=False) as progress:
        progress(StepCached(base))
        progress(StepStarted(run, 10.0))
        progress(StepLog(run, 2, b"\xffhot\n"))
        progress(StepDone(run, 12.5, 0))
        progress(StepProblem(step("lost"), 13.0, "cancelled"))
        progress(TaskStarted("pushing", 14.0))
        progress(TaskProgress("pushing", "layer", 1500, 1500))
        progress(TaskDone("pushing", 15.0, "app@sha256:00"))
        progress(TaskProblem("fetching", 16.0, "no route"))
        progress(Notice("warning", "careful"))
        progress(Notice("info", "by the way"))

    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    vertexes = [vertex for line in lines for vertex in line.get("vertexes", ())]
    cached, started, done, lost = vertexes[:4]
    assert (cached["digest"], cached["name"], cached["cached"]) == (str(base.digest), "base", True)
    assert (started["inputs"], "completed" in started) == ([str(base.digest)], False)
    assert done["started"] == started["started"]
    assert datetime.fromisoformat(done["completed"]) - datetime.fromisoformat(done["started"]) == timedelta(
        seconds=2.5
    )
    assert lost["error"] == "context canceled"
    logs = [log for line in lines for log in line.get("logs", ())]
    assert [(log["stream"], base64.b64decode(log["data"])) for log in logs] == [
        (2, b"\xffhot\n"),
        (2, b"by the way\n"),
    ]
    statuses = [status for line in lines for status in line.get("statuses", ())]
    assert [(status["id"], status["current"]) for status in statuses] == [
        ("layer", 1500),
        ("app@sha256:00", 0),
    ]
    assert vertexes[6]["error"] == "no route"
    (warning,) = [warning for line in lines for warning in line.get("warnings", ())]
    assert base64.b64decode(warning["short"]) == b"careful"
    known = {vertex["digest"] for vertex in vertexes}
    assert {thing["vertex"] for thing in (*logs, *statuses, warning)} <= known


def test_picture_fits_and_ends_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs is always visible; the last picture has every step once, without escapes of commands."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "10")
    out = Terminal()
    progress = TtyProgress(out, color=False)
    running = step("RUN endless")
    with progress:
        for number in range(30):
            progress(StepCached(step(f"COPY {number}")))
        progress(StepStarted(running, 0.0))
        progress(StepLog(running, 1, b"\x1b[2Jcleared " + b"x" * 200 + b"\npart"))
        progress._live.refresh()
        alive = out.getvalue()
        progress(StepDone(running, 1.0, 0))
    last = out.getvalue()[len(alive) :]

    assert "RUN endless" in alive
    assert "# cleared xxx" in alive
    assert "# part" in alive
    assert "\x1b[2J" not in out.getvalue()
    assert "FINISHED" in last
    assert all(last.count(f"CACHED COPY {number} ") == 1 for number in range(30))
    assert "cleared" not in last.rpartition("Building")[2]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain\tänd tab", "plain\tänd tab"),
        ("1%\r2%\r\n", "2%"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b(Bset\x1bc", "set"),
        ("bell\x07 \x9b31m", "bell 31m"),
    ],
)
def test_visible(line: str, shown: str) -> None:
    """A line looks as a terminal leaves it, and cannot do anything to one."""
    assert visible(line) == shown


def test_status_is_that_of_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    """A step that failed because the store is full is the machine's failure, others are the build's."""
    span = Span("Dockerfile", 1, 1)
    outer = BuildError("COPY a /: full", span=span)
    outer.__cause__ = StoreProblem("full")
    assert render(outer, "build") == 3
    assert render(BuildError("no"), "build") == 1
    assert render(StoreProblem("full"), "run") == 125
    assert render(StepFailed("RUN x", 7, tail="a\nNo space left on device\n"), "build") == 1
    assert "hint: free some space" in capsys.readouterr().err


def test_long_instructions_are_cropped(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a RUN of a hundred lines the beginning and the end are shown."""
    text = "\n".join(f"line {number}" for number in range(1, 101)).encode()
    problem = BuildError("no", span=Span("Dockerfile", 1, 100))
    add_excerpt(problem, {"Dockerfile": text})
    render(problem, "build")
    told = capsys.readouterr().err

    assert "   1 | >>> line 1\n" in told
    assert " 100 | >>> line 100\n" in told
    assert "     | … 76 more lines\n" in told
    assert told.count(">>>") == 24
