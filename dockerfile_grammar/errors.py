"""
The error tree of the Dockerfile language.

    DockerfileError
     ├ SyntaxProblem        the text is no Dockerfile
     ├ UnknownInstruction   the first word of an instruction is none of the eighteen
     ├ InvalidFlag          a ``--flag`` (or one of its values) that the instruction does not take
     ├ UndefinedStage       a stage is needed, and there is none (of that name)
     ├ ExpansionError       a ``$variable`` expression that cannot be evaluated
     └ InvalidPattern       a wildcard or ignore pattern that cannot match anything

Every error leaves the parser with a span; functions that look at a single value raise without one, and the
caller that knows the place adds it with `DockerfileError.located`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from .spans import Span


class DockerfileError(Exception):
    """
    Something in a Dockerfile (or in an ignore file) that a person has to change.

    Args:
        message: one sentence without the place.
        span: the lines it is about.
        hint: what would probably help, for example ``did you mean RUN?``.

    """

    def __init__(self, message: str, *, span: Span | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.span = span
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.message,), {"span": self.span, "hint": self.hint}

    def located(self, span: Span) -> Self:
        """Add the place unless the error already has one, and return the error."""
        if self.span is None:
            self.span = span
        return self


class SyntaxProblem(DockerfileError):
    """The text breaks a rule of the Dockerfile language."""


class UnknownInstruction(DockerfileError):
    """A line starts with a word that is no instruction."""


class InvalidFlag(DockerfileError):
    """A flag is unknown, given twice, or has a value it does not take."""


class UndefinedStage(DockerfileError):
    """A build stage is needed and there is none of that name."""


class ExpansionError(DockerfileError):
    """A variable expression is malformed, or demands a variable that is not set."""


class InvalidPattern(DockerfileError):
    """A wildcard pattern is malformed."""
