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
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import BinaryIO

from oci_image.digest import Digest
from oci_image.errors import ImageError
from oci_image.store.base import BlobStore

FOLDER = "runs"

_MAGIC = b"runs of a layer 1\n"
_KEY = 32
_ROW = struct.Struct(f"<{_KEY}sqII")
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
        self._noted = bytearray()
        self._table: bytes | None = None
        # The checksum of what was taken last, by its key.
        self._checked = (b"", 0)
        self._layer: BinaryIO | None = None

    def take(self, key: bytes) -> bytes | None:
        """The bytes of a run that the earlier layer has, too."""
        if self._table is None:
            self._table = self._found()
        row = _row(self._table, key)
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
        self._noted += _ROW.pack(key, offset, len(data), checksum if checked == key else zlib.crc32(data))

    def keep(self, diff_id: Digest, keep: Callable[[str, Iterable[bytes]], object]) -> None:
        """
        Let the next layer know what was noted; never an error.

        Args:
            diff_id: of the new layer.
            keep: writes a file of the state directory, given by its name there.
        """
        if not self._noted:
            return
        rows = sorted(self._noted[at : at + _ROW.size] for at in range(0, len(self._noted), _ROW.size))
        body = b"".join((_MAGIC, self._kind, *rows))
        with suppress(ImageError):
            keep(os.path.join(FOLDER, diff_id.hex), (body, hashlib.sha256(body).digest()))

    def close(self) -> None:
        """Close the earlier layer; idempotent."""
        if self._layer is not None:
            self._layer.close()
            self._layer = None

    def _found(self) -> bytes:
        """The newest table of this kind whose layer is in the store, which is opened."""
        for path in _newest(self._folder):
            table = _read(path, self._kind)
            if table:
                with suppress(ImageError):
                    self._layer = self._blobs.open(Digest("sha256", os.path.basename(path)))
                    return table
        return b""


def _row(table: bytes, key: bytes) -> tuple[bytes, int, int, int] | None:
    low, high, size = 0, len(table) // _ROW.size, _ROW.size
    while low < high:
        middle = (low + high) // 2
        if table[middle * size : middle * size + _KEY] < key:
            low = middle + 1
        else:
            high = middle
    row = table[low * size : (low + 1) * size]
    return _ROW.unpack(row) if row.startswith(key) else None


def _newest(folder: str) -> Sequence[str]:
    ages: list[tuple[float, str]] = []
    with suppress(FileNotFoundError), os.scandir(folder) as items:
        for item in items:
            with suppress(OSError):
                ages.append((item.stat().st_mtime, item.path))
    return [path for _, path in sorted(ages, reverse=True)[:_MOST_LOOKED_AT]]


def _read(path: str, kind: bytes) -> bytes:
    """The rows of a table; nothing if it is of another kind, or damaged."""
    head = _MAGIC + kind
    try:
        with open(path, "rb") as file:
            if file.read(len(head)) != head:
                return b""
            rest = file.read()
    except OSError:
        return b""
    rows = rest[:-32]
    is_whole = not len(rows) % _ROW.size and hashlib.sha256(head + rows).digest() == rest[-32:]
    return rows if is_whole else b""
