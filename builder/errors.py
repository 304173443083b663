"""
The errors of the builder.

    BuildError
     ├ StepFailed           the user's command ended with a status other than 0
     ├ MissingSource        a COPY or ADD names something that is not there
     ├ CannotResolve        a base image cannot be found
     ├ MissingDevice        a device of this machine is not registered, or not there
     ├ InvalidContext       the build context cannot be used
     ├ InvalidOption        an option or argument of the build contradicts the Dockerfile or another one
     ├ Unsupported          something that this version does not do; says what and what to do instead
     ├ CacheLost            a layer of an imported cache cannot be had, or is not what it should be
     ├ ChecksFailed         the Dockerfile breaks build checks, and says that this is an error
     └ ExportProblem        a finished image cannot be taken where it should go

Every error may carry the span of the instruction that caused it; rendering happens in the command line only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the cached path imports this module, but never the grammar
    from dockerfile_grammar.spans import Span


class BuildError(Exception):
    """
    Base of the builder's errors.

    Args:
        message: one sentence without a final period.
        span: where in the Dockerfile.
        hint: what a human can do about it.
    """

    warnings: tuple[str, ...] = ()
    """What was found in the Dockerfile before the build ended with this error."""

    def __init__(self, message: str, *, span: Span | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.span = span
        self.hint = hint


class StepFailed(BuildError):
    """
    The command of a step failed.

    Args:
        name: how progress shows the step.
        exit_code: the status, or 128 + signal.
        tail: the last lines that the command printed.
    """

    def __init__(
        self,
        name: str,
        exit_code: int,
        *,
        tail: str = "",
        span: Span | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(f"{name}: exit code {exit_code}", span=span, hint=hint)
        self.name = name
        self.exit_code = exit_code
        self.tail = tail


class MissingSource(BuildError):
    """A COPY or ADD names a path that is not in its source."""


class CannotResolve(BuildError):
    """A base image, a stage or a named context cannot be found."""


class MissingDevice(BuildError):
    """A device that a RUN asks for is not registered, or what it consists of is not there."""


class InvalidContext(BuildError):
    """The build context cannot be used."""


class InvalidOption(BuildError):
    """An option of the build is wrong or contradicts another one."""


class Unsupported(BuildError):
    """Something that this version does not do."""


class CacheLost(BuildError):
    """A layer of an imported cache cannot be had; the build is to go on without it."""


class ChecksFailed(BuildError):
    """The Dockerfile breaks build checks, and ``# check=error=true`` makes that an error."""


class ExportProblem(BuildError):
    """A finished image cannot be taken where it should go."""
