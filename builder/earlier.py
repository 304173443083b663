"""
Parts of earlier layers that come again in the next one, so that unchanged files are not read once more.

Beside each layer that was copied from a build context lies a table (``runs/`` in the state directory) with
the digest of what each run of files is made of, and where its bytes are. What is taken has the checksum that
it had when it was written: a layer that was damaged in the store does not damage another one. Losing a table
costs time only.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import BinaryIO

from oci_image.digest import Digest
from oci_image.errors import ImageError
from oci_image.store.base import BlobStore

FOLDER = "runs"

_MAGIC = b"runs of a layer 1\n"
_KEY = 32
_ROW = struct.Struct(f"<{_KEY}sqII")
_BLOCK = 16 * _ROW.size
_SHARES = 64
_MOST_LOOKED_AT = 64


class Earlier:
    """
    What an earlier layer of the same kind has, and what the one that is being written has.

    For one layer and one thread; whoever made it closes it.

    Args:
        state: the state directory.
        blobs: the store of the layers.
        kind: says which layers are likely to have much in common.
    """

    def __init__(self, state: str, blobs: BlobStore, kind: str) -> None:
        self._folder = os.path.join(state, FOLDER)
        self._blobs = blobs
        self._kind = hashlib.sha256(kind.encode("utf-8", "surrogateescape")).digest()
        # By the beginning of the key, so that each of them is sorted by itself.
        self._noted = [bytearray() for _ in range(_SHARES)]
        self._table: _Table | None = None
        self._is_open = False
        # The checksum of what was taken last, by its key.
        self._checked = (b"", 0)
        self._layer: BinaryIO | None = None

    def take(self, key: bytes) -> bytes | None:
        """The bytes of a run that the earlier layer has, too."""
        if not self._is_open:
            self._is_open = True
            self._open()
        row = None if self._table is None else self._table.row(key)
        if row is None or self._layer is None:
            return None
        _, offset, size, checksum = row
        try:
            self._layer.seek(offset)
            data = self._layer.read(size)
        except (OSError, ImageError):
            return None
        if len(data) != size or zlib.crc32(data) != checksum:
            return None
        self._checked = key, checksum
        return data

    def note(self, key: bytes, offset: int, data: bytes) -> None:
        """Remember where the new layer has a run."""
        checked, checksum = self._checked
        row = _ROW.pack(key, offset, len(data), checksum if checked == key else zlib.crc32(data))
        self._noted[key[0] * _SHARES >> 8] += row

    def keep(self, diff_id: Digest, keep: Callable[[str, Iterable[bytes]], object]) -> None:
        """
        Let the next layer know what was noted; never an error.

        Args:
            diff_id: of the new layer.
            keep: writes a file of the state directory, given by its name there.
        """
        if any(self._noted):
            with suppress(ImageError):
                keep(os.path.join(FOLDER, diff_id.hex), self._parts())

    def _parts(self) -> Iterator[bytes]:
        hasher = hashlib.sha256()
        for part in (_MAGIC, self._kind, *map(_sorted, self._noted)):
            hasher.update(part)
            yield part
        yield hasher.digest()

    def close(self) -> None:
        """Close the earlier layer; idempotent."""
        for stream in (self._layer, self._table):
            if stream is not None:
                stream.close()
        self._layer = self._table = None

    def _open(self) -> None:
        """Open the newest table of this kind whose layer is in the store, and the layer."""
        for path in _newest(self._folder):
            table = _opened(path, self._kind)
            if table is None:
                continue
            with suppress(ImageError):
                self._layer = self._blobs.open(Digest("sha256", os.path.basename(path)))
                self._table = table
                return
            table.close()


class _Table:
    """Rows in order in an open file; `first` has the beginning of the first key of each block of rows."""

    def __init__(self, file: BinaryIO, start: int, first: array[int]) -> None:
        self._file = file
        self._start = start
        self._first = first

    def row(self, key: bytes) -> tuple[bytes, int, int, int] | None:
        """The row of a key."""
        block = max(0, bisect_left(self._first, _beginning(key)) - 1)
        try:
            # The next block, too: its first key may begin with the same bytes.
            rows = os.pread(self._file.fileno(), 2 * _BLOCK, self._start + block * _BLOCK)
        except OSError:
            return None
        place = rows.find(key)
        while place % _ROW.size and place >= 0:
            place = rows.find(key, place + 1)
        row = rows[place : place + _ROW.size] if place >= 0 else b""
        return _ROW.unpack(row) if len(row) == _ROW.size else None

    def close(self) -> None:
        """Close the file; idempotent."""
        self._file.close()


def _beginning(key: bytes) -> int:
    return int.from_bytes(key[:8], "big")


def _sorted(rows: bytearray) -> bytes:
    return b"".join(sorted(rows[at : at + _ROW.size] for at in range(0, len(rows), _ROW.size)))


def _newest(folder: str) -> Sequence[str]:
    ages: list[tuple[float, str]] = []
    with suppress(FileNotFoundError), os.scandir(folder) as items:
        for item in items:
            with suppress(OSError):
                ages.append((item.stat().st_mtime, item.path))
    return [path for _, path in sorted(ages, reverse=True)[:_MOST_LOOKED_AT]]


def _opened(path: str, kind: bytes) -> _Table | None:
    """A table; None if it is of another kind, damaged, or empty."""
    head = _MAGIC + kind
    try:
        file = open(path, "rb")  # noqa: SIM115 - the table closes it
    except OSError:
        return None
    try:
        size = os.fstat(file.fileno()).st_size - len(head) - hashlib.sha256().digest_size
        if file.read(len(head)) == head and size > 0 and not size % _ROW.size:
            hasher, first = hashlib.sha256(head), array("Q")
            while size:
                rows = file.read(min(size, _BLOCK))
                if not rows:
                    break
                hasher.update(rows)
                first.append(_beginning(rows))
                size -= len(rows)
            if file.read() == hasher.digest():
                return _Table(file, len(head), first)
    except OSError:
        pass
    file.close()
    return None
