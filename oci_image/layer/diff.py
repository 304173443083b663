"""
The upper directory of an overlay mount as a layer.

What a path is in the upper directory it is in the layer; a removed name becomes a whiteout only if the layers
below have the path, since overlayfs also marks what was made and removed again. A directory that was copied
up only for its metadata is still an entry. The mount must have been made without redirect_dir and metacopy.

Governing source: OCI image-spec, layer.md, "Whiteouts"; Linux Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Protocol

from ..errors import ImageError
from .entry import Entry, Kind
from .pathsafe import parent_of, shown
from .walk import Entries, Found, is_kept_xattr, tree_entries, walk
from .whiteouts import PREFIX, is_whiteout_device, opaque_mark_in, opaque_xattr, whiteout_for
from .write import LayerWriter

__all__ = ["LowerView", "diff_upper", "tree_entries"]


class LowerView(Protocol):
    """What the layers below have; `LayerTree` is one."""

    def lookup(self, path: str) -> Entry | None:
        """The entry of a path, its last component not followed; None where there is nothing."""
        ...


def diff_upper(
    upper: str,
    *,
    write: LayerWriter,
    lower: LowerView,
    stamp: Callable[[float], int],
    skip: frozenset[str] = frozenset(),
    user_namespace: bool = False,
) -> int:
    """
    Write the changes in an upper directory, which nobody changes meanwhile, as the entries of a layer.

    Sockets are left out. The writer is not finished.

    Args:
        upper: the directory.
        write: takes the entries.
        lower: the layers below the mount.
        stamp: makes the time of an entry out of a modification time.
        skip: paths that are no part of the result (places of mounts). A directory that was copied up
            only because of them is left out too.
        user_namespace: the mount was made with ``userxattr``.

    Returns:
        How many entries were written.

    Raises:
        ImageError: something cannot be told in a layer (a name like a whiteout, a redirected directory).
        StoreProblem: something cannot be read.
    """
    diff = _Diff(lower, write, stamp, user_namespace=user_namespace)
    before = write.count
    touched = _touched_for_mounts(upper, skip, lower)
    for found in walk(upper, skip=skip | touched):
        diff.add(found)
    return write.count - before


class _Diff:
    def __init__(
        self, lower: LowerView, write: LayerWriter, stamp: Callable[[float], int], *, user_namespace: bool
    ) -> None:
        self._lower = lower
        self._write = write
        self._entries = Entries(stamp)
        self._time = stamp
        self._opaque_name = opaque_xattr(user_namespace=user_namespace)
        # Directories in which nothing of the layers below is seen.
        self._covered: set[str] = set()

    def add(self, found: Found) -> None:
        """Write what one name of the upper directory means."""
        path, _, name, status = found
        covered = parent_of(path) in self._covered
        if is_whiteout_device(status):
            if not covered and self._lower.lookup(path) is not None:
                self._mark(whiteout_for(path), status)
            return
        if name.startswith(PREFIX):
            raise ImageError(
                f"{shown(path)}: a name that starts with {PREFIX!r} would remove a file of the image",
                hint="rename or delete the file in the same step",
            )
        entry = self._entries.pass_on(found, self._write.add)
        if entry.kind is Kind.DIRECTORY:
            self._add_directory(found, covered=covered)

    def _add_directory(self, found: Found, *, covered: bool) -> None:
        path, above, name, status = found
        if covered:
            self._covered.add(path)
            return
        below = self._lower.lookup(path)
        if below is None or below.kind is not Kind.DIRECTORY:
            # overlayfs marks such directories as opaque too, where it hides nothing.
            self._covered.add(path)
            return
        if _xattr(f"/proc/self/fd/{above}/{name}", self._opaque_name) == b"y":
            self._covered.add(path)
            self._mark(opaque_mark_in(path), status)

    def _mark(self, path: str, status: os.stat_result) -> None:
        self._write.add(Entry(path, Kind.FILE, 0, mtime=self._time(status.st_mtime)), b"")


def _touched_for_mounts(upper: str, skip: frozenset[str], lower: LowerView) -> frozenset[str]:
    """
    The directories that hold nothing but skipped paths and are else as below, or not below at all.

    Making a file to mount upon copies its directory up.
    """
    found: set[str] = set()
    candidates = {parent_of(path) for path in skip} - {""}
    while candidates:
        # The deepest first, so that a directory of nothing but such directories is one as well.
        path = max(candidates, key=lambda candidate: (candidate.count("/"), candidate))
        candidates.discard(path)
        if path in skip or not _holds_only(f"{upper}/{path}", path, skip | found):
            continue
        if _same_as_below(f"{upper}/{path}", lower.lookup(path)):
            found.add(path)
            candidates |= {parent_of(path)} - {""}
    return frozenset(found)


def _holds_only(place: str, path: str, known: frozenset[str] | set[str]) -> bool:
    try:
        if not stat.S_ISDIR(os.lstat(place).st_mode):
            return False
        names = os.listdir(place)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return bool(names) and all(f"{path}/{name}" in known for name in names)


def _same_as_below(place: str, below: Entry | None) -> bool:
    if below is None:
        return True
    status = os.lstat(place)
    metadata = (Kind.DIRECTORY, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
    if metadata != (below.kind, below.mode, below.uid, below.gid):
        return False
    kept = {
        name: _xattr(place, name)
        for name in os.listxattr(place, follow_symlinks=False)
        if is_kept_xattr(name)
    }
    return kept == dict(below.xattrs) and all(
        _xattr(place, name) is None for name in ("trusted.overlay.opaque", "user.overlay.opaque")
    )


def _xattr(place: str, name: str) -> bytes | None:
    try:
        return os.getxattr(place, name, follow_symlinks=False)
    except OSError as problem:
        if problem.errno in (errno.ENODATA, errno.ENOTSUP):
            return None
        raise
