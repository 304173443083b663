"""
Runs: ordinary files of one directory as they stand in an archive, made at once.

For layers of very many files. The bytes are those that `LayerWriter.add` makes of one file after the other: a
function of names, metadata and contents alone, so that those of an earlier layer can be used again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

from ..errors import ImageError
from .header import BLOCK, are_single_blocks, file_headers, padding
from .rows import FileRow

_ZEROS = tuple(bytes(count) for count in range(BLOCK))


class Run(NamedTuple):
    """Some files of a directory: the bytes of all of them, and where in these each content starts."""

    directory: str
    names: Sequence[bytes]
    rows: Sequence[FileRow]
    starts: Sequence[int]
    data: bytes


def wrong_size(path: str, size: int) -> ImageError:
    """The error for a content that has not the size that is said of it."""
    return ImageError(
        f"{path}: the content has not the {size} bytes that were announced",
        hint="the file was probably changed while it was read; try again when nothing writes to it",
    )


def make_run(
    directory: str, names: Sequence[bytes], rows: Sequence[FileRow], contents: Iterable[bytes]
) -> Run:
    """
    Make a run.

    Args:
        directory: its path, to which each name is appended.
        names: of the files.
        rows: their metadata.
        contents: their bytes.

    Raises:
        ImageError: a content has not exactly the size that is said of it.
    """
    make = file_headers(directory)
    parts: list[bytes] = []
    starts: list[int] = []
    position = 0
    for name, row, content in zip(names, rows, contents, strict=True):
        header, size = make(name, row), row.size
        if len(content) != size:
            raise wrong_size(f"{directory}/{name.decode('utf-8', 'replace')}".lstrip("/"), size)
        position += len(header)
        starts.append(position)
        fill = -size % BLOCK
        parts += (header, content, _ZEROS[fill])
        position += size + fill
    return Run(directory, names, rows, starts, b"".join(parts))


def find_run(directory: str, names: Sequence[bytes], rows: Sequence[FileRow], data: bytes) -> Run | None:
    """The run of files of which the bytes are there already; None if they have another length."""
    if names and are_single_blocks(directory, names, rows):
        blocks = [2 * BLOCK + (row[4] - 1) // BLOCK * BLOCK for row in rows]
        starts = list(accumulate(blocks, initial=BLOCK))
        size = starts.pop() - BLOCK
        return Run(directory, names, rows, starts, data) if size == len(data) else None
    make = file_headers(directory)
    starts = []
    position = 0
    for name, row in zip(names, rows, strict=True):
        position += len(make(name, row))
        starts.append(position)
        position += row.size + padding(row.size)
    return Run(directory, names, rows, starts, data) if position == len(data) else None
