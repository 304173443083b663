"""Archives that a call reads: a file that it names, or standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from oci_image.errors import InvalidDocument, UnsafeLayer

from ..errors import InvalidOption


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Say of which archive a problem is ("-" is standard input), while the block runs."""
    try:
        yield
    except (UnsafeLayer, InvalidDocument) as problem:
        problem.message = f"{'standard input' if path == '-' else path}: {problem.message}"
        raise


def open_input(path: str) -> BinaryIO:
    """
    A file, or standard input for "-".

    Raises:
        InvalidOption: the file cannot be read, or standard input is a terminal.
    """
    if path != "-":
        try:
            return open(path, "rb")
        except OSError as problem:
            raise InvalidOption(f"cannot read {path}: {problem.strerror}") from problem
    if sys.stdin.isatty():
        raise InvalidOption(
            "no archive: standard input is a terminal", hint="name a file, or redirect the input"
        )
    return sys.stdin.buffer
