"""
Parts of selections that are put aside.

A context may have very many directories: what is selected of them is made into parts again one after the
other.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from oci_image.kept import KeptList
from oci_image.layer.whiteouts import PREFIX
from oci_image.spool import Kept, Pages, Spool

from .folderrecord import DIGEST_SIZE, STAMP, Xattrs
from .parts import DIRECTORY, Entry, Part

_SURROGATES = "surrogatepass"
_PLACES = struct.Struct("=3B4q5q")
_NO_TOP = -1


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
