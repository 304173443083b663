"""
Giving content a second name: by hard link, else by a clone that shares its blocks, else by a copy.

Invariants: the new name appears atomically and durably with all of its bytes, or not at all; a symbolic link
is never followed. Governing sources: link(2), ioctl_ficlone(2).
"""

from __future__ import annotations

import errno
import fcntl
import os
import uuid
from contextlib import suppress

from oci_image.store.lock import sync_directory

from .durable import write_all

_FICLONE = 0x40049409
_BLOCK = 1024 * 1024
_NO_LINKS = (errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS)


def share(source: str, temporary_directory: str, directory: str, name: str, *, replace: bool = False) -> None:
    """
    Let `directory`/`name` hold the content of `source`.

    Args:
        source: a regular file.
        temporary_directory: on the same file system as `directory`.
        directory: it exists.
        name: the new name; when it is there it stays as it is, unless `replace`.
        replace: take the place of what is there.
    """
    target = f"{directory}/{name}"
    if not replace:
        try:
            os.link(source, target, follow_symlinks=False)
        except FileExistsError:
            return
        except OSError as problem:
            if problem.errno not in _NO_LINKS:
                raise
        else:
            sync_directory(directory)
            return
    temporary = f"{temporary_directory}/{uuid.uuid4()}"
    try:
        try:
            os.link(source, temporary, follow_symlinks=False)
        except OSError as problem:
            if problem.errno not in _NO_LINKS:
                raise
            _copy(source, temporary)
        os.rename(temporary, target)
        # rename(2) does nothing when both names are links to one file.
        with suppress(FileNotFoundError):
            os.unlink(temporary)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    sync_directory(directory)


def _copy(source: str, target: str) -> None:
    reader = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        try:
            try:
                fcntl.ioctl(writer, _FICLONE, reader)
            except OSError:
                while block := os.read(reader, _BLOCK):
                    write_all(writer, block)
            os.fsync(writer)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def same_bytes(one: str, other: str) -> bool:
    """Whether two files are one or hold the same bytes; False when one of them cannot be read."""
    try:
        left = os.open(one, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        right = os.open(other, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        os.close(left)
        return False
    try:
        if os.fstat(left).st_size != os.fstat(right).st_size:
            return False
        if os.path.sameopenfile(left, right):
            return True
        while block := os.read(left, _BLOCK):
            if os.read(right, len(block)) != block:
                return False
        return True
    except OSError:
        return False
    finally:
        os.close(left)
        os.close(right)
