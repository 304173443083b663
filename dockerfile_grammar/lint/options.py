"""
Which checks count: the value of ``# check=…``, for a whole file or above one instruction.

The form is ``skip=A,B;error=true;experimental=C``, each part at most once or ``all`` instead of names. Names
are compared exactly; unknown ones are allowed, so that a file may skip rules of later versions. Governing
text: "check" in the Dockerfile reference.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..directives import DirectiveReader
from ..errors import DockerfileError, SyntaxProblem
from ..golang import parse_bool, quote
from .rules import Rule

_MOST_PARTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """Which rules are skipped, which experimental ones are asked for, and whether a finding is an error."""

    skipped: frozenset[str] = frozenset()
    skips_all: bool = False
    experimental: frozenset[str] = frozenset()
    experimental_all: bool = False
    is_error: bool = False

    def allow(self, rule: Rule) -> bool:
        """Whether findings of the rule count; skipping does not reach experimental ones."""
        if rule.experimental:
            return self.experimental_all or rule.name in self.experimental
        return not self.skips_all and rule.name not in self.skipped

    def merged(self, other: CheckOptions) -> CheckOptions:
        """The options with those of one instruction; an instruction cannot change what is an error."""
        return replace(
            self,
            skipped=self.skipped | other.skipped,
            skips_all=self.skips_all or other.skips_all,
            experimental=self.experimental | other.experimental,
            experimental_all=self.experimental_all or other.experimental_all,
        )


def parse_options(text: str) -> CheckOptions:
    """
    Read the value of a ``check`` directive.

    Raises:
        SyntaxProblem: a part is no known key with a value.

    """
    options = CheckOptions()
    if not text.strip():
        return options
    for part in text.strip().split(";", _MOST_PARTS - 1):
        key, has_value, value = part.partition("=")
        if not has_value:
            raise SyntaxProblem(f"invalid check option {quote(part)}")
        options = _with(options, part, key.strip(), value.strip())
    return options


def _with(options: CheckOptions, part: str, key: str, value: str) -> CheckOptions:
    if key == "error":
        try:
            return replace(options, is_error=parse_bool(value))
        except ValueError as problem:
            raise SyntaxProblem(f"failed to parse check option {quote(part)}: {problem}") from None
    names = frozenset(name.strip() for name in value.split(","))
    if key == "skip":
        return replace(options, skips_all=True) if value == "all" else replace(options, skipped=names)
    if key == "experimental":
        if value == "all":
            return replace(options, experimental_all=True)
        return replace(options, experimental=names)
    raise SyntaxProblem(f"invalid check option {quote(key)}")


def comment_options(comments: Iterable[str]) -> CheckOptions:
    """What the comments above an instruction ask for: the first ``check=…``, unless it is malformed."""
    for comment in comments:
        directive = DirectiveReader("", marker="").read(comment)
        if directive is not None and directive.name == "check":
            try:
                return parse_options(directive.first_word)
            except DockerfileError:
                break
    return CheckOptions()
