"""
Digests of the files of a build context that the stat cache does not know.

Large files are read by two threads, since hashing releases the interpreter lock. With small ones they would
wait for that lock most of the time. A file that changes while it is read is an error: nothing else could say
which of its states went into the image.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..errors import BuildError, InvalidContext
from ..opening import FILE_FLAGS, OpenDirectories, read_xattrs
from .folderrecord import STAMP, Xattrs
from .statcache import INODE_BITS, stamp_of

_THREADS = 2
_WORTH_A_THREAD = 48 * 1024
"""Bytes of a file, on average, from which two threads are faster; with 4 KiB they take twice as long."""
_PIECE = 256 * 1024
_BLOCK = 1024 * 1024
_MOST_IN_BATCH = 256


class Batch(NamedTuple):
    """Files of one directory, with the stamps that the listing saw."""

    directory: str
    names: Sequence[str]
    stamps: bytes


class Digested(NamedTuple):
    """What was found out about a batch: raw digests in order, what has attributes, when reading began."""

    digests: bytes
    xattrs: dict[str, Xattrs]
    read_at: int


def digest_files(root: str, batches: Sequence[Batch]) -> list[Digested]:
    """
    Read files, and say what is in each batch.

    Args:
        root: the context root.
        batches: what to read.

    Raises:
        InvalidContext: a file cannot be read, or is not what the listing saw.
    """
    pieces = [(number, piece) for number, batch in enumerate(batches) for piece in _pieces(batch)]
    results: list[Digested | None] = [None] * len(pieces)
    problems: list[BaseException] = []

    def work(todo: deque[int]) -> None:
        directories = OpenDirectories(root)
        try:
            while not problems:
                place = todo.popleft()
                results[place] = _digest_batch(directories, pieces[place][1])
        except IndexError:
            return  # nothing is left to do
        except BaseException as problem:  # noqa: BLE001 - raised again by the thread that waits
            problems.append(problem)
        finally:
            directories.close()

    small, large = deque[int](), deque[int]()
    for place, (_, piece) in enumerate(pieces):
        (large if _size(piece) > len(piece.names) * _WORTH_A_THREAD else small).append(place)
    work(small)
    # This thread is one of them.
    threads = [threading.Thread(target=work, args=(large,)) for _ in range(min(_THREADS, len(large)) - 1)]
    for thread in threads:
        thread.start()
    work(large)
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    found: list[list[Digested]] = [[] for _ in batches]
    for (number, _), result in zip(pieces, results, strict=True):
        assert result is not None  # noqa: S101 - every thread came to its end
        found[number].append(result)
    return [_joined(parts) for parts in found]


def _pieces(batch: Batch) -> list[Batch]:
    """A batch in parts that are small enough to be shared out."""
    if len(batch.names) <= _MOST_IN_BATCH:
        return [batch]
    return [
        Batch(
            batch.directory,
            batch.names[start : start + _MOST_IN_BATCH],
            batch.stamps[start * STAMP.size : (start + _MOST_IN_BATCH) * STAMP.size],
        )
        for start in range(0, len(batch.names), _MOST_IN_BATCH)
    ]


def _size(piece: Batch) -> int:
    return sum(size for size, *_ in STAMP.iter_unpack(piece.stamps))


def _joined(parts: list[Digested]) -> Digested:
    xattrs = {name: value for part in parts for name, value in part.xattrs.items()}
    return Digested(b"".join(part.digests for part in parts), xattrs, min(part.read_at for part in parts))


def _digest_batch(directories: OpenDirectories, batch: Batch) -> Digested:
    read_at = time.time_ns()
    digests = []
    xattrs: dict[str, Xattrs] = {}
    prefix = f"{batch.directory}/" if batch.directory else ""
    for number, name in enumerate(batch.names):
        stamp = batch.stamps[number * STAMP.size : (number + 1) * STAMP.size]
        path = prefix + name
        descriptor = _open(directories, batch.directory, name)
        try:
            digests.append(_digest(descriptor, STAMP.unpack(stamp)[0]))
            attributes = read_xattrs(descriptor)
            check_unchanged(descriptor, path, stamp)
        except OSError as problem:
            text = f"cannot read {path} in the build context: {problem.strerror}"
            raise InvalidContext(text) from problem
        finally:
            os.close(descriptor)
        if attributes:
            xattrs[name] = attributes
    return Digested(b"".join(digests), xattrs, read_at)


def _digest(descriptor: int, size: int) -> bytes:
    """The raw digest of so many bytes; a file that has more, or fewer, is found by its stamp."""
    if size <= _BLOCK:
        return hashlib.sha256(os.read(descriptor, size)).digest()
    hasher = hashlib.sha256()
    # Always the same memory, and so little of it that it stays in the processor's cache.
    block = memoryview(bytearray(_PIECE))
    while size and (count := os.readv(descriptor, [block[:size]])):
        hasher.update(block[:count])
        size -= count
    return hasher.digest()


def _open(directories: OpenDirectories, directory: str, name: str) -> int:
    path = f"{directory}/{name}" if directory else name
    try:
        return os.open(name, FILE_FLAGS, dir_fd=directories.directory(directory))
    except OSError as problem:
        raise _unopened(path, problem) from problem


def _unopened(path: str, problem: OSError) -> BuildError:
    if isinstance(problem, (FileNotFoundError, NotADirectoryError)):
        return _changed(path)
    return InvalidContext(f"cannot open {path} in the build context: {problem.strerror}")


def each_unchanged(
    directories: OpenDirectories, directory: str, names: Sequence[bytes], stamps: bytes
) -> Iterator[bytes]:
    """
    The contents of small files of a directory that are still those with these stamps.

    Written for directories of very many files, and not to be mixed with other uses of `directories`.

    Raises:
        InvalidContext: one changed, or cannot be read.
    """
    opener, read, status, close = os.open, os.read, os.fstat, os.close
    try:
        parent = directories.directory(directory)
    except OSError as problem:
        raise _changed(directory) from problem
    for name, stamp in zip(names, STAMP.iter_unpack(stamps), strict=True):
        try:
            descriptor = opener(name, FILE_FLAGS, dir_fd=parent)
        except OSError as problem:
            raise _unopened(_shown(directory, name), problem) from problem
        try:
            content = read(descriptor, stamp[0])
            st = status(descriptor)
            found = (st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino & INODE_BITS, st.st_mode)
        except OSError as problem:
            path = _shown(directory, name)
            raise InvalidContext(f"cannot read {path} in the build context: {problem.strerror}") from problem
        finally:
            close(descriptor)
        if found != stamp:
            raise _changed(_shown(directory, name))
        yield content


def _shown(directory: str, name: bytes) -> str:
    text = name.decode("utf-8", "surrogateescape")
    return f"{directory}/{text}" if directory else text


def open_unchanged(directories: OpenDirectories, path: str, stamp: bytes) -> int:
    """
    A descriptor of a file that is still the one with this stamp (with or without the digest behind it).

    Raises:
        InvalidContext: it changed, or cannot be opened.
    """
    directory, _, name = path.rpartition("/")
    descriptor = _open(directories, directory, name)
    try:
        check_unchanged(descriptor, path, stamp)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_unchanged(descriptor: int, path: str, stamp: bytes) -> None:
    """
    Compare an open file with the stamp (with or without the digest behind it).

    Raises:
        InvalidContext: it changed.
    """
    if not stamp.startswith(stamp_of(os.fstat(descriptor))):
        raise _changed(path)


def _changed(path: str) -> BuildError:
    return InvalidContext(
        f"{path} changed during the build",
        hint="build again once nothing writes into the build context any more",
    )
