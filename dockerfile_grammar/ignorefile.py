"""
The ``.dockerignore`` file: its lines, and a matcher over paths of the build context.

The last pattern that matches decides; a pattern that matches a folder covers what is below it; ``!`` takes
back; ``**`` is any number of folders. Paths are relative to the context, with ``/`` between components.
Governing text: ".dockerignore files" in the Docker build documentation, and moby/patternmatcher.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from .errors import InvalidPattern
from .golang import SPACES, clean_path
from .wildcards import tokens

_UNCLEAN = re.compile(r"//|(?:^|/)\.\.?(?:/|\Z)|./\Z|\A\Z")
_ANY_FOLDERS = "(?:.*/)?"
_WILDCARDS = {"*": "[^/]*", "**": _ANY_FOLDERS}
# Parts that mean nothing new when they stand twice in a row.
_REPEATS = (_ANY_FOLDERS, ".*", "[^/]*")


def read_patterns(text: str | bytes) -> tuple[str, ...]:
    """Return the patterns of an ignore file: no comments, no blank lines, cleaned, no leading slash."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    patterns = []
    for line in text.removeprefix("\ufeff").split("\n"):
        pattern = line.strip(SPACES)
        if line.startswith("#") or not pattern:
            continue
        inverted = pattern.startswith("!")
        if inverted:
            pattern = pattern[1:].strip(SPACES)
        if pattern:
            pattern = clean_path(pattern)
            if len(pattern) > 1:
                pattern = pattern.removeprefix("/")
        patterns.append("!" * inverted + pattern)
    return tuple(patterns)


@dataclass(frozen=True, slots=True)
class _Pattern:
    text: str
    inverted: bool
    regex: str


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring patterns of the same kind, matched at once."""

    inverted: bool
    regex: re.Pattern[str]
    patterns: tuple[_Pattern, ...]


class IgnoreMatcher:
    """
    Decides which paths of a build context are left out.

    Immutable and safe to share between threads. Each question costs one regular expression per group of
    neighbouring patterns of the same kind.

    Raises:
        InvalidPattern: a pattern is malformed, or is a lone ``!``.

    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(compiled for text in patterns if (compiled := _compile(text)))
        runs = [(inverted, tuple(group)) for inverted, group in groupby(self.patterns, lambda p: p.inverted)]
        self._last_first = [_Run(inverted, _any_of(group), group) for inverted, group in reversed(runs)]

    @property
    def has_exclusions(self) -> bool:
        """Whether any pattern starts with ``!``."""
        return any(pattern.inverted for pattern in self.patterns)

    def is_ignored(self, path: str) -> bool:
        """Tell whether `path` is left out, by itself or with a folder above it."""
        if _UNCLEAN.search(path):
            path = clean_path(path)
            if path == ".":
                return False
        for run in self._last_first:
            if run.regex.match(path):
                return not run.inverted
        return False

    def may_reinclude_below(self, folder: str) -> bool:
        """
        Tell whether something below an ignored `folder` may be taken back, so that it has to be listed.

        The answer errs on the side of True. A folder with the answer False can be skipped as a whole.
        """
        parts = clean_path(folder).split("/")
        path = "/".join(parts)
        for run in self._last_first:
            if not run.inverted:
                # What ignores the folder here covers everything below, whatever came earlier.
                if run.regex.match(path):
                    return False
            elif any(_may_match_below(pattern.text, parts) for pattern in run.patterns):
                return True
        return False


def _compile(text: str) -> _Pattern | None:
    text = text.strip(SPACES)
    if not text:
        return None
    text = clean_path(text)
    inverted = text.startswith("!")
    if inverted:
        text = text[1:]
        if not text:
            raise InvalidPattern('illegal exclusion pattern: "!"')
    return _Pattern(text, inverted, _regex(text))


def _any_of(patterns: tuple[_Pattern, ...]) -> re.Pattern[str]:
    # A match of a parent folder counts, so every pattern may be followed by the rest of a longer path.
    return re.compile(rf"(?:{'|'.join(pattern.regex for pattern in patterns)})(?:/.*)?\Z", re.DOTALL)


def _regex(pattern: str) -> str:
    parts = list(tokens(pattern, strict_ranges=True))
    if parts and parts[0][0] == "**" and not any(special for _, special in parts[1:]):
        # Two stars in front of literal text match every path with that ending, not only whole components.
        suffix = pattern[2:]
        return f"(?:.*/)?{re.escape(suffix[1:])}" if suffix.startswith("/") else f".*{re.escape(suffix)}"
    regex: list[str] = []
    index = 0
    while index < len(parts):
        part = _WILDCARDS.get(parts[index][0], parts[index][0])
        index += 1
        if part == _ANY_FOLDERS:
            if index == len(parts):
                part = ".*"
            elif parts[index][0] == "/":
                index += 1
        if part not in _REPEATS or regex[-1:] != [part]:
            regex.append(part)
    return "".join(regex)


def _may_match_below(pattern: str, folder: list[str]) -> bool:
    components = pattern.split("/")
    for depth, part in enumerate(folder):
        if depth == len(components):
            return False
        component = components[depth]
        # Escapes and classes may hide a slash; such patterns are taken to reach everywhere.
        if "**" in component or "\\" in component or "[" in component:
            return True
        if not re.match(_regex(component) + r"\Z", part, re.DOTALL):
            return False
    return len(components) > len(folder)
