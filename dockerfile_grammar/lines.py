r"""
Physical lines to logical lines: directives, comments, continuations and heredocs.

A logical line is one instruction with its continuation lines joined, the heredocs it opens, the comments
directly above it, and its span. White space in front of an instruction is dropped, in front of a continuation
line it is kept. Only a line feed ends a line; a carriage return before it belongs to the end of the line,
except inside heredocs, which are kept byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from .directives import Directive, DirectiveReader, check_syntax, escape_character
from .errors import SyntaxProblem
from .golang import SPACES
from .heredocs import Heredoc, heredocs_opened
from .spans import SourceText, Span

LONGEST_LINE = 65535
_NOT_TEXT = re.compile("[\ud800-\udfff]")
# A doubled escape character at the end of a line is no continuation, one alone on its line is.
_CONTINUED = {escape: re.compile(rf"(?:^|(?<=[^{escape}])){escape}[ \t]*\Z") for escape in ("\\\\", "`")}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseWarning:
    """Something the language still accepts but that should be changed; lint rules use the same shape."""

    rule: str
    message: str
    detail: str
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicalLine:
    """One instruction as text."""

    text: str
    """The joined lines, without white space at either end."""
    span: Span
    comments: tuple[str, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()


class LineReader:
    """
    Splits a Dockerfile into instructions, one at a time, so that the first mistake is found first.

    After the iteration `escape`, `directives` and `warnings` say what was found on the way; a reader is
    iterated once.

    Args:
        source: the text, which may start with a byte order mark.
        opens_heredocs: called with a joined line and the escape character; tells whether ``<<`` in it counts.
        escape: the escape character until a directive says otherwise.
        first_line: the number of the first line of the text.

    """

    def __init__(
        self,
        source: SourceText,
        *,
        opens_heredocs: Callable[[str, str], bool],
        escape: str = "\\",
        first_line: int = 1,
    ) -> None:
        self.filename = source.filename
        self.escape = escape
        self.directives: list[Directive] = []
        self.warnings: list[ParseWarning] = []
        self._opens_heredocs = opens_heredocs
        self._offset = first_line - 1
        self._taken = 0
        self._physical = [line + "\n" for line in source.text.removeprefix("\ufeff").split("\n")]
        # The last piece had no line feed; an empty one is no line at all.
        self._physical[-1] = self._physical[-1][:-1]
        if not self._physical[-1]:
            self._physical.pop()

    @property
    def line(self) -> int:
        """The number of the last line that was read."""
        return self._taken + self._offset

    def __iter__(self) -> Iterator[LogicalLine]:
        """
        Read on.

        Raises:
            SyntaxProblem: a heredoc does not end, a directive is wrong, or a line is too long or no UTF-8.

        """
        reader = DirectiveReader(self.filename, first_line=self._offset + 1)
        comments: list[str] = []
        while self._taken < len(self._physical):
            text = self._take().rstrip("\r\n").lstrip(SPACES)
            directive = reader.read(text)
            if directive:
                self._apply(directive)
            elif text.startswith("#"):
                comment = text[1:].strip(SPACES)
                # A bare "#" separates a comment from the instruction below it; a blank line does not.
                comments = [*comments, comment] if comment else []
            elif text:
                yield self._instruction(text, tuple(comments))
                comments = []

    def _span(self, start: int) -> Span:
        return Span(self.filename, start, max(start, self.line))

    def _take(self) -> str:
        line = self._physical[self._taken]
        self._taken += 1
        # A character takes at most four bytes, so most lines need not be encoded to be measured.
        if len(line) > LONGEST_LINE // 4 and len(line.rstrip("\n").encode("utf-8", "replace")) > LONGEST_LINE:
            raise SyntaxProblem(
                f"dockerfile line greater than max allowed size of {LONGEST_LINE}",
                span=self._span(self.line),
            )
        return line

    def _apply(self, directive: Directive) -> None:
        self.directives.append(directive)
        if directive.name == "escape":
            self.escape = escape_character(directive)
        elif directive.name == "syntax":
            check_syntax(directive)

    def _instruction(self, text: str, comments: tuple[str, ...]) -> LogicalLine:
        start = self.line
        joined = self._join(text)
        span = self._span(start)
        heredocs: tuple[Heredoc, ...] = ()
        if "<<" in joined and self._opens_heredocs(joined, self.escape):
            heredocs = tuple(self._fill(heredoc, start) for heredoc in heredocs_opened(joined))
            span = self._span(start)
        if _NOT_TEXT.search(joined) or any(_NOT_TEXT.search(heredoc.content) for heredoc in heredocs):
            raise SyntaxProblem("the instruction is not valid UTF-8", span=span)
        if "\0" in joined:  # no argument, path or variable of Linux can hold one
            raise SyntaxProblem("the instruction contains a NUL byte", span=span)
        return LogicalLine(text=joined.strip(SPACES), span=span, comments=comments, heredocs=heredocs)

    def _join(self, text: str) -> str:
        """Append continuation lines to the first line of an instruction."""
        continued = _CONTINUED["\\\\" if self.escape == "\\" else self.escape]
        parts: list[str] = []
        has_empty_line = False
        while match := continued.search(text):
            parts.append(text[: match.start()])
            text = ""
            while self._taken < len(self._physical) and not text:
                text = self._take().rstrip("\r\n")
                if text.lstrip(SPACES).startswith("#"):
                    text = ""
                elif not text.strip(SPACES):
                    has_empty_line = True
                    text = ""
        joined = "".join([*parts, text])
        if has_empty_line:
            self._warn_empty_continuation(joined)
        return joined

    def _warn_empty_continuation(self, joined: str) -> None:
        self.warnings.append(
            ParseWarning(
                rule="NoEmptyContinuation",
                message=f"Empty continuation line found in: {joined}",
                detail="Empty continuation lines will become errors in a future release",
                span=self._span(self.line),
            )
        )

    def _fill(self, heredoc: Heredoc, start: int) -> Heredoc:
        """Take the lines of a heredoc up to its terminator."""
        content: list[str] = []
        while self._taken < len(self._physical):
            line = self._take()
            terminator = line.rstrip("\r\n")
            if heredoc.chomp:
                terminator = terminator.lstrip("\t")
            if terminator == heredoc.name:
                return replace(heredoc, content="".join(content))
            content.append(line)
        raise SyntaxProblem(
            "unterminated heredoc",
            span=self._span(start),
            hint=f"end it with a line that is only {heredoc.name}",
        )
