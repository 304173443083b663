"""
Places in a Dockerfile: lines, spans of lines, and the excerpt shown with an error.

Lines count from 1 and spans include both ends, as every tool around Dockerfiles prints them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """One line of a file."""

    line: int


@dataclass(frozen=True, slots=True)
class Span:
    """
    The lines from `start_line` to `end_line` of a file, both included.

    `trigger` is the text of an instruction that stands elsewhere (ONBUILD of a base image) and runs here.
    """

    filename: str
    start_line: int
    end_line: int
    trigger: str = field(default="", compare=False)

    @property
    def start(self) -> Position:
        """The first line."""
        return Position(self.start_line)

    @property
    def end(self) -> Position:
        """The last line."""
        return Position(self.end_line)

    def __str__(self) -> str:
        return f"{self.filename}:{self.start_line}"


@dataclass(frozen=True)
class SourceText:
    """The text of a file and its name; it has a cache, hence no slots."""

    filename: str
    text: str = field(repr=False)

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The lines without their ends; only a line feed ends a line."""
        lines = tuple(line.removesuffix("\r") for line in self.text.split("\n"))
        return lines[:-1] if lines[-1] == "" else lines

    def excerpt(self, span: Span, context: int = 2) -> str:
        r"""
        Return the lines of `span` with `context` lines around them, for a person to read.

        >>> print(SourceText("Dockerfile", "FROM scratch\nRNU true\n").excerpt(Span("Dockerfile", 2, 2)))
        Dockerfile:2
        --------------------
           1 |     FROM scratch
           2 | >>> RNU true
        --------------------
        """
        first = max(1, span.start_line - context)
        last = min(len(self.lines), span.end_line + context)
        frame = "-" * 20
        shown = [str(span), frame]
        for number in range(first, last + 1):
            mark = ">>>" if span.start_line <= number <= span.end_line else "   "
            line = self.lines[number - 1].encode("utf-8", "replace").decode("utf-8")
            shown.append(f"{number:4} | {mark} {line}".rstrip())
            if number == span.end_line and span.trigger:
                fired = f"ONBUILD {span.trigger}".rstrip("\n").split("\n")
                shown.extend(f"     | >>> {text}".rstrip() for text in fired)
        return "\n".join([*shown, frame])
