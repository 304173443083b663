"""
What a COPY, an ADD or a bind mount selects: entries in order, and the digest of all of them.

The digest covers names, kinds, modes, sizes, link targets, extended attributes, bytes, and which entries are
the same file (hard links); never mtimes or owners. All parts are framed by their length, so that moving a
byte from one to the next is a change. Entries are plain tuples: a context may have very many.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from oci_image.digest import Digest, Hasher

from .statcache import STAMP, Xattrs

FILE, DIRECTORY, SYMLINK, FIFO, CHARACTER, BLOCK = "file", "dir", "symlink", "fifo", "char", "block"


class Entry(NamedTuple):
    """
    One thing to copy.

    `path` is relative to the context root; `name` relative to the source it was selected by ("" for that
    source itself); `mode` holds permission bits only; `stamp` identifies the state of a file that was
    digested; `same_as` is the name of an earlier entry of the source that is the same file.
    """

    path: str
    name: str
    kind: str
    mode: int
    size: int = 0
    link: str = ""
    xattrs: Xattrs = ()
    rdev: int = 0
    stamp: bytes = b""
    same_as: str | None = None

    @property
    def digest(self) -> Digest:
        """The digest of a file's content."""
        return Digest("sha256", self.stamp[STAMP.size :].hex())


class Selected(NamedTuple):
    """
    One source that matched.

    A file comes as one entry with the name ""; `name` is what it is called inside a directory. A directory
    comes with its content (`entries[0]` is the directory itself), which goes straight below the destination.
    """

    path: str
    name: str
    is_dir: bool
    entries: tuple[Entry, ...]


class Selection:
    """Everything that one pattern selects; an immutable value that is compared by digest."""

    __slots__ = ("digest", "pattern", "sources")

    def __init__(self, pattern: str, sources: tuple[Selected, ...]) -> None:
        self.pattern = pattern
        self.sources = sources
        self.digest = _digest(sources)

    def entries(self) -> Iterator[Entry]:
        """The entries of all sources in order."""
        for source in self.sources:
            yield from source.entries

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selection) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Selection({self.pattern!r}, {len(self.sources)} sources, {self.digest})"


def _digest(sources: tuple[Selected, ...]) -> Digest:
    hasher = Hasher()
    start = STAMP.size
    for source in sources:
        kind_of_source = b"D" if source.is_dir else b"F"
        hasher.update(b"%s %d " % (kind_of_source, len(source.entries)) + _frame(source.name))
        parts = []
        for entry in source.entries:
            _, name, kind, mode, size, _, xattrs, _, stamp, same_as = entry
            if kind == FILE and not xattrs and same_as is None:
                encoded = name.encode("utf-8", "surrogateescape")
                parts.append(b"f%o %d %d %s%s" % (mode, size, len(encoded), encoded, stamp[start:]))
            else:
                parts.append(_unusual(entry))
        hasher.update(b"".join(parts))
    return hasher.digest()


def _unusual(entry: Entry) -> bytes:
    parts = [
        *(b"x", _frame(entry.kind), _frame(entry.name), b"%o %d %d " % (entry.mode, entry.size, entry.rdev)),
        *(_frame(entry.link), b"%d " % len(entry.xattrs)),
    ]
    for name, value in entry.xattrs:
        parts += (_frame(name), b"%d " % len(value), value)
    parts.append(b"-" if entry.same_as is None else b"+" + _frame(entry.same_as))
    parts.append(entry.stamp[STAMP.size :])
    return b"".join(parts)


def _frame(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogateescape")
    return b"%d:%s" % (len(encoded), encoded)
