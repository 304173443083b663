"""
Writing the files of a directory of a build context, in runs that an earlier layer may have already.

A run is a few dozen files. Where it ends hangs on names alone as far as possible, so that a file more or less
in a directory leaves the runs behind it as they were.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat
from typing import NamedTuple

from oci_image.digest import Digest
from oci_image.layer.entry import Entry, Kind
from oci_image.layer.rows import FileRow
from oci_image.layer.runs import find_run, make_run
from oci_image.layer.write import BUFFER, LayerWriter

from ..contexts import parts
from ..contexts.folderrecord import DIGEST_SIZE, STAMP
from ..earlier import Earlier
from .items import ContextContents, Group

_FEWEST, _MOST = 32, 512
_EVERY = 31
"""A run ends at about every 32nd name."""
_PERMISSIONS = 0o7777
_SIZE_AND_MODE = struct.Struct("=q24xq")
"""What is needed here of a stamp."""


class _Some(NamedTuple):
    """Some files of a group, and their raw digests and stamps."""

    names: list[bytes]
    rows: list[FileRow]
    stamps: bytes
    digests: bytes

    def key(self, directory: str) -> bytes:
        """What the bytes of the run are a function of, as a digest."""
        path = directory.encode("utf-8", "surrogateescape")
        names = b"\0".join(self.names)
        rows = array("q", chain.from_iterable(self.rows)).tobytes()
        head = b"%d %d %d " % (len(path), len(names), len(rows))
        return bytes.fromhex(Digest.of(b"".join((head, path, names, rows, self.digests))).hex)


def write_group(
    writer: LayerWriter,
    directory: str,
    group: Group,
    style: Callable[[Entry], Entry],
    earlier: Earlier | None,
) -> None:
    """
    Add all files of a group below a directory of the layer.

    Args:
        writer: of the layer.
        directory: where they go.
        group: what is added.
        style: gives them their owner and mode.
        earlier: what an earlier layer has; None if nothing is known of one.

    Raises:
        InvalidContext: a file is not the one that was digested.
    """
    source = group.part.path
    for some in _runs(group, style):
        if some.rows[0].size > BUFFER:
            _write_large(writer, directory, group, some)
            continue
        key, start = some.key(directory), writer.size
        known = earlier.take(key) if earlier is not None else None
        run = None if known is None else find_run(directory, some.names, some.rows, known)
        if run is None:
            contents = group.files.each(source, some.names, some.stamps)
            run = make_run(directory, some.names, some.rows, contents)
        writer.add_run(run)
        if earlier is not None:
            earlier.note(key, start, run.data)


def _runs(group: Group, style: Callable[[Entry], Entry]) -> Iterator[_Some]:
    """The files of a group in runs; a large one is alone."""
    part = group.part
    stamps, digests = part.stamps.read(), part.digests.read() if part.digests is not None else b""
    names = part.names.read().split(b"\0")
    rows = _rows(stamps, group.epoch, style)

    def some(start: int, end: int) -> _Some:
        return _Some(
            names[start:end],
            rows[start:end],
            stamps[start * STAMP.size : end * STAMP.size],
            digests[start * DIGEST_SIZE : end * DIGEST_SIZE],
        )

    start = size = 0
    for number, row in enumerate(rows):
        if row.size > BUFFER and number > start:
            yield some(start, number)
            start = number
        size += row.size
        count = number + 1 - start
        is_full = size > BUFFER or count >= _MOST
        if is_full or (count >= _FEWEST and not zlib.crc32(names[number]) & _EVERY):
            yield some(start, number + 1)
            start, size = number + 1, 0
    if start < len(rows):
        yield some(start, len(rows))


def _rows(stamps: bytes, epoch: int, style: Callable[[Entry], Entry]) -> list[FileRow]:
    if not stamps:
        return []
    sizes, bits = zip(*_SIZE_AND_MODE.iter_unpack(stamps), strict=True)
    heads: dict[int, tuple[int, ...]] = {}
    for one in set(bits):
        heads[one] = (*style(Entry("", Kind.FILE, one & _PERMISSIONS))[2:5], epoch)
    values: Iterable[tuple[int, ...]]
    if len(heads) == 1:
        values = zip(*map(repeat, heads[bits[0]]), sizes, strict=False)
    else:
        values = ((*heads[one], size) for one, size in zip(bits, sizes, strict=True))
    # A third of the time that the row's own way of being made takes, and there may be very many.
    return list(map(tuple.__new__, repeat(FileRow), values))


def _write_large(writer: LayerWriter, directory: str, group: Group, one: _Some) -> None:
    name, row = one.names[0].decode("utf-8", "surrogateescape"), one.rows[0]
    path = f"{group.part.path}/{name}" if group.part.path else name
    key = parts.Entry(path, name, parts.FILE, row.mode, row.size, stamp=one.stamps)
    entry = Entry(f"{directory}/{name}" if directory else name, Kind.FILE, *row)
    ContextContents(group.files).write(writer, entry, key)
