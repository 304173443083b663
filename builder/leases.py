"""
Leases: what running builds need, told to whoever cleans up beside them.

A build writes the layers that it was told of into a file of its own under ``state/leases``, which it keeps
locked (flock(2)), so that the file of a dead process is told from that of a living one. Adding to a lease and
cleaning up exclude each other by one more lock: what is looked up is either gone before, or kept. Where
nothing can be written (a full or read-only disk) builds go on without a lease: nothing can be removed
there that they would have to make again.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from oci_image.digest import Digest
from oci_image.image import Image, Layer
from oci_image.platform import Platform
from oci_image.reference import Reference
from oci_image.store.lock import file_lock

from .caching.above import IndexAbove
from .caching.records import CacheIndex, CacheRecord
from .host import Resolver

_FOLDER = "leases"


class Lease:
    """What one build needs; held until `close`."""

    def __init__(self, state: str) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._path = ""
        self._file: int | None = None
        self._held: set[str] = set()

    def add(self, layers: Iterable[Layer]) -> None:
        """Let layers be kept, in whatever form they are here (blocking while somebody cleans up)."""
        names = {name for layer in layers for name in (layer.diff_id.hex, layer.descriptor.digest.hex)}
        with self._lock, suppress(OSError):
            names -= self._held
            if not names:
                return
            if self._file is None:
                self._file = self._made()
            with _collecting(self._state, fcntl.LOCK_SH):
                os.write(self._file, "".join(f"{name}\n" for name in sorted(names)).encode())
            self._held |= names

    def close(self) -> None:
        """Let everything go; idempotent."""
        with self._lock:
            if self._file is not None:
                with suppress(OSError):
                    os.unlink(self._path)
                os.close(self._file)
                self._file = None

    def _made(self) -> int:
        folder = os.path.join(self._state, _FOLDER)
        os.makedirs(folder, exist_ok=True)
        living(self._state)  # which removes those of dead processes
        while True:
            self._path = os.path.join(folder, os.urandom(8).hex())
            file = os.open(
                self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644
            )
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_nlink:  # nobody took it for a leftover before it was locked
                return file
            os.close(file)


@contextmanager
def collecting(state: str) -> Iterator[list[frozenset[str]]]:
    """
    Clean up while no lease grows; gives what each running build needs, as hexadecimal digests.

    Raises:
        StoreProblem: the lock cannot be made.
    """
    with file_lock(os.path.join(state, "locks", "collect")):
        yield list(_living(state))


def living(state: str) -> list[frozenset[str]]:
    """What each running build needs now, as hexadecimal digests."""
    return list(_living(state))


def _living(state: str) -> Iterator[frozenset[str]]:
    folder = os.path.join(state, _FOLDER)
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        path = os.path.join(folder, name)
        with suppress(OSError):
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                with open(file, "rb", closefd=False) as stream:
                    held = frozenset(stream.read().decode("ascii", "replace").split())
                if _is_dead(file):
                    os.unlink(path)
                    continue
            finally:
                os.close(file)
            yield held


def _is_dead(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _collecting(state: str, kind: int) -> Iterator[None]:
    path = os.path.join(state, "locks", "collect")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, kind)
        yield
    finally:
        os.close(file)


class LeasingIndex(IndexAbove):
    """A cache index that puts what it hands out and takes in under a lease first."""

    def __init__(self, inner: CacheIndex, lease: Lease) -> None:
        super().__init__(inner)
        self._lease = lease

    def lookup(self, key: Digest) -> CacheRecord | None:
        """The record under a key, whose layers stay from now on as far as they are here."""
        record = self._inner.lookup(key)
        if record is not None:
            self._lease.add(record.layers)
        return record

    def store(self, keys: Sequence[tuple[Digest, bytes]], record: CacheRecord) -> None:
        """Store the record under each key."""
        self._lease.add(record.layers)
        self._inner.store(keys, record)


class LeasingResolver:
    """A resolver that puts the layers of images that it finds under a lease."""

    def __init__(self, inner: Resolver, lease: Lease) -> None:
        self._inner = inner
        self._lease = lease

    def local(self, reference: Reference, platform: Platform) -> Image | None:
        """The local image of a name for a platform, without waiting."""
        image = self._inner.local(reference, platform)
        if image is not None:
            self._lease.add(image.layers)
        return image

    async def resolve(self, reference: Reference, platform: Platform, *, pull: bool) -> Image:
        """The image that a name stands for."""
        image = await self._inner.resolve(reference, platform, pull=pull)
        self._lease.add(image.layers)
        return image
