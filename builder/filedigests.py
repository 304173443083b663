"""
Digests of the files of a build context, taken from the stat cache where that may be trusted.

Files that have to be read are read by two threads, since hashing releases the interpreter lock. A file that
changes while it is read is an error: nothing else could say which of its states went into the image.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence

from oci_image.digest import Hasher

from .errors import BuildError, InvalidContext
from .listing import OpenDirectories, read_xattrs
from .statcache import STAMP, StatTable, Xattrs, stamp_of

_THREADS = 2
_WORTH_A_THREAD = 64
_BLOCK = 1024 * 1024


def digest_files(root: str, files: Sequence[tuple[str, bytes]], table: StatTable) -> None:
    """
    Read files and enter them into the table.

    Args:
        root: the context root.
        files: paths with the stamps that the listing saw.
        table: gets a record for each of them.

    Raises:
        InvalidContext: a file cannot be read, or is not what the listing saw.
    """
    if len(files) < _WORTH_A_THREAD and sum(STAMP.unpack(stamp)[0] for _, stamp in files) < 8 * _BLOCK:
        for result in _digest_share(root, files):
            _enter(result, table)
        return
    results: list[list[_Result] | BaseException] = []

    def work(share: Sequence[tuple[str, bytes]]) -> None:
        try:
            results.append(_digest_share(root, share))
        except BaseException as problem:  # noqa: BLE001 - raised again by the thread that waits
            results.append(problem)

    threads = [threading.Thread(target=work, args=(files[i::_THREADS],)) for i in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for outcome in results:
        if isinstance(outcome, BaseException):
            raise outcome
        for result in outcome:
            _enter(result, table)


_Result = tuple[str, bytes, bytes, Xattrs, int]


def _enter(result: _Result, table: StatTable) -> None:
    path, stamp, digest, xattrs, read_at = result
    table.remember(path, stamp, digest, xattrs, read_at=read_at)


def _digest_share(root: str, files: Sequence[tuple[str, bytes]]) -> list[_Result]:
    directories = OpenDirectories(root)
    try:
        return [_digest_file(directories, path, stamp) for path, stamp in files]
    finally:
        directories.close()


def _digest_file(directories: OpenDirectories, path: str, stamp: bytes) -> _Result:
    read_at = time.time_ns()
    descriptor = open_unchanged(directories, path, stamp)
    try:
        hasher = Hasher()
        left = STAMP.unpack(stamp)[0]
        # Never a large buffer for a small file; one that grew is found by the check below.
        while left and (block := os.read(descriptor, min(left, _BLOCK))):
            hasher.update(block)
            left -= len(block)
        xattrs = read_xattrs(descriptor)
        check_unchanged(descriptor, path, stamp)
    except OSError as problem:
        raise InvalidContext(f"cannot read {path} in the build context: {problem.strerror}") from problem
    finally:
        os.close(descriptor)
    return path, stamp, bytes.fromhex(hasher.digest().hex), xattrs, read_at


def open_unchanged(directories: OpenDirectories, path: str, stamp: bytes) -> int:
    """
    A descriptor of a file that is still the one with this stamp (with or without the digest behind it).

    Raises:
        InvalidContext: it changed, or cannot be opened.
    """
    try:
        descriptor = directories.open_file(path)
    except (FileNotFoundError, NotADirectoryError) as problem:
        raise _changed(path) from problem
    except OSError as problem:
        raise InvalidContext(f"cannot open {path} in the build context: {problem.strerror}") from problem
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
