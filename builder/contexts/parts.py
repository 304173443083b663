"""
What a selection is made of: entries, and parts, which are the files of one directory each.

A context may have very many directories, too: what is selected of them is put aside, and made into parts
again one after the other.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from oci_image.digest import Digest
from oci_image.kept import KeptList
from oci_image.layer.whiteouts import PREFIX
from oci_image.spool import Kept, Pages, Spool

from .folderrecord import DIGEST_SIZE, STAMP, Xattrs, group_digest, join_names, split_names

_PERMISSIONS = 0o7777
_SURROGATES = "surrogatepass"
_PLACES = struct.Struct("=3B4q5q")
_NO_TOP = -1
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


class PartStore:
    """
    Parts that are put aside, in their order; used by one thread.

    Args:
        spool: keeps them.
        pages: where their names, stamps and digests lie.
    """

    def __init__(self, spool: Spool, pages: tuple[Pages, ...]) -> None:
        self._packed = KeptList(spool)
        self._framed = KeptList(spool)
        self.marked = False
        """Whether a name in it may have a meaning of its own in layers."""
        self.longest = 0
        """How many characters the longest name of a directory has."""
        self._pages = pages

    def __len__(self) -> int:
        return len(self._packed)

    def append(self, part: Part) -> None:
        """Take the next part, whose digests are known."""
        top, group = part.top, part.group or b""
        names, stamps, digests = part.names, part.stamps, part.digests or part.stamps
        path, name = part.path.encode("utf-8", _SURROGATES), part.name.encode("utf-8", _SURROGATES)
        page = self._pages.index
        head = _PLACES.pack(
            *(page(names.pages), page(stamps.pages), page(digests.pages)),
            *(names.offset, stamps.offset, digests.offset, names.size, part.count),
            _NO_TOP if top is None else top.mode,
            *(len(path), len(name), len(group)),
        )
        rest = b""
        if part.others or part.odd or (top is not None and top.xattrs):
            rest = _rest_of(part)
        self._packed.append(b"".join((head, path, name, group, rest)))
        self._framed.append(part.framed())
        self.longest = max(self.longest, len(part.name))
        if part.marked or PREFIX in part.name or any(PREFIX in other.name for other in part.others):
            self.marked = True

    def __getitem__(self, number: int) -> Part:
        return self._unpacked(self._packed[number])

    def each(self, start: int, end: int) -> Iterator[Part]:
        """The parts from one number to before another one, each made for the caller."""
        return map(self._unpacked, self._packed.each(start, end))

    def framed(self, start: int, end: int) -> Iterator[bytes]:
        """What these parts add to the digest of a selection."""
        return self._framed.each(start, end)

    def _unpacked(self, packed: bytes) -> Part:
        found = _PLACES.unpack_from(packed)
        in_names, in_stamps, in_digests, names, stamps, digests, size, count = found[:8]
        mode, to_path, to_name, to_group = found[8:]
        pages = self._pages
        to_path += _PLACES.size
        to_name += to_path
        to_group += to_name
        path = packed[_PLACES.size : to_path].decode("utf-8", _SURROGATES)
        name = packed[to_path:to_name].decode("utf-8", _SURROGATES)
        part = Part(
            path,
            name,
            None if mode == _NO_TOP else Entry(path, name, DIRECTORY, mode),
            count,
            Kept(pages[in_names], names, size),
            Kept(pages[in_stamps], stamps, count * STAMP.size),
            Kept(pages[in_digests], digests, count * DIGEST_SIZE) if count else None,
            group=packed[to_name:to_group] or None,
        )
        if to_group < len(packed):
            _take_rest(part, packed[to_group:])
        return part


@dataclass(frozen=True, slots=True)
class Parts:
    """Some parts of a store, one behind the other."""

    store: PartStore
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    def __iter__(self) -> Iterator[Part]:
        return self.store.each(self.start, self.end)

    def framed(self) -> Iterator[bytes]:
        """What they add to the digest of a selection."""
        return self.store.framed(self.start, self.end)

    def __getitem__(self, number: int) -> Part:
        return self.store[self.start + number]

    def behind(self, number: int) -> Iterator[Part]:
        """The parts behind one of them."""
        return self.store.each(self.start + number + 1, self.end)

    def some(self, start: int, end: int) -> Parts:
        """Those from one number to before another one."""
        return Parts(self.store, self.start + start, self.start + end)


def _rest_of(part: Part) -> bytes:
    """What few parts have."""
    xattrs = part.top.xattrs if part.top is not None else ()
    odd = {name: (_in_hex(attributes), same_as) for name, (attributes, same_as) in part.odd.items()}
    others = [(e.path, e.name, e.kind, e.mode, e.size, e.link, e.rdev) for e in part.others]
    return json.dumps((_in_hex(xattrs), odd, others), separators=(",", ":")).encode()


def _take_rest(part: Part, rest: bytes) -> None:
    xattrs, odd, others = json.loads(rest)
    if part.top is not None:
        part.top = part.top._replace(xattrs=_from_hex(xattrs))
    part.odd = {name: (_from_hex(attributes), same_as) for name, (attributes, same_as) in odd.items()}
    part.others = tuple(
        Entry(path, name, kind, mode, size, link, rdev=rdev)
        for path, name, kind, mode, size, link, rdev in others
    )


def _in_hex(xattrs: Xattrs) -> list[tuple[str, str]]:
    return [(name, value.hex()) for name, value in xattrs]


def _from_hex(xattrs: list[tuple[str, str]]) -> Xattrs:
    return tuple((name, bytes.fromhex(value)) for name, value in xattrs)


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
