r"""
The wildcard patterns of ``${v#p}``, ``${v%p}`` and ``${v/p/r}``.

``?`` is one character, ``*`` any number of them; both may be escaped with a backslash whatever the escape
character of the Dockerfile is. There are no brackets. Line feeds are never matched by a wildcard.
"""

from __future__ import annotations

import re
from functools import lru_cache


def trim_prefix(pattern: str, value: str, *, greedy: bool) -> str:
    """Remove the shortest (or longest) prefix of `value` that matches."""
    match = _compiled("".join(_tokens(pattern, greedy=greedy))).match(value)
    return value[match.end() :] if match else value


def trim_suffix(pattern: str, value: str, *, greedy: bool) -> str:
    """Remove the shortest (or longest) suffix of `value` that matches."""
    # A search runs from the left, so both sides are mirrored to find the shortest end.
    mirrored = "".join(reversed(_tokens(pattern, greedy=greedy)))
    match = _compiled(mirrored).match(value[::-1])
    return value[: len(value) - match.end()] if match else value


def replace_matches(pattern: str, replacement: str, value: str, *, every: bool) -> str:
    """Replace the first (or every) longest match in `value`; an empty match next to another is none."""
    regex = _compiled("".join(_tokens(pattern, greedy=True)))
    result: list[str] = []
    copied = position = 0
    previous_end = -1
    while position <= len(value) and (match := regex.search(value, position)):
        start, end = match.span()
        if start < end or start != previous_end:
            result += value[copied:start], replacement
            copied = previous_end = end
            if not every:
                break
        position = end if start < end else end + 1
    return "".join([*result, value[copied:]])


def _tokens(pattern: str, *, greedy: bool) -> list[str]:
    tokens: list[str] = []
    chars = iter(pattern)
    for char in chars:
        if char == "*":
            star = ".*" if greedy else ".*?"
            if not tokens or tokens[-1] != star:
                tokens.append(star)
        elif char == "?":
            tokens.append(".")
        elif char == "\\":
            escaped = next(chars, "")
            if not escaped or escaped not in "*?\\}/":
                raise ValueError(f"invalid escape '\\{escaped}'")
            tokens.append(re.escape(escaped))
        else:
            tokens.append(re.escape(char))
    return tokens


@lru_cache(maxsize=256)
def _compiled(regex: str) -> re.Pattern[str]:
    return re.compile(regex)
