"""
What the lists of the web page show: names in pages, narrowed by what somebody looks for.

Invariants: a page costs a bounded number of questions to the storage, however few names fit; what may not be
pulled is listed without what it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .store.base import RegistryStore, Totals

PAGE_SIZE = 50
_STEP = 1000
_STEPS = 100
_WORD = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """
    A page of a list.

    Attributes:
        names: what is on it.
        following: after which name the next page begins; empty on the last one.
        word: what somebody looks for; empty for everything.
    """

    names: tuple[str, ...] = ()
    following: str = ""
    word: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryLine:
    """A repository in a list; without what it holds for who may not pull from it."""

    name: str
    totals: Totals | None


def collect(
    read: Callable[[str, int], Sequence[str]],
    word: str,
    after: str,
    accepts: Callable[[str], bool] = lambda _name: True,
) -> Listing:
    """
    The names after one that contain the word and are accepted; may block.

    Args:
        read: the names after one, at most so many.
        word: what somebody looks for, in any case of letters.
        after: the last name of the page before.
        accepts: whether a name is shown.
    """
    word = word.strip()[:_WORD]
    wanted = word.lower()
    found: list[str] = []
    for _ in range(_STEPS):
        names = read(after, _STEP if wanted else PAGE_SIZE + 1)
        found += [name for name in names if wanted in name.lower() and accepts(name)]
        if len(found) > PAGE_SIZE:
            shown = found[:PAGE_SIZE]
            return Listing(names=tuple(shown), following=shown[-1], word=word)
        if not names:
            return Listing(names=tuple(found), word=word)
        after = names[-1]
    return Listing(names=tuple(found), following=after, word=word)


def lines_of(
    store: RegistryStore, names: Sequence[str], may_pull: Callable[[str], bool]
) -> list[RepositoryLine]:
    """What repositories hold; may block."""
    return [
        RepositoryLine(name=name, totals=store.totals(name) if may_pull(name) else None) for name in names
    ]
