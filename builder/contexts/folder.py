"""
What one directory of a build context holds, and all directories that were read.

There may be very many directories: what they hold is put aside, and made into a `Folder` again for whoever
asks.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from oci_image.kept import KeptMap
from oci_image.layer.whiteouts import PREFIX
from oci_image.spool import Kept, Spool

from .folderrecord import STAMP, Xattrs, join_names, split_names

_HEAD = struct.Struct("=4q?")
_MARK = PREFIX.encode()
_MOST_AT_HAND = 32
_LARGE = 1 << 16
"""So many bytes are not copied once more to be kept at once."""
_NONE: dict[str, Any] = {}


class Node(NamedTuple):
    """What one name stands for: type and mode bits, the stamp of a file, the number of a device."""

    mode: int
    stamp: bytes = b""
    rdev: int = 0


def is_marked(names: bytes) -> bool:
    """Whether one of the names may have a meaning of its own in layers."""
    return _MARK in names


class Folder:
    """
    One directory: its files in order with their stamps, and everything else by name, in order.

    `count` says how many files there are; `names` and `stamps` lie in a spool, since there may be very many.
    `linked` holds device and inode of those files that have several names; `others` what is neither file nor
    directory; `xattrs` the attributes of the directory itself; `hidden` the names that the ignore rules took
    away, those of directories with a slash at the end; `marked` whether a name of a file may have a
    meaning of its own in layers.
    """

    __slots__ = (
        *("_stamps_by_name", "count", "directories", "hidden", "linked", "marked", "names", "others"),
        *("stamps", "xattrs"),
    )

    def __init__(
        self,
        count: int,
        names: Kept,
        stamps: Kept,
        *,
        linked: Mapping[str, tuple[int, int]],
        directories: Mapping[str, int],
        others: Mapping[str, Node],
        xattrs: Xattrs,
        hidden: Sequence[str],
        marked: bool,
    ) -> None:
        self.marked = marked
        self.count = count
        self.names = names
        self.stamps = stamps
        self.linked = linked
        self.directories = directories
        self.others = others
        self.xattrs = xattrs
        self.hidden = hidden
        self._stamps_by_name: dict[str, bytes] | None = None

    def files(self) -> list[str]:
        """The names of its files."""
        return split_names(self.names.read()) if self.count else []

    def stamp(self, name: str) -> bytes | None:
        """The stamp of a file; all of them are in memory until `forget`."""
        if self._stamps_by_name is None:
            size, stamps = STAMP.size, self.stamps.read()
            self._stamps_by_name = {
                name: stamps[i * size : (i + 1) * size] for i, name in enumerate(self.files())
            }
        return self._stamps_by_name.get(name)

    def forget(self) -> None:
        """Let single stamps take no memory."""
        self._stamps_by_name = None

    def node(self, name: str) -> Node | None:
        """What the name stands for."""
        if name in self.directories:
            return Node(self.directories[name])
        stamp = self.stamp(name)
        if stamp is not None:
            return Node(STAMP.unpack(stamp)[4], stamp)
        return self.others.get(name)

    def all_names(self) -> list[str]:
        """All names in order."""
        return sorted((*self.files(), *self.directories, *self.others))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.node(name) is not None

    def __bool__(self) -> bool:
        return bool(self.count or self.directories or self.others)


class Folders:
    """
    The directories that were read, by path, in the order in which they were added.

    Args:
        spool: keeps what they hold.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._packed = KeptMap(spool)
        # Those that were asked for last, the latest behind the others.
        self._at_hand: dict[str, Folder] = {}

    def add(
        self,
        path: str,
        stamps: Mapping[str, bytes],
        *,
        linked: Mapping[str, tuple[int, int]],
        directories: Mapping[str, int],
        others: Mapping[str, Node],
        xattrs: Xattrs,
        hidden: Sequence[str],
    ) -> Folder:
        """Keep a directory that was read, its files given with their stamps; see `Folder`."""
        files = sorted(stamps)
        joined = join_names(files)
        stamped = b"".join(map(stamps.__getitem__, files))
        if len(stamped) < _LARGE:
            kept = self._spool.keep(joined + stamped)
            names, rest = kept.part(0, len(joined)), kept.part(len(joined), len(stamped))
        else:
            names, rest = self._spool.keep(joined), self._spool.keep(stamped)
        folder = Folder(
            len(files),
            names,
            rest,
            linked=linked,
            directories=dict(sorted(directories.items())) if directories else _NONE,
            others=dict(sorted(others.items())) if others else _NONE,
            xattrs=xattrs,
            hidden=hidden,
            marked=is_marked(joined),
        )
        self._packed[path] = _packed(folder)
        return folder

    def get(self, path: str) -> Folder | None:
        """The directory, if it was read."""
        folder = self._at_hand.pop(path, None)
        if folder is None:
            packed = self._packed.get(path)
            if packed is None:
                return None
            folder = self._unpacked(packed)
        return self._put_at_hand(path, folder)

    def __contains__(self, path: object) -> bool:
        return path in self._packed

    def items(self) -> Iterator[tuple[str, Folder]]:
        """All of them with their paths, each made for the caller; none may be added meanwhile."""
        return ((path, self._unpacked(packed)) for path, packed in self._packed.items())

    def _put_at_hand(self, path: str, folder: Folder) -> Folder:
        if len(self._at_hand) >= _MOST_AT_HAND:
            del self._at_hand[next(iter(self._at_hand))]
        self._at_hand[path] = folder
        return folder

    def _unpacked(self, packed: bytes) -> Folder:
        count, names, size, stamps, marked = _HEAD.unpack_from(packed)
        rest = packed[_HEAD.size :]
        folder = Folder(
            count,
            Kept(self._spool, names, size),
            Kept(self._spool, stamps, count * STAMP.size),
            linked=_NONE,
            directories=_NONE,
            others=_NONE,
            xattrs=(),
            hidden=(),
            marked=marked,
        )
        if rest:
            linked, folder.directories, others, xattrs, folder.hidden = json.loads(rest)
            folder.linked = {name: (device, inode) for name, (device, inode) in linked.items()}
            folder.others = {name: Node(mode, rdev=rdev) for name, (mode, rdev) in others.items()}
            folder.xattrs = tuple((name, bytes.fromhex(value)) for name, value in xattrs)
        return folder


def _packed(folder: Folder) -> bytes:
    names, stamps = folder.names, folder.stamps
    head = _HEAD.pack(folder.count, names.offset, names.size, stamps.offset, folder.marked)
    if not (folder.linked or folder.directories or folder.others or folder.xattrs or folder.hidden):
        return head
    rest = (
        folder.linked,
        folder.directories,
        {name: (node.mode, node.rdev) for name, node in folder.others.items()},
        [(name, value.hex()) for name, value in folder.xattrs],
        folder.hidden,
    )
    return head + json.dumps(rest, separators=(",", ":")).encode()
