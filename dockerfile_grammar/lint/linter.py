"""
Collects findings: what is skipped is left out, the rest is kept in the order of the file.

One linter belongs to one look at one file. `above` gives a view for one instruction with comments of its own,
which collects into the same place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..spans import Span
from .options import CheckOptions, comment_options
from .rules import Rule


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule, broken at one place."""

    rule: Rule
    detail: str
    span: Span

    def __str__(self) -> str:
        return f"{self.rule.name}: {self.detail} (line {self.span.start_line})"


class Linter:
    """
    Takes findings.

    Args:
        options: what counts in the whole file.

    """

    def __init__(self, options: CheckOptions) -> None:
        self.options = options
        self._found: dict[Finding, None] = {}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Each finding once, by line."""
        return tuple(sorted(self._found, key=lambda finding: finding.span.start_line))

    def above(self, comments: Iterable[str]) -> Linter:
        """The same linter with the options in the comments above an instruction."""
        extra = comment_options(comments) if comments else CheckOptions()
        if extra == CheckOptions():
            return self
        view = Linter(self.options.merged(extra))
        view._found = self._found
        return view

    def report(self, rule: Rule, span: Span, *found: str | None) -> None:
        """Take a finding; `found` is what the rule's text needs."""
        if self.options.allow(rule):
            self._found[Finding(rule, rule.detail(*found), span)] = None

    def violation(self) -> str | None:
        """The message of a file for which findings are errors and that has some, else None."""
        if not self.options.is_error or not self._found:
            return None
        names = sorted({finding.rule.name for finding in self._found})
        return f"lint violation found for rules: {', '.join(names)}"
