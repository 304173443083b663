"""
Suggestions for words that were probably mistyped.

A suggestion is made only when fewer than three edits lead from what was written to what is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_EDITS = 2


def edit_distance(left: str, right: str) -> int:
    """Count the insertions, deletions, replacements and swaps of neighbours between two words."""
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left):
        following = [i + 1]
        for j, b in enumerate(right):
            distance = min(row[j + 1] + 1, following[j] + 1, row[j] + (a != b))
            if i and j and a == right[j - 1] and b == left[i - 1]:
                distance = min(distance, before[j - 1] + 1)
            following.append(distance)
        before, row = row, following
    return row[-1]


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word nearest to `word`; None when nothing is near, or the word itself is known."""
    best, best_distance = None, _MOST_EDITS + 1
    for candidate in sorted(known):
        if candidate == word:
            return None
        if abs(len(candidate) - len(word)) < best_distance:
            distance = edit_distance(word, candidate)
            if distance < best_distance:
                best, best_distance = candidate, distance
    return best


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return the hint for a mistyped `word`, or None."""
    match = nearest(word, known)
    return f"did you mean {match}?" if match else None


def did_you_mean_keyword(word: str, known: Iterable[str]) -> str | None:
    """Return the hint for a word whose case does not matter; the suggestion follows the case of `word`."""
    match = nearest(word.lower(), (name.lower() for name in known))
    if match is None:
        return None
    return f"did you mean {match if word == word.lower() else match.upper()}?"
