"""
Writing one blob into an image layout: temporary file, digest on the way, rename.

Invariant: whatever happens, either the complete blob has its final name or nothing of it remains; a process
that dies leaves a temporary file whose lock the kernel has dropped, and the next writer of the store removes
it.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import Self

from ..digest import Digest, Hasher
from ..errors import StoreProblem, VerificationFailed
from .hashing import HashingThread
from .lock import file_lock, sync_directory
from .prepare import TEMPORARY_PREFIX, sweep_lock
from .problems import store_problem

_GATHER = 128 * 1024
_WORTH_A_THREAD = 8 << 20


class LayoutBlobWriter:
    """
    Writes one blob; small writes are gathered, large ones pass without a copy.

    Not safe for several threads at once.
    """

    def __init__(self, root: str, algorithm: str, *, durable: bool) -> None:
        self._root = root
        self._durable = durable
        self._hasher = Hasher(algorithm)
        self._beside: HashingThread | None = None
        self._size = 0
        self._gathered = bytearray()
        self._process = os.getpid()
        self._failure: StoreProblem | None = None
        self._temporary, self._descriptor = _temporary_file(root)

    @property
    def size(self) -> int:
        """How many bytes were written so far."""
        return self._size + len(self._gathered)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes; a failure discards the blob."""
        self._check_open()
        if len(data) < _GATHER:
            self._gathered += data
            if len(self._gathered) >= _GATHER:
                self._flush()
            return
        self._flush()
        # The caller may use the memory of anything else again.
        self._pass_on(data, stays=isinstance(data, bytes))

    def commit(self, expected: Digest | None = None) -> Digest:
        """Publish the blob atomically under its digest, replacing what lies there."""
        self._check_open()
        try:
            self._flush()
            self._end_hashing()
            digest = self._digest(expected)
            if expected is not None and digest != expected:
                raise VerificationFailed(f"expected {expected}, but the content is {digest}")
            self._publish(digest)
        finally:
            self.discard()
        return digest

    def discard(self) -> None:
        """Forget everything; a no-op after `commit`."""
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        self._gathered.clear()
        # A forked child has a copy of this object, but the file and the thread are its parent's.
        if os.getpid() == self._process:
            if self._beside is not None:
                self._beside.drop()
            with suppress(OSError):
                os.unlink(self._temporary)  # gone already when the blob was published
        os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            self.discard()

    def _check_open(self) -> None:
        if self._descriptor < 0:
            # Several threads may feed it one after the other: each is told why it cannot go on.
            raise self._failure or StoreProblem("the writer of this blob is closed")

    def _flush(self) -> None:
        if self._gathered:
            gathered, self._gathered = self._gathered, bytearray()
            self._pass_on(gathered, stays=True)

    def _pass_on(self, data: bytes | bytearray | memoryview, *, stays: bool) -> None:
        if self._beside is None and self._size >= _WORTH_A_THREAD:
            self._beside = HashingThread(self._hasher)
        if self._beside is None:
            self._hasher.update(data)
        else:
            self._beside.update(data if stays else bytes(data))
        self._size += len(data)
        with memoryview(data) as view:
            done = 0
            try:
                while done < len(view):
                    done += os.write(self._descriptor, view[done:])
            except OSError as problem:
                self.discard()
                self._failure = store_problem(problem, self._root, "write a blob")
                raise self._failure from problem

    def _end_hashing(self) -> None:
        if self._beside is not None:
            self._beside.finish()
            self._beside = None

    def _digest(self, expected: Digest | None) -> Digest:
        if expected is None or expected.algorithm == self._hasher.algorithm:
            return self._hasher.digest()
        # The algorithm became known only at the end, as in an upload in chunks: read the bytes once more.
        hasher, offset = Hasher(expected.algorithm), 0
        try:
            while data := os.pread(self._descriptor, 1 << 20, offset):
                hasher.update(data)
                offset += len(data)
        except OSError as problem:
            raise store_problem(problem, self._root, "read back a blob") from problem
        return hasher.digest()

    def _publish(self, digest: Digest) -> None:
        directory = f"{self._root}/blobs/{digest.algorithm}"
        try:
            if self._durable:
                os.fsync(self._descriptor)
            if not os.path.isdir(directory):
                os.makedirs(directory, exist_ok=True)
                sync_directory(os.path.dirname(directory))
            os.utime(self._descriptor)  # the last byte may have been written long ago
            # Always renamed over a blob that is there: its bytes may have rotted, and its age starts anew.
            with file_lock(sweep_lock(self._root), shared=True):
                os.rename(self._temporary, f"{directory}/{digest.hex}")
            if self._durable:
                sync_directory(directory)
        except OSError as problem:
            raise store_problem(problem, self._root, f"store blob {digest}") from problem


def _temporary_file(root: str) -> tuple[str, int]:
    """A new file that is locked by us; the name tells people which process it belongs to."""
    while True:
        path = f"{root}/pybuild/tmp/{TEMPORARY_PREFIX}{os.getpid()}-{os.urandom(6).hex()}"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as problem:
            raise store_problem(problem, root, "start a blob") from problem
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Between creation and lock, a process that starts may have taken the file for a leftover.
        if os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)
