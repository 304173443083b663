"""
Entries: what a layer says about one path.

Paths are relative to the root of the image, without leading or trailing slash ("etc/passwd"; "" is the root
itself), decoded from bytes as UTF-8 with surrogateescape. An `Entry` is a named tuple, not a dataclass,
because layers with 50,000 entries are common and a frozen dataclass takes five times as long to make.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Kind(IntEnum):
    """What a path is."""

    FILE = 0
    HARDLINK = 1
    SYMLINK = 2
    CHARACTER = 3
    BLOCK = 4
    DIRECTORY = 5
    FIFO = 6


class Entry(NamedTuple):
    """
    One path of a layer with its metadata.

    ``mode`` holds the permission bits including setuid, setgid and sticky, and no file type. ``link`` is the
    target of a symlink (verbatim) or of a hardlink (a path in the layer), else empty. ``size`` is that of the
    content of a file and 0 for everything else. ``xattrs`` are sorted by name.
    """

    path: str
    kind: Kind
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    link: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()
    major: int = 0
    minor: int = 0
