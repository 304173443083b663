"""Where an exported file goes: a path (atomically) or standard output."""

from __future__ import annotations

import errno
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from ..errors import ExportProblem

_LONGEST = 60
_NO_NAMELESS_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
"""What open(2) says about O_TMPFILE where the file system or the kernel does not have it."""


@contextmanager
def output_file(dest: str, *, parents: bool = False) -> Iterator[BinaryIO]:
    """
    A stream to write the result to; it appears under its name only when the block ends well.

    What is no regular file, such as /dev/null or a pipe, is written to and stays what it is.

    Args:
        dest: a path, or "-" for standard output (which must not be a terminal).
        parents: whether missing directories above it are made.

    Raises:
        ExportProblem: the file cannot be written.
    """
    if dest == "-":
        if sys.stdout.isatty():
            raise ExportProblem(
                "refusing to write an archive to the terminal", hint="redirect the output, or name a file"
            )
        try:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        except OSError as problem:
            raise ExportProblem(f"cannot write to standard output: {problem.strerror}") from problem
        return
    folder, name = os.path.split(os.path.abspath(dest))
    if os.path.isdir(dest):
        raise ExportProblem(f"cannot write {dest}: it is a directory", hint="name a file in it")
    try:
        if os.path.exists(dest) and not os.path.isfile(dest):
            with open(dest, "wb") as device:
                yield device
            return
        if parents:
            os.makedirs(folder, exist_ok=True)
        with new_file(folder, name) as stream:
            yield stream
    except OSError as problem:
        raise ExportProblem(f"cannot write {dest}: {problem.strerror}") from problem


@contextmanager
def new_file(folder: str, name: str) -> Iterator[BinaryIO]:
    """
    A file that appears under its name, over what was there, when the block ends well; else nothing is left.

    It has no name before, so that not even a process that is killed leaves a part of it behind.

    Raises:
        OSError: it cannot be written.
    """
    directory = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    temporary = f".{name[:_LONGEST]}.{secrets.token_hex(6)}"
    try:
        try:
            descriptor = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666, dir_fd=directory)
            is_nameless = True
        except OSError as problem:
            if problem.errno not in _NO_NAMELESS_FILES:
                raise
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o666, dir_fd=directory)
            is_nameless = False
        with os.fdopen(descriptor, "w+b") as stream:
            yield stream
            stream.flush()
            if is_nameless:
                # The directory's descriptor makes it linkat(2), which follows the link in /proc.
                os.link(f"/proc/self/fd/{descriptor}", temporary, dst_dir_fd=directory)
            os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
    finally:
        os.close(directory)
