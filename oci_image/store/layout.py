"""
The blobs of an image layout directory: ``ROOT/blobs/<algorithm>/<hex>``.

Invariants: a file appears under its final name only when all its bytes are there and have that digest; what
is being written lies in ``ROOT/pybuild/tmp`` on the same filesystem, locked by its writer, so that leftovers
of dead processes can be told from files at work. Any other tool may read and extend the layout.
Governing source: OCI image-spec, image-layout.md.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from ..digest import Digest
from ..errors import InvalidDigest, NotFound
from .lock import file_lock
from .prepare import prepare_layout, remove_leftovers, sweep_lock
from .problems import store_problem
from .tags import LayoutTagStore
from .writer import LayoutBlobWriter

__all__ = ["LayoutBlobStore", "LayoutTagStore"]


class LayoutBlobStore:
    """
    Bytes by digest as files of an image layout.

    The directory is made on first use. A durable store survives a power cut with every committed blob; one
    that is not survives the death of the process only, which is enough for what can be made again.
    """

    def __init__(self, root: str | os.PathLike[str], *, durable: bool) -> None:
        self.root = os.path.abspath(os.fspath(root))
        self.durable = durable
        self._ready = False
        self._lock = threading.Lock()

    def stat(self, digest: Digest) -> int | None:
        """The size in bytes, or None."""
        found = self._stat(digest)
        return None if found is None else found.st_size

    def open(self, digest: Digest, offset: int = 0, length: int | None = None) -> BinaryIO:
        """A reader of (a part of) the blob; for the whole blob it has a ``fileno``."""
        if offset < 0 or (length is not None and length < 0):
            raise ValueError("offset and length of a part are not negative")
        try:
            stream = open(self._path(digest), "rb")  # noqa: SIM115 - the caller closes it
            if not offset and length is None:
                return stream
            stream.seek(offset)
        except FileNotFoundError as problem:
            raise NotFound(f"blob {digest} is not in the store") from problem
        except OSError as problem:
            raise store_problem(problem, self.root, f"read blob {digest}") from problem
        return stream if length is None else io.BufferedReader(_Part(stream, length))

    def writer(self, algorithm: str = "sha256") -> LayoutBlobWriter:
        """A new writer; leftovers of dead writers are removed at the first one."""
        self._prepare()
        return LayoutBlobWriter(self.root, algorithm, durable=self.durable)

    def delete(self, digest: Digest) -> bool:
        """Remove a blob; False when it was not there."""
        try:
            os.unlink(self._path(digest))
        except FileNotFoundError:
            return False
        except OSError as problem:
            raise store_problem(problem, self.root, f"delete blob {digest}") from problem
        return True

    def digests(self) -> Iterator[Digest]:
        """Every blob, in no particular order."""
        for algorithm in ("sha256", "sha512"):
            try:
                names = os.listdir(f"{self.root}/blobs/{algorithm}")
            except FileNotFoundError:
                continue
            except OSError as problem:
                raise store_problem(problem, self.root, "list the blobs") from problem
            for name in names:
                with suppress(InvalidDigest):
                    yield Digest.parse(f"{algorithm}:{name}")

    def modified(self, digest: Digest) -> float | None:
        """When the blob was last committed or touched."""
        found = self._stat(digest)
        return None if found is None else found.st_mtime

    def touch(self, digest: Digest) -> bool:
        """Make the blob young again; False when it is not here."""
        if self._stat(digest) is None:
            return False
        try:
            with file_lock(sweep_lock(self.root), shared=True):
                os.utime(self._path(digest))
        except FileNotFoundError:
            return False
        except OSError as problem:
            raise store_problem(problem, self.root, f"touch blob {digest}") from problem
        return True

    def expire(self, digest: Digest, cutoff: float) -> bool:
        """Remove the blob unless it was committed or touched after the cutoff."""
        with file_lock(sweep_lock(self.root)):
            modified = self.modified(digest)
            return modified is not None and modified <= cutoff and self.delete(digest)

    def local_path(self, digest: Digest) -> str | None:
        """The path of the blob's file, None when it is not here."""
        return None if self._stat(digest) is None else self._path(digest)

    def _path(self, digest: Digest) -> str:
        return f"{self.root}/blobs/{digest.algorithm}/{digest.hex}"

    def _stat(self, digest: Digest) -> os.stat_result | None:
        try:
            return os.stat(self._path(digest))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as problem:
            raise store_problem(problem, self.root, f"look for blob {digest}") from problem

    def _prepare(self) -> None:
        with self._lock:
            if not self._ready:
                prepare_layout(self.root)
                remove_leftovers(f"{self.root}/pybuild/tmp")
                self._ready = True


class _Part(io.RawIOBase):
    """The next `length` bytes of a stream, which is closed with it."""

    def __init__(self, stream: BinaryIO, length: int) -> None:
        self._stream = stream
        self._left = length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override] # typeshed: any writable buffer
        data = self._stream.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()
