"""
Parser directives: the ``# syntax=``, ``# escape=`` and ``# check=`` comments on top of a Dockerfile.

They end for good at the first line that is none of them: a blank line, an ordinary comment, an instruction.
Governing text: "Parser directives" in the Dockerfile reference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import SyntaxProblem
from .golang import SPACES
from .spans import Span

KNOWN = ("syntax", "escape", "check")
_DIRECTIVE = re.compile(r"([a-zA-Z][a-zA-Z0-9]*)[\t\n\f\r ]*=[\t\n\f\r ]*(.+?)[\t\n\f\r ]*")
# The frontends that define the language this package reads, behind any registry or mirror.
_FRONTEND = re.compile(r"(?:.+/)?docker/dockerfile(?:-upstream)?(?:[:@].*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """One parser directive."""

    name: str
    value: str
    span: Span

    @property
    def first_word(self) -> str:
        """The value up to its first space: what ``syntax`` names, without options behind it."""
        return self.value.partition(" ")[0]


class DirectiveReader:
    """
    Reads directives line by line; once a line is none, every later line is none.

    A ``#!`` line may stand first; ``escape`` directives below it do not count, as with BuildKit.
    """

    def __init__(self, filename: str, *, marker: str = "#", first_line: int = 1) -> None:
        self._filename = filename
        self._marker = marker
        self._first = first_line
        self._line = first_line - 1
        self._known: tuple[str, ...] = KNOWN
        self._seen: set[str] = set()
        self.finished = False

    def read(self, line: str) -> Directive | None:
        """
        Return the directive on the next line, or None.

        Raises:
            SyntaxProblem: a directive is given twice.

        """
        self._line += 1
        if self.finished:
            return None
        if self._line == self._first and line.startswith("#!"):
            self._known = tuple(name for name in KNOWN if name != "escape")
            return None
        match = None
        if line.startswith(self._marker):
            match = _DIRECTIVE.fullmatch(line.removeprefix(self._marker).lstrip(SPACES))
        name = match.group(1).lower() if match else ""
        if match is None or name not in self._known:
            self.finished = True
            return None
        span = Span(self._filename, self._line, self._line)
        if name in self._seen:
            raise SyntaxProblem(f"only one {name} parser directive can be used", span=span)
        self._seen.add(name)
        return Directive(name=name, value=match.group(2), span=span)


def escape_character(directive: Directive) -> str:
    r"""
    Return the escape character that an ``escape`` directive chooses.

    Raises:
        SyntaxProblem: it is neither ``\`` nor a backtick.

    """
    if directive.value not in ("\\", "`"):
        raise SyntaxProblem(
            f"invalid escape token '{directive.value}' does not match ` or \\", span=directive.span
        )
    return directive.value


def is_built_in(frontend: str) -> bool:
    """Tell whether an image of a frontend is one whose language this is."""
    return _FRONTEND.fullmatch(frontend) is not None


def check_syntax(directive: Directive) -> None:
    """
    Accept the frontends whose language this is.

    Raises:
        SyntaxProblem: the ``syntax`` directive names any other frontend.

    """
    if not is_built_in(directive.first_word):
        raise SyntaxProblem(
            f"unsupported syntax frontend {directive.first_word}",
            span=directive.span,
            hint="only docker/dockerfile is built in; remove the directive if the file needs nothing else",
        )


def find_directive(
    name: str, text: str, *, any_format: bool = False, filename: str = "Dockerfile"
) -> Directive | None:
    """
    Look for one directive on top of a text, after a ``#!`` line if there is one.

    With `any_format` the forms ``//name=value`` and ``{"name": "value"}`` are understood too, so that files
    which are no Dockerfiles can say which frontend reads them.
    """
    text = text.removeprefix("\ufeff")
    first_line = 1
    if text.startswith("#!"):
        text = text.partition("\n")[2]
        first_line = 2
    for marker in ("#", "//") if any_format else ("#",):
        reader = DirectiveReader(filename, marker=marker, first_line=first_line)
        for line in text.split("\n"):
            try:
                directive = reader.read(line.removesuffix("\r"))
            except SyntaxProblem:
                break
            if directive is None:
                break
            if directive.name == name:
                return directive
    return _json_directive(name, text, filename) if any_format else None


def _json_directive(name: str, text: str, filename: str) -> Directive | None:
    import json

    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    value = document.get(name) if isinstance(document, dict) else None
    return Directive(name=name, value=value, span=Span(filename, 1, 1)) if isinstance(value, str) else None
