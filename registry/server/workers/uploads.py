"""
Uploads that any process can go on with.

Invariants: the file is the truth, or the record of an upload without bytes, so an upload is found wherever
its last request was answered; one request of all processes works on an upload, and the kernel takes the
claim of a process away when it ends; an upload expires by the clock that never jumps, from when the leading
process saw it change last.
Governing source: fcntl(2), "Advisory record locking".
"""

from __future__ import annotations

import fcntl
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress

from ..store.durable import list_names, storage_errors
from ..store.file_uploads import FileUpload, FileUploads, Publish
from ..store.layout import flatten, unflatten
from .region import Region

_IDENTIFIER = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ALGORITHMS = ("sha256", "sha512")
_OFFSETS = 2**62 - 1


class Claims:
    """
    Which process works on which upload.

    Args:
        root: directory of the content.
    """

    def __init__(self, root: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(f"{root}/claims", flags, 0o600)

    def take(self, identifier: str) -> bool:
        """Claim an upload for this process; False when another one has it."""
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _offset(identifier))
        except OSError:
            return False
        return True

    def release(self, identifier: str) -> None:
        """Give the claim up."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, _offset(identifier))

    def close(self) -> None:
        """Give up every claim of this process; a server leaves that to the end of the process."""
        os.close(self._descriptor)


def _offset(identifier: str) -> int:
    return uuid.UUID(identifier).int & _OFFSETS


class SharedUploads(FileUploads):
    """
    Implements `UploadAccess` beside others that do the same.

    Args:
        directory: where the uploads are.
        publish: takes a repository, a digest and a file with its verified and flushed bytes.
        clock: seconds that never jump.
        region: what the processes share.
        slot: number of this process; zero leads.
        claims: who works on what.
    """

    def __init__(
        self,
        directory: str,
        publish: Publish,
        clock: Callable[[], float],
        *,
        region: Region,
        slot: int,
        claims: Claims,
    ) -> None:
        super().__init__(directory, publish, clock)
        self._region = region
        self._slot = slot
        self._claims = claims
        self._seen: dict[str, tuple[tuple[int, int], float]] = {}
        if slot == 0:
            region.correct_uploads(sum(1 for _ in self._states()))

    def _states(self) -> Iterator[tuple[str, str, tuple[int, int]]]:
        """Identifier, path (none without bytes), and what changes with each write, of every upload."""
        for begun in self.beginnings.all():
            yield begun.identifier, "", (0, 0)
        for _repository, identifier, path in self._files():
            with suppress(FileNotFoundError):
                status = os.stat(path, follow_symlinks=False)
                yield identifier, path, (status.st_size, status.st_mtime_ns)

    def _files(self) -> Iterator[tuple[str, str, str]]:
        """Repository, identifier and path of each upload with bytes."""
        for directory in list_names(self.directory):
            for name in list_names(f"{self.directory}/{directory}"):
                identifier, _, algorithm = name.partition(".")
                if algorithm in _ALGORITHMS and _IDENTIFIER.fullmatch(identifier):
                    yield unflatten(directory), identifier, f"{self.directory}/{directory}/{name}"

    def create(self, repository: str, algorithm: str = "sha256") -> FileUpload:
        """Start an upload."""
        upload = super().create(repository, algorithm)
        self._region.count_upload(self._slot, 1)
        return upload

    def find(self, repository: str, identifier: str) -> FileUpload | None:
        """An upload of the repository, as large as the last request left it."""
        if not _IDENTIFIER.fullmatch(identifier):
            return None
        for _ in range(2):  # the first bytes may come between the two questions
            upload = self._find_file(repository, identifier) or self._find_beginning(repository, identifier)
            if upload is not None:
                return upload
        super().forget(identifier)
        return None

    def _find_file(self, repository: str, identifier: str) -> FileUpload | None:
        for algorithm in _ALGORITHMS:
            with suppress(FileNotFoundError, NotADirectoryError):
                path = f"{self.directory}/{flatten(repository)}/{identifier}.{algorithm}"
                size = os.stat(path, follow_symlinks=False).st_size
                known = super().find(repository, identifier)
                if known is not None and (not known.is_paused or (known.size == size and not known.is_empty)):
                    return known
                upload = FileUpload(self, repository, identifier, algorithm)
                upload.resume()
                return self.add(upload)
        return None

    def _find_beginning(self, repository: str, identifier: str) -> FileUpload | None:
        begun = self.beginnings.find(identifier)
        if begun is None or begun.repository != repository:
            return None
        known = super().find(repository, identifier)
        if known is not None:
            return known
        return self.add(FileUpload(self, repository, identifier, begun.algorithm, is_empty=True))

    def forget(self, identifier: str) -> None:
        """Drop an upload that has ended; a no-op the second time."""
        if identifier in self._sessions:
            super().forget(identifier)
            self._region.count_upload(self._slot, -1)

    def count(self) -> int:
        """How many uploads there are."""
        return self._region.uploads()

    def sizes(self) -> list[tuple[str, str, int]]:
        """Repository, identifier and bytes of each upload."""
        found = []
        for repository, identifier, path in self._files():
            with suppress(FileNotFoundError):
                found.append((repository, identifier, os.stat(path, follow_symlinks=False).st_size))
        return found

    def expire(self, idle_seconds: float) -> int:
        """Discard what did not change for so long; only the leading process does."""
        if self._slot:
            self._drop_ended()
            return 0
        now = self.clock()
        seen: dict[str, tuple[tuple[int, int], float]] = {}
        ended = 0
        for identifier, path, state in self._states():
            earlier, since = self._seen.get(identifier, (state, now))
            seen[identifier] = (state, since if earlier == state else now)
            if now - seen[identifier][1] >= idle_seconds and self._discard(identifier, path):
                ended += 1
                del seen[identifier]
        self._seen = seen
        self._region.correct_uploads(sum(1 for _ in self._states()))
        return ended

    def _discard(self, identifier: str, path: str) -> bool:
        if not self._claims.take(identifier):
            return False
        try:
            with storage_errors(), suppress(FileNotFoundError):
                if path:
                    os.unlink(path)
                else:
                    self.beginnings.remove(identifier)
        finally:
            self._claims.release(identifier)
        return True

    def _drop_ended(self) -> None:
        """Forget what was begun here and ended elsewhere."""
        for upload in self.all():
            has_ended = not os.path.lexists(upload.path) and self.beginnings.find(upload.identifier) is None
            if upload.is_paused and has_ended:
                super().forget(upload.identifier)
