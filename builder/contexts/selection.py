"""
What a COPY, an ADD or a bind mount selects: entries in order, and the digest of all of them.

The digest covers names, kinds, modes, sizes, link targets, extended attributes, bytes, and which entries are
the same file (hard links); never mtimes or owners. All parts are framed by their length, so that moving a
byte from one to the next is a change. A context may have very many files: directories are kept as wholes, and
single entries are made only for those who copy them.
"""

from __future__ import annotations

from collections.abc import Iterator

from oci_image.digest import Hasher

from .parts import Entry, frame
from .partstore import Parts


class Selected:
    """
    One source that matched.

    A file comes as one entry with the name ""; `name` is what it is called inside a directory. A directory
    comes with its content (the first entry is the directory itself), which goes straight below the
    destination.
    """

    __slots__ = ("is_dir", "name", "parts", "path")

    def __init__(self, path: str, name: str, parts: Parts, *, is_dir: bool) -> None:
        self.path = path
        self.name = name
        self.is_dir = is_dir
        self.parts = parts

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Everything, parents before children; made anew each time."""
        return tuple(entry for part in self.parts for entry in part.entries())


class Selection:
    """Everything that one pattern selects; an immutable value that is compared by digest."""

    __slots__ = ("digest", "pattern", "sources")

    def __init__(self, pattern: str, sources: tuple[Selected, ...]) -> None:
        self.pattern = pattern
        self.sources = sources
        hasher = Hasher()
        for source in sources:
            kind = b"D" if source.is_dir else b"F"
            hasher.update(b"%s %d " % (kind, len(source.parts)) + frame(source.name))
            for framed in source.parts.framed():
                hasher.update(framed)
        self.digest = hasher.digest()

    def entries(self) -> Iterator[Entry]:
        """The entries of all sources in order."""
        for source in self.sources:
            for part in source.parts:
                yield from part.entries()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selection) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Selection({self.pattern!r}, {len(self.sources)} sources, {self.digest})"
