"""
Making one file, node or link in an open directory, with owner, mode, attributes and time.

The order is forced by the kernel: chown clears setuid bits and file capabilities, writing changes the time.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import UnsafeLayer
from .entry import Entry, Kind
from .pathsafe import shown
from .source import Payload
from .whiteouts import OVERLAY_XATTRS

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_TYPES = {Kind.CHARACTER: stat.S_IFCHR, Kind.BLOCK: stat.S_IFBLK, Kind.FIFO: stat.S_IFIFO}


@dataclass(slots=True)
class Refusals:
    """What to do when the kernel refuses something, and what was left out so far."""

    user_namespace: bool
    on_chown: Callable[[str, int, int], None] | None
    on_device: Callable[[str], None] | None
    skipped: list[str] = field(default_factory=list)


def write_file(  # noqa: PLR0917 - called per file, where keywords cost
    above: int, name: str, path: str, entry: Entry, payload: Payload, refusals: Refusals
) -> None:
    """
    Create a regular file.

    Raises:
        FileExistsError: the name is taken; the payload has not been touched.
    """
    descriptor = os.open(name, _CREATE, 0o600, dir_fd=above)
    try:
        while data := payload.some():
            written = os.write(descriptor, data)
            while written < len(data):
                written += os.write(descriptor, memoryview(data)[written:])
        set_owner(descriptor, path, entry, refusals)
        os.fchmod(descriptor, entry.mode)
        if entry.xattrs:
            set_xattrs(descriptor, path, entry.xattrs, refusals)
        time = entry.mtime * 1_000_000_000
        os.utime(descriptor, ns=(time, time))
    except BaseException:
        os.unlink(name, dir_fd=above)  # a part of a file is worse than none
        raise
    finally:
        os.close(descriptor)


def make_node(above: int, name: str, path: str, entry: Entry, refusals: Refusals) -> None:
    """
    Create a symlink, device or fifo.

    Raises:
        FileExistsError: the name is taken.
    """
    if entry.kind is Kind.SYMLINK:
        os.symlink(entry.link, name, dir_fd=above)
    elif not _make_special(above, name, path, entry, refusals):
        return
    set_owner(name, path, entry, refusals, above)
    if entry.kind is not Kind.SYMLINK:
        os.chmod(name, entry.mode, dir_fd=above)
    if entry.xattrs:
        set_xattrs(f"/proc/self/fd/{above}/{name}", path, entry.xattrs, refusals)
    time = entry.mtime * 1_000_000_000
    os.utime(name, ns=(time, time), dir_fd=above, follow_symlinks=False)


def _make_special(above: int, name: str, path: str, entry: Entry, refusals: Refusals) -> bool:
    """Whether the node was made; False when it was refused and may be left out."""
    device = os.makedev(entry.major, entry.minor)
    try:
        os.mknod(name, _TYPES[entry.kind] | entry.mode, device, dir_fd=above)
    except PermissionError as problem:
        if refusals.on_device is not None and device:
            refusals.on_device(path)
            return False
        what = f"device {entry.major}:{entry.minor}" if device else "whiteout"
        raise UnsafeLayer(
            f"{shown(path)}: the {what} cannot be made: {problem.strerror}",
            hint="devices need real root" if device else "this needs Linux 5.8 or newer",
        ) from problem
    return True


def set_owner(
    place: int | str, path: str, entry: Entry, refusals: Refusals, above: int | None = None
) -> None:
    """Give a file (a descriptor, or a name in an open directory) to the entry's owner."""
    try:
        if isinstance(place, int):
            os.fchown(place, entry.uid, entry.gid)
        else:
            os.chown(place, entry.uid, entry.gid, dir_fd=above, follow_symlinks=False)
    except OSError as problem:
        # EINVAL: the id has no mapping in this user namespace.
        if problem.errno not in (errno.EPERM, errno.EINVAL):
            raise
        if refusals.on_chown is None:
            raise UnsafeLayer(
                f"{shown(path)}: the owner {entry.uid}:{entry.gid} cannot be set here: {problem.strerror}",
                hint="give the user more ids in /etc/subuid and /etc/subgid",
            ) from problem
        refusals.on_chown(path, entry.uid, entry.gid)


def set_xattrs(
    place: int | str, path: str, xattrs: tuple[tuple[str, bytes], ...], refusals: Refusals
) -> None:
    """
    Set extended attributes; those that the kernel or file system refuses are noted.

    overlayfs's own are never set: with them a layer could redirect a directory to another one.
    """
    for name, value in xattrs:
        if name.startswith(OVERLAY_XATTRS):
            refusals.skipped.append(f"{shown(path)}: {name}: reserved for overlayfs")
            continue
        try:
            if isinstance(place, int):
                os.setxattr(place, name, value)
            else:
                os.setxattr(place, name, value, follow_symlinks=False)
        except OSError as problem:
            if problem.errno not in (errno.EPERM, errno.ENOTSUP, errno.EINVAL):
                raise
            refusals.skipped.append(f"{shown(path)}: {name}: {problem.strerror}")
