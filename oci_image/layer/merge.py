"""
One layer in the place of several: what a stack of layers comes to, relative to what lies below it.

The result holds every path that the stack leaves, hardlinks included, and marks as removed only what the
layers below really have. Governing source: OCI image-spec, layer.md, "Representing Changes".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .entry import Entry, Kind
from .index import LayerIndex
from .pathsafe import ancestors
from .tree import LayerTree
from .whiteouts import opaque_mark_in, whiteout_for


@dataclass(frozen=True, slots=True)
class Placed:
    """An entry with the number of the layer and the offset that its content is read from (-1 for none)."""

    entry: Entry
    layer: int = -1
    offset: int = 0


def with_hardlinks(tree: LayerTree, *, implied: bool = True) -> Iterator[Placed]:
    """
    All that a tree holds, where the further names of a file are hardlinks to its first one.

    Args:
        tree: the view.
        implied: whether directories without an entry of their own are there, too.
    """
    names: dict[tuple[int, int], str] = {}
    for entry in tree.walk():
        found = tree.where(entry.path)
        number, offset = (found[0], found[2]) if found is not None else (-1, 0)
        if entry.kind is Kind.DIRECTORY:
            if number >= 0 or implied:
                yield Placed(entry)
            continue
        first = names.setdefault((number, offset), entry.path)
        if first != entry.path:
            yield Placed(entry._replace(kind=Kind.HARDLINK, size=0, link=first, xattrs=()))
        else:
            yield Placed(entry, number, offset)


def merged(layers: Sequence[LayerIndex], below: LayerTree | None, *, mtime: int) -> Iterator[Placed]:
    """
    The entries of the one layer, parents before children.

    Args:
        layers: the stack, lowest first.
        below: what lies below it; None for nothing.
        mtime: of the marks of what was removed.
    """
    tree = LayerTree(layers)
    gone, opaque = _removed(layers, tree, below)
    for path in gone:
        yield Placed(_mark(whiteout_for(path), mtime))
    for placed in with_hardlinks(tree, implied=False):
        yield placed
        if placed.entry.path in opaque:
            yield Placed(_mark(opaque_mark_in(placed.entry.path), mtime))


def hides_anything(layers: Sequence[LayerIndex]) -> bool:
    """Whether the stack may remove something of what lies below: `merged` has to look there then."""
    return any(index.hidden for index in layers) or bool(_replaced(layers, LayerTree(layers)))


def _removed(
    layers: Sequence[LayerIndex], tree: LayerTree, below: LayerTree | None
) -> tuple[list[str], frozenset[str]]:
    """The paths that need a whiteout, and the directories that need an opaque mark."""
    if below is None:
        return [], frozenset()
    hidden = {path for index in layers for path in index.hidden} | _replaced(layers, tree)
    gone: list[str] = []
    opaque: set[str] = set()
    for path in sorted(hidden):
        if any(above in hidden for above in ancestors(path)):
            continue  # nothing is left there to be hidden
        under = _at(below, path)
        if under is None or _is_covered(tree, path):
            continue
        here = tree.lookup(path)
        if here is None:
            gone.append(path)
        elif here.kind is Kind.DIRECTORY and under.kind is Kind.DIRECTORY:
            opaque.add(path)
    return gone, frozenset(opaque)


def _replaced(layers: Sequence[LayerIndex], tree: LayerTree) -> set[str]:
    """Directories that were something else in between, and so have nothing of what lies below."""
    found: set[str] = set()
    for index in layers:
        for row, path in enumerate(index.paths):
            if not index.is_directory(row):
                here = tree.lookup(path)
                if here is not None and here.kind is Kind.DIRECTORY:
                    found.add(path)
    return found


def _at(tree: LayerTree, path: str) -> Entry | None:
    """What a tree has at exactly this path, no link followed."""
    return None if _is_covered(tree, path) else tree.lookup(path)


def _is_covered(tree: LayerTree, path: str) -> bool:
    """Whether something that is no directory stands above a path."""
    for above in reversed(ancestors(path)):
        found = tree.lookup(above)
        if found is None:
            return False
        if found.kind is not Kind.DIRECTORY:
            return True
    return False


def _mark(path: str, mtime: int) -> Entry:
    return Entry(path, Kind.FILE, 0, mtime=mtime)
