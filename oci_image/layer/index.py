"""
The index of one layer: every path that it holds, with metadata and the place of the content in the archive.

An index is what remains of a layer after the rules of `Placement`: no duplicates, no whiteout members
(``hidden`` has what they say), hardlinks stand for what they link to, with the same offset. It keeps columns,
not entries, so that loading takes milliseconds; entries are made when asked for.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from ..errors import StoreProblem
from .entry import Entry, Kind
from .placement import Placement
from .read import LayerReader, Limits
from .source import Readable

_MAGIC = b"layer index 1\n"
_KINDS = tuple(Kind)
_DIRECTORY = int(Kind.DIRECTORY)


class LayerIndex:
    """What a layer holds. Immutable after it is made by `of`, `build_index` or `from_bytes`."""

    __slots__ = ("_columns", "_kinds", "_links", "_offsets", "_rare", "hidden", "implied", "paths")

    def __init__(
        self,
        *,
        paths: list[str],
        kinds: bytes,
        columns: tuple[array[int], ...],
        offsets: array[int],
        links: list[str],
        rare: dict[int, tuple[int, int, tuple[tuple[str, bytes], ...]]],
        implied: frozenset[str],
        hidden: frozenset[str],
    ) -> None:
        self.paths = paths
        """In the order of the archive; the root is there only if it has an entry."""
        self.implied = implied
        """Directories that have no entry."""
        self.hidden = hidden
        """Paths at and below which nothing of lower layers is seen."""
        self._kinds = kinds
        self._columns = columns
        self._offsets = offsets
        self._links = links
        self._rare = rare

    @classmethod
    def of(cls, entries: Iterable[Entry], offsets: Iterable[int]) -> LayerIndex:
        """
        The index of members in their order.

        Raises:
            UnsafeLayer: the members contradict one another.
        """
        placement = Placement()
        rows: dict[str, tuple[Entry, int]] = {}
        for entry, offset in zip(entries, offsets, strict=True):
            path = placement.place(entry)
            if path is None:
                continue
            if entry.kind is Kind.HARDLINK:
                target, place = rows[placement.target(entry, path)]
                rows[path] = target._replace(path=path), place
            elif path == entry.path:
                rows[path] = entry, offset
            else:
                rows[path] = entry._replace(path=path), offset
        kinds, implied = placement.kinds, placement.implied
        implied.discard("")
        kept = [row for path, row in rows.items() if path in kinds and path not in implied]
        return cls._from_rows(kept, frozenset(implied), frozenset(placement.hidden))

    @classmethod
    def _from_rows(
        cls, rows: list[tuple[Entry, int]], implied: frozenset[str], hidden: frozenset[str]
    ) -> LayerIndex:
        rare = {
            row: (entry.major, entry.minor, entry.xattrs)
            for row, (entry, _) in enumerate(rows)
            if entry.xattrs or entry.major or entry.minor
        }
        entries = [entry for entry, _ in rows]
        columns = (
            array("I", [entry.mode for entry in entries]),
            array("I", [entry.uid for entry in entries]),
            array("I", [entry.gid for entry in entries]),
            array("q", [entry.mtime for entry in entries]),
            array("q", [entry.size for entry in entries]),
        )
        return cls(
            paths=[entry.path for entry in entries],
            kinds=bytes([entry.kind for entry in entries]),
            columns=columns,
            offsets=array("q", [offset for _, offset in rows]),
            links=[entry.link for entry in entries],
            rare=rare,
            implied=implied,
            hidden=hidden,
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Entry]:
        return map(self.entry, range(len(self.paths)))

    def entry(self, row: int) -> Entry:
        """The entry of a row, which is an index into ``paths``."""
        modes, uids, gids, mtimes, sizes = self._columns
        major, minor, xattrs = self._rare.get(row, (0, 0, ()))
        return Entry(
            self.paths[row],
            _KINDS[self._kinds[row]],
            modes[row],
            uids[row],
            gids[row],
            mtimes[row],
            sizes[row],
            self._links[row],
            xattrs,
            major,
            minor,
        )

    def offset(self, row: int) -> int:
        """Where the content starts in the uncompressed archive; equal for the names of one inode."""
        return self._offsets[row]

    def times(self) -> dict[str, int]:
        """The modification time of each path."""
        return dict(zip(self.paths, self._columns[3], strict=True))

    def is_directory(self, row: int) -> bool:
        """Cheaper than making the entry."""
        return self._kinds[row] == _DIRECTORY

    def to_bytes(self) -> bytes:
        """A compact form for `from_bytes`; equal indexes give equal bytes."""
        return b"".join(self.parts())

    def parts(self) -> Iterator[bytes]:
        """The same bytes one after the other, for whoever writes them."""
        paths, links = _joined(self.paths), _joined(self._links)
        yield head_of(
            len(self.paths),
            len(paths),
            len(links),
            rare=self._rare,
            implied=self.implied,
            hidden=self.hidden,
        )
        yield from (paths, links, self._kinds)
        for column in (*self._columns, self._offsets):
            yield little(column).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> LayerIndex:
        """
        The index that `to_bytes` saved.

        Raises:
            StoreProblem: the bytes are no index of this version, or damaged; build it again then.
        """
        try:
            return cls._load(data)
        except (ValueError, KeyError, TypeError, IndexError, OverflowError) as problem:
            raise StoreProblem(f"a saved layer index cannot be used: {problem}") from problem

    @classmethod
    def _load(cls, data: bytes) -> LayerIndex:
        if not data.startswith(_MAGIC):
            raise ValueError("unknown form")
        start = data.index(b"\n", len(_MAGIC)) + 1
        head: dict[str, Any] = json.loads(data[len(_MAGIC) : start])
        count = head["count"]
        view = memoryview(data)

        def take(size: int) -> memoryview:
            nonlocal start
            start += size
            if size < 0 or start > len(data):
                raise ValueError("it is truncated")
            return view[start - size : start]

        paths = _split(bytes(take(head["paths"])), count)
        links = _split(bytes(take(head["links"])), count)
        kinds = bytes(take(count))
        columns = tuple(_column(code, take(count * array(code).itemsize)) for code in "IIIqq")
        offsets = _column("q", take(count * 8))
        if start != len(data) or (kinds and max(kinds) >= len(_KINDS)):
            raise ValueError("it is damaged")
        rare = {
            row: (major, minor, tuple((name, bytes.fromhex(value)) for name, value in xattrs))
            for row, major, minor, xattrs in head["rare"]
        }
        implied = bytes.fromhex(head["implied"])
        hidden = _split(bytes.fromhex(head["hidden"]), head["hides"])
        names = frozenset(_split(implied, implied.count(b"\0") + 1)) if implied else frozenset[str]()
        return cls(
            paths=paths,
            kinds=kinds,
            columns=columns,
            offsets=offsets,
            links=links,
            rare=rare,
            implied=names,
            hidden=frozenset(hidden),
        )


def build_index(stream: Readable, *, limits: Limits | None = None) -> LayerIndex:
    """
    The index of an uncompressed layer archive, which is read to its end (or skipped through by seeking).

    Raises:
        UnsafeLayer: the archive is broken or breaks a rule.
    """
    entries: list[Entry] = []
    offsets = array("q")
    reader = LayerReader(stream, limits=limits)
    for entry, payload in reader:
        entries.append(entry)
        offsets.append(payload.offset)
    reader.finish()
    return LayerIndex.of(entries, offsets)


def head_of(
    count: int,
    paths: int,
    links: int,
    *,
    rare: dict[int, tuple[int, int, tuple[tuple[str, bytes], ...]]],
    implied: Iterable[str] = (),
    hidden: Collection[str] = (),
) -> bytes:
    """
    The beginning of a saved index; names, links, kinds and the columns of numbers follow.

    Args:
        count: of the rows.
        paths: how many bytes all names have, with zero bytes between them.
        links: how many the targets of links have.
        rare: device numbers and attributes of the rows that have any.
        implied: directories that have no entry.
        hidden: paths at and below which nothing of lower layers is seen.
    """
    head = {
        "count": count,
        "implied": _joined(sorted(implied)).hex(),
        "hidden": _joined(sorted(hidden)).hex(),
        "hides": len(hidden),
        "rare": [
            [row, major, minor, [[name, value.hex()] for name, value in xattrs]]
            for row, (major, minor, xattrs) in sorted(rare.items())
        ],
        "paths": paths,
        "links": links,
    }
    return _MAGIC + json.dumps(head, separators=(",", ":")).encode() + b"\n"


def _joined(names: Sequence[str]) -> bytes:
    return "\0".join(names).encode("utf-8", "surrogateescape")


def _split(data: bytes, count: int) -> list[str]:
    names = data.decode("utf-8", "surrogateescape").split("\0") if count else []
    if len(names) != count:
        raise ValueError("it is damaged")
    return names


def little(column: array[int]) -> array[int]:
    """The numbers as they are saved."""
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column


def _column(code: str, data: memoryview) -> array[int]:
    column = array(code)
    column.frombytes(data)
    return little(column)
