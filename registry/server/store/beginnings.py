"""
Uploads that have no bytes yet: one file of records for all of them, instead of a file for each.

Invariants: the name of an upload says where its record is, and a record that holds the whole name says that
the upload goes on, in every process and after a restart; a record is taken under a lock of the kernel; one
that a crash left half written counts as free. The file has as many records (288 bytes each) as there were
uploads without bytes at one time, which the limit of uploads bounds.
Governing sources: RFC 9562, "UUID Version 8"; fcntl(2), "Advisory record locking".
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
import uuid
import zlib
from dataclasses import dataclass

from .durable import storage_errors

_RECORD = struct.Struct(
    "<I16sBB266s"
)  # digest of the rest, name, algorithm, length and name of the repository
_DIGESTED = struct.calcsize("<I")
_ALGORITHMS = ("sha256", "sha512")
_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Beginning:
    """An upload without bytes."""

    identifier: str
    repository: str
    algorithm: str


class Beginnings:
    """
    The uploads without bytes of one directory.

    Args:
        path: the file, which is made when it is missing.
    """

    def __init__(self, path: str) -> None:
        self._guard = threading.Lock()
        self._free: set[int] = set()
        self._end = 0
        with storage_errors():
            # Closed with the storage only: closing any descriptor of the file gives up this process's locks.
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)

    def add(self, repository: str, algorithm: str) -> str:
        """Note a new upload; returns its name, which cannot be guessed."""
        with self._guard, storage_errors():
            while True:
                index = self._free.pop() if self._free else self._end
                self._end = max(self._end, index + 1)
                if self._lock(index):
                    try:
                        if self._read(index) is None:
                            return self._take(index, repository, algorithm)
                    finally:
                        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, index)

    def _lock(self, index: int) -> bool:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, index)
        except (BlockingIOError, PermissionError):  # another process takes it
            return False
        return True

    def _take(self, index: int, repository: str, algorithm: str) -> str:
        name = bytearray(index.to_bytes(4, "big") + os.urandom(12))
        name[6] = 0x80 | name[6] & 0x0F  # the version
        name[8] = 0x80 | name[8] & 0x3F  # the variant
        encoded = repository.encode()
        record = _RECORD.pack(0, bytes(name), _ALGORITHMS.index(algorithm), len(encoded), encoded)[_DIGESTED:]
        try:
            self._write(index, zlib.crc32(record).to_bytes(_DIGESTED, "little") + record)
        except OSError:
            self._free.add(index)
            raise
        return str(uuid.UUID(bytes=bytes(name)))

    def find(self, identifier: str) -> Beginning | None:
        """The upload of the name, which has the form of a UUID; None when it has ended or has bytes."""
        with storage_errors():
            found = self._read(_index(identifier))
        return found if found is not None and found.identifier == identifier else None

    def remove(self, identifier: str) -> None:
        """Forget an upload that ended or got bytes; a no-op for one that is not there."""
        index = _index(identifier)
        with self._guard, storage_errors():
            found = self._read(index)
            if found is not None and found.identifier == identifier:
                self._write(index, bytes(_RECORD.size))
                self._free.add(index)

    def all(self) -> list[Beginning]:
        """Every upload without bytes."""
        found: list[Beginning] = []
        free: set[int] = set()
        index = 0
        with self._guard, storage_errors():
            while block := os.pread(self._descriptor, _BLOCK * _RECORD.size, index * _RECORD.size):
                for start in range(0, len(block), _RECORD.size):
                    beginning = _parse(block[start : start + _RECORD.size])
                    if beginning is None:
                        free.add(index)
                    else:
                        found.append(beginning)
                    index += 1
            self._free, self._end = free, index
        return found

    def close(self) -> None:
        """Close the file; a no-op the second time."""
        with self._guard:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _read(self, index: int) -> Beginning | None:
        return _parse(os.pread(self._descriptor, _RECORD.size, index * _RECORD.size))

    def _write(self, index: int, record: bytes) -> None:
        if os.pwrite(self._descriptor, record, index * _RECORD.size) < len(record):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _index(identifier: str) -> int:
    return int(identifier[:8], 16)


def _parse(record: bytes) -> Beginning | None:
    """What a record says; None for a free one."""
    if len(record) < _RECORD.size:
        return None
    digest, name, algorithm, length, repository = _RECORD.unpack(record)
    if name == bytes(16) or zlib.crc32(record[_DIGESTED:]) != digest:
        return None
    return Beginning(str(uuid.UUID(bytes=name)), repository[:length].decode(), _ALGORITHMS[algorithm])
