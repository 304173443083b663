"""
The rows of an index while its layer is written: columns, since a layer may have very many entries.

Most layers hold each path once, behind its parent, and no whiteouts or links: for those the columns are the
index. All others are put through the rules of `Placement`.
"""

from __future__ import annotations

from array import array

from .entry import Entry, Kind
from .index import LayerIndex
from .whiteouts import PREFIX


class IndexRows:
    """Takes entries in their order."""

    def __init__(self) -> None:
        self._paths: list[str] = []
        self._kinds = bytearray()
        self._columns = (array("I"), array("I"), array("I"), array("q"), array("q"))
        self._offsets = array("q")
        self._links: list[str] = []
        self._rare: dict[int, tuple[int, int, tuple[tuple[str, bytes], ...]]] = {}
        self._directories = {""}
        self._plain = True

    def add(self, entry: Entry, offset: int) -> None:
        """Take the next entry, whose content starts at the offset."""
        path, kind, mode, uid, gid, mtime, size, link, xattrs, major, minor = entry
        if kind is not Kind.FILE:
            if kind is Kind.DIRECTORY:
                self._directories.add(path)
            elif kind is not Kind.SYMLINK:
                self._plain = False
        if self._plain and (path.rpartition("/")[0] not in self._directories or not path or PREFIX in path):
            self._plain = False
        if xattrs or major or minor:
            self._rare[len(self._paths)] = (major, minor, xattrs)
        modes, uids, gids, mtimes, sizes = self._columns
        self._paths.append(path)
        self._kinds.append(kind)
        modes.append(mode)
        uids.append(uid)
        gids.append(gid)
        mtimes.append(mtime)
        sizes.append(size)
        self._offsets.append(offset)
        self._links.append(link)

    def index(self) -> LayerIndex:
        """
        The index of what was taken.

        Raises:
            UnsafeLayer: the entries contradict one another.
        """
        raw = LayerIndex(
            paths=self._paths,
            kinds=bytes(self._kinds),
            columns=self._columns,
            offsets=self._offsets,
            links=self._links,
            rare=self._rare,
            implied=frozenset(),
            hidden=frozenset(),
        )
        if self._plain and len(set(self._paths)) == len(self._paths):
            return raw
        return LayerIndex.of(raw, self._offsets)
