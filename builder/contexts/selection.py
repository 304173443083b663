"""
What a COPY, an ADD or a bind mount selects: entries in order, and the digest of all of them.

The digest covers names, kinds, modes, sizes, link targets, extended attributes, bytes, and which entries are
the same file (hard links); never mtimes or owners. All parts are framed by their length, so that moving a
byte from one to the next is a change. A context may have very many files: directories are kept as wholes, and
single entries are made only for those who copy them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from oci_image.digest import Digest, Hasher
from oci_image.spool import Kept

from .folderrecord import DIGEST_SIZE, STAMP, Xattrs, group_digest, join_names, split_names

_PERMISSIONS = 0o7777
FILE, DIRECTORY, SYMLINK, FIFO, CHARACTER, BLOCK = "file", "dir", "symlink", "fifo", "char", "block"


class Entry(NamedTuple):
    """
    One thing to copy.

    `path` is relative to the context root; `name` relative to the source it was selected by ("" for that
    source itself); `mode` holds permission bits only; `stamp` is that of a file followed by the raw digest of
    its content; `same_as` is the name of an earlier entry of the source that is the same file.
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


_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(slots=True, kw_only=True)
class Part:
    """
    Files of one directory, and what else is in it but directories.

    `top` is the directory itself (None where a source is a single file). There are `count` files, with as
    many `names`, `stamps` and, once they are known, `digests`, which are put aside; `odd` are attributes and
    `same_as` of the few that have them. `group` is the digest of the ordinary files where it is known without
    looking at them.
    """

    path: str
    name: str
    top: Entry | None
    count: int
    names: Kept
    stamps: Kept
    digests: Kept | None = None
    odd: Mapping[str, tuple[Xattrs, str | None]] = field(default_factory=lambda: _NOTHING)
    others: tuple[Entry, ...] = ()
    group: bytes | None = None

    @property
    def lacks_digests(self) -> bool:
        """Whether it has files of which no digest is known yet."""
        return self.digests is None and bool(self.count)

    def files(self) -> list[str]:
        """The names of its files."""
        return split_names(self.names.read()) if self.count else []

    def stamped(self) -> Iterator[tuple[str, bytes]]:
        """Each file with its stamp."""
        stamps = self.stamps.read()
        for number, file in enumerate(self.files()):
            yield file, stamps[number * STAMP.size : (number + 1) * STAMP.size]

    def entries(self) -> Iterator[Entry]:
        """The directory itself and its entries."""
        if self.top is not None:
            yield self.top
        yield from self.file_entries()
        yield from self.others

    def file_entries(self) -> Iterator[Entry]:
        """The entries of its files."""
        path = f"{self.path}/" if self.path else ""
        prefix = f"{self.name}/" if self.name else ""
        digests = self.digests.read() if self.digests is not None else b""
        for number, (file, stamp) in enumerate(self.stamped()):
            digest = digests[number * DIGEST_SIZE : (number + 1) * DIGEST_SIZE]
            size, _, _, _, mode = STAMP.unpack(stamp)
            xattrs, same_as = self.odd.get(file, ((), None))
            name = prefix + file if self.top is not None else ""
            yield Entry(
                path + file, name, FILE, mode & _PERMISSIONS, size, "", xattrs, 0, stamp + digest, same_as
            )

    def update(self, hasher: Hasher) -> None:
        """Add everything to the digest of a selection."""
        if self.top is not None:
            hasher.update(_framed(self.top))
        group = self.group
        if group is None:
            group = self._plain_group()
        hasher.update(b"g%d " % (self.count - len(self.odd)) + group)
        if self.odd or self.others:
            for entry in self.entries():
                if entry is not self.top and (entry.kind != FILE or entry.xattrs or entry.same_as):
                    hasher.update(_framed(entry))

    def _plain_group(self) -> bytes:
        """The digest of all files that are not odd."""
        names, stamps = self.names.read(), self.stamps.read()
        digests = self.digests.read() if self.digests is not None else b""
        if self.odd:
            files = split_names(names)
            plain = [number for number, file in enumerate(files) if file not in self.odd]
            names = join_names([files[number] for number in plain])
            stamps = b"".join(stamps[n * STAMP.size : (n + 1) * STAMP.size] for n in plain)
            digests = b"".join(digests[n * DIGEST_SIZE : (n + 1) * DIGEST_SIZE] for n in plain)
        return group_digest(names, stamps, digests)


class Selected:
    """
    One source that matched.

    A file comes as one entry with the name ""; `name` is what it is called inside a directory. A directory
    comes with its content (the first entry is the directory itself), which goes straight below the
    destination.
    """

    __slots__ = ("is_dir", "name", "parts", "path")

    def __init__(self, path: str, name: str, parts: tuple[Part, ...], *, is_dir: bool) -> None:
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
            hasher.update(b"%s %d " % (kind, len(source.parts)) + _frame(source.name))
            for part in source.parts:
                part.update(hasher)
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


def _framed(entry: Entry) -> bytes:
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
