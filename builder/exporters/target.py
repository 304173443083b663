"""Where an exported file goes: a path (atomically) or standard output."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from ..errors import ExportProblem


@contextmanager
def output_file(dest: str) -> Iterator[BinaryIO]:
    """
    A stream to write the result to; it appears under its name only when the block ends well.

    What is no regular file, such as /dev/null or a pipe, is written to and stays what it is.

    Args:
        dest: a path, or "-" for standard output (which must not be a terminal).

    Raises:
        ExportProblem: the file cannot be written.
    """
    if dest == "-":
        if sys.stdout.isatty():
            raise ExportProblem(
                "refusing to write an archive to the terminal", hint="redirect the output, or name a file"
            )
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    folder, name = os.path.split(os.path.abspath(dest))
    if os.path.isdir(dest):
        raise ExportProblem(f"cannot write {dest}: it is a directory", hint="name a file in it")
    try:
        if os.path.exists(dest) and not os.path.isfile(dest):
            with open(dest, "wb") as device:
                yield device
            return
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{name}.", delete=False) as stream:
            try:
                yield stream  # type: ignore[misc] # the wrapper has every method of BinaryIO
                stream.flush()
                umask = os.umask(0)
                os.umask(umask)
                os.fchmod(stream.fileno(), 0o666 & ~umask)
                os.replace(stream.name, dest)
            except BaseException:
                with suppress(OSError):
                    os.unlink(stream.name)
                raise
    except OSError as problem:
        raise ExportProblem(f"cannot write {dest}: {problem.strerror}") from problem
