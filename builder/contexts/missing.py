"""
Why a source is not in the build context: what a person needs to know to put it right.

The path, where it was looked for, the line of the ignore file that hides it, or what has a similar name.
"""

from __future__ import annotations

import posixpath
import stat
from typing import NamedTuple

from dockerfile_grammar.ignorefile import IgnoreMatcher, read_patterns
from dockerfile_grammar.suggest import nearest

from ..errors import InvalidContext, MissingSource
from .finding import Finder


class IgnoreFile(NamedTuple):
    """An ignore file: its name for messages, and its text."""

    name: str
    text: str


def explain_missing(
    finder: Finder,
    path: str,
    written: str,
    *,
    root: str,
    matcher: IgnoreMatcher | None,
    ignore_file: IgnoreFile | None,
) -> MissingSource:
    """
    The error for a source that cannot be found.

    Args:
        finder: what sees the context.
        path: the source, cleaned.
        written: the source as it was asked for.
        root: the context root.
        matcher: the ignore rules.
        ignore_file: where they come from.
    """
    message = f"{written or path} is not in the build context {root}"
    hint = _hidden(finder, path, matcher, ignore_file) or _link(finder, path) or _near(finder, path)
    return MissingSource(message, hint=hint)


def _hidden(
    finder: Finder, path: str, matcher: IgnoreMatcher | None, ignore_file: IgnoreFile | None
) -> str | None:
    if matcher is None or not matcher.is_ignored(path) or finder.listing.directories.status(path) is None:
        return None
    return f"it exists, but is excluded by {hiding_rule(path, matcher, ignore_file)}"


def hiding_rule(path: str, matcher: IgnoreMatcher, ignore_file: IgnoreFile | None) -> str:
    """The line that decides to leave an ignored path out: the last one without which it would be there."""
    texts = [f"{'!' * pattern.inverted}{pattern.text}" for pattern in matcher.patterns]
    last = len(texts)
    while last and IgnoreMatcher(texts[: last - 1]).is_ignored(path):
        last -= 1
    rule = texts[last - 1]
    if ignore_file is None:
        return repr(rule)
    for number, line in enumerate(ignore_file.text.split("\n"), 1):
        if read_patterns(line) == (rule,):
            return f"line {number} of {ignore_file.name} ({line.strip()})"
    return f"{rule} in {ignore_file.name}"


def _link(finder: Finder, path: str) -> str | None:
    node = finder.listing.node(path)
    if node is None or not stat.S_ISLNK(node.mode):
        return None
    target = finder.listing.directories.read_link(path)
    return f"it is a symbolic link to {target}, which does not lead to anything in the build context"


def _near(finder: Finder, path: str) -> str | None:
    """A suggestion for the first component that is not there."""
    parent, _, name = path.rpartition("/")
    rest = ""
    while parent and finder.followed(parent) is None:
        rest = f"/{name}{rest}"
        parent, _, name = parent.rpartition("/")
    real = finder.followed(parent)
    try:
        names = finder.listing.folder(real).all_names() if real is not None else []
    except InvalidContext:  # the directory above is no directory
        return None
    near = nearest(name, names) or next((one for one in names if one.lower() == name.lower()), None)
    return f"did you mean {posixpath.join(parent, near)}{rest}?" if near else None
