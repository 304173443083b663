"""What a selection is made of: entries, and parts, which are the files of one directory each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from oci_image.digest import Digest
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


@dataclass(slots=True)
class Part:
    """
    Files of one directory, and what else is in it but directories.

    `top` is the directory itself (None where a source is a single file). There are `count` files, with as
    many `names`, `stamps` and, once they are known, `digests`, which are put aside; `odd` are attributes and
    `same_as` of the few that have them. `group` is the digest of the ordinary files where it is known without
    looking at them. `is_whole` says that these are all files of the directory, and `linked` device and
    inode of those that have several names; neither outlasts the completion of digests.
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
    is_whole: bool = False
    marked: bool = False
    linked: Mapping[str, tuple[int, int]] = field(default_factory=lambda: _NOTHING)

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

    def framed(self) -> bytes:
        """What it adds to the digest of a selection."""
        group = self.group
        if group is None:
            group = self._plain_group()
        parts = [
            b"" if self.top is None else _framed(self.top),
            b"g%d " % (self.count - len(self.odd)),
            group,
        ]
        if self.odd or self.others:
            parts += [
                _framed(entry)
                for entry in self.entries()
                if entry is not self.top and (entry.kind != FILE or entry.xattrs or entry.same_as)
            ]
        return b"".join(parts)

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


def _framed(entry: Entry) -> bytes:
    if entry.kind is DIRECTORY and not entry.xattrs:  # as below, in one step, since there may be very many
        return b"x3:dir%s%o 0 0 0:0 -" % (frame(entry.name), entry.mode)
    parts = [
        *(b"x", frame(entry.kind), frame(entry.name), b"%o %d %d " % (entry.mode, entry.size, entry.rdev)),
        *(frame(entry.link), b"%d " % len(entry.xattrs)),
    ]
    for name, value in entry.xattrs:
        parts += (frame(name), b"%d " % len(value), value)
    parts.append(b"-" if entry.same_as is None else b"+" + frame(entry.same_as))
    parts.append(entry.stamp[STAMP.size :])
    return b"".join(parts)


def frame(text: str) -> bytes:
    """A text as a part of what is digested, with its length."""
    encoded = text.encode("utf-8", "surrogateescape")
    return b"%d:%s" % (len(encoded), encoded)
