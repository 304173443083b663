r"""
The path patterns of ``COPY`` and ``ADD`` sources.

``*`` and ``?`` stay inside one path component, ``[a-z]`` and ``[^a-z]`` are character classes and ``\``
escapes; ``**`` means the same as ``*`` and braces mean nothing. Governing text: Go's path/filepath.Match.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from .errors import InvalidPattern

_NOTHING = "(?!)"
_ANYTHING = "[^/]"


def match_wildcard(pattern: str, name: str) -> bool:
    """
    Tell whether the whole of `name` matches `pattern`.

    Raises:
        InvalidPattern: the pattern is malformed, whether or not it could match.

    """
    return _compiled(pattern).match(name) is not None


def has_wildcard(pattern: str) -> bool:
    r"""Tell whether a source path needs matching: it has one of ``*?[\``."""
    return any(char in pattern for char in "*?[\\")


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    chunks: list[list[str]] = [[]]
    for token, _special in tokens(pattern):
        if token in ("*", "**"):
            chunks.append([])
        else:
            chunks[-1].append(token)
    first, *starred = ["".join(chunk) for chunk in chunks]
    if not starred:
        return re.compile(rf"{first}\Z", re.DOTALL)
    # What follows a star is taken where it fits first, for good; only the last star looks further.
    between = "".join(f"(?>[^/]*?{chunk})" for chunk in starred[:-1] if chunk)
    return re.compile(rf"{first}{between}[^/]*{starred[-1]}\Z", re.DOTALL)


def tokens(pattern: str, *, strict_ranges: bool = False) -> Iterator[tuple[str, bool]]:
    """
    Yield the parts of a pattern: ``*`` and ``**`` as such, everything else as a regular expression.

    The second value tells whether the part is more than one literal character. With `strict_ranges` a
    range that runs backwards is an error rather than a class that matches nothing.

    Raises:
        InvalidPattern: a class or an escape does not end.

    """
    position = 0
    while position < len(pattern):
        char = pattern[position]
        if pattern.startswith("**", position):
            yield "**", True
            position += 2
        elif char == "*":
            yield "*", True
            position += 1
        elif char == "?":
            yield _ANYTHING, True
            position += 1
        elif char == "[":
            regex, position = _character_class(pattern, position + 1, strict_ranges=strict_ranges)
            yield regex, True
        elif char == "\\":
            if position + 1 == len(pattern):
                raise _malformed(pattern)
            yield re.escape(pattern[position + 1]), True
            position += 2
        else:
            yield re.escape(char), False
            position += 1


def _character_class(pattern: str, position: int, *, strict_ranges: bool) -> tuple[str, int]:
    negated = pattern.startswith("^", position)
    position += negated
    ranges: list[str] = []
    empty = True
    while empty or not pattern.startswith("]", position):
        empty = False
        low, position = _class_character(pattern, position)
        high = low
        if pattern.startswith("-", position):
            high, position = _class_character(pattern, position + 1)
        if low <= high:
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        elif strict_ranges:
            raise _malformed(pattern)
    if not ranges:
        return (".", position + 1) if negated else (_NOTHING, position + 1)
    return f"[{'^' * negated}{''.join(ranges)}]", position + 1


def _class_character(pattern: str, position: int) -> tuple[str, int]:
    escaped = pattern.startswith("\\", position)
    position += escaped
    char = pattern[position : position + 1]
    # A class may not end the pattern, hence the look at one more character.
    if not char or (char in "-]" and not escaped) or position + 1 >= len(pattern):
        raise _malformed(pattern)
    return char, position + 1


def _malformed(pattern: str) -> InvalidPattern:
    return InvalidPattern(f"syntax error in pattern {pattern!r}")
