"""
Durable changes of files: what a crash or a power cut may not undo.

Invariants: content reaches its name by rename after its bytes were flushed, and the directory is flushed
before the caller goes on; no message carries a path; a final component that is a symbolic link is refused.
Governing sources: fsync(2), rename(2), sync_file_range(2).
"""

from __future__ import annotations

import errno
import functools
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from oci_image.store.lock import sync_directory

from ...errors import StorageFull, StorageProblem

_SYNC_FILE_RANGE_WRITE = 2
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def storage_errors() -> Iterator[None]:
    """
    Turn errors of the operating system into those of the registry, without paths.

    Raises:
        StorageFull: no space, quota or file size is left.
        StorageProblem: any other error.
    """
    try:
        yield
    except OSError as problem:
        if problem.errno in _FULL:
            raise StorageFull("no space is left on the storage of the registry") from problem
        reason = os.strerror(problem.errno) if problem.errno else "input/output error"
        raise StorageProblem(f"the storage of the registry failed: {reason}") from problem


def make_directories(root: str, relative: str) -> str:
    """Create the directories below `root` that are missing, durably; returns the whole path."""
    path = f"{root}/{relative}"
    if os.path.isdir(path):
        return path
    current = root
    for component in relative.split("/"):
        parent, current = current, f"{current}/{component}"
        with suppress(FileExistsError):
            os.mkdir(current, 0o755)
            sync_directory(parent)
    return path


def begin_flush(descriptor: int, offset: int, count: int) -> None:
    """Let the kernel begin to write a part of a file to the disk, so that `fsync` has less to wait for."""
    call = _sync_file_range()
    if call is not None:
        call(descriptor, offset, count, _SYNC_FILE_RANGE_WRITE)  # a hint: `fsync` tells of errors


@functools.cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    import ctypes

    try:
        call = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    found: Callable[[int, int, int, int], int] = call
    return found


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def replace_file(temporary_directory: str, directory: str, name: str, data: bytes) -> None:
    """Let `directory`/`name` hold the data, atomically and durably."""
    temporary = f"{temporary_directory}/{uuid.uuid4()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, f"{directory}/{name}")
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    sync_directory(directory)


def create_marker(directory: str, name: str) -> None:
    """Create an empty file durably; a no-op when it is there."""
    try:
        descriptor = os.open(
            f"{directory}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644
        )
    except FileExistsError:
        return
    os.close(descriptor)
    sync_directory(directory)


def remove_file(directory: str, name: str, *, keep: str = "") -> bool:
    """Remove a file durably, or move it to `keep`; False when it was not there."""
    try:
        if keep:
            os.rename(f"{directory}/{name}", keep)
        else:
            os.unlink(f"{directory}/{name}")
    except (FileNotFoundError, NotADirectoryError):
        return False
    sync_directory(directory)
    return True


def read_file(path: str) -> bytes | None:
    """The bytes of a regular file; None when it is not there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with open(descriptor, "rb") as file:
        return file.read()


def list_names(path: str) -> list[str]:
    """The entries of a directory without hidden ones; empty when it is not there."""
    try:
        return [name for name in os.listdir(path) if not name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
