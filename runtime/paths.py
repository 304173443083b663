"""
Paths inside a root file system that is not ours.

Nothing here ever follows a symlink out of the root: the kernel resolves every path with RESOLVE_IN_ROOT, and
magic links of /proc are refused. Standard library only, used before and after the fork.
"""

import errno
import os
import posixpath
import stat

from . import syscalls as sc

_RESOLVE = sc.RESOLVE_IN_ROOT | sc.RESOLVE_NO_MAGICLINKS
_MAX_LINKS = 40


def open_in_root(root: int, path: str, flags: int = sc.O_PATH) -> int:
    """Open `path` as a process confined to `root` would; raise `OSError`."""
    return sc.openat2(root, path.lstrip("/") or ".", flags, _RESOLVE)


def read_in_root(root: int, path: str, limit: int) -> bytes:
    """Return the bytes of a regular file, empty when there is none; `OSError` (EFBIG) over the limit."""
    try:
        fd = open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as problem:
        if problem.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            return b""
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return b""
        data = bytearray()
        while chunk := os.read(fd, 1 << 20):
            data += chunk
            if len(data) > limit:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        return bytes(data)
    finally:
        os.close(fd)


def chase(root: int, path: str) -> str:
    """
    Return `path` with every symlink in it resolved inside `root`.

    Components that do not exist are kept as they are, so the result says where the path *would* be made.
    """
    pending = [part for part in path.split("/") if part][::-1]
    done: list[str] = []
    links = 0
    while pending:
        part = pending.pop()
        if part == ".":
            continue
        if part == "..":
            del done[-1:]
            continue
        here = posixpath.join(*done, part) if done else part
        target = _link_at(root, here)
        if target is None:
            done.append(part)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if target.startswith("/"):
            done = []
        pending.extend([item for item in target.split("/") if item][::-1])
    return "/" + "/".join(done)


def _link_at(root: int, path: str) -> str | None:
    try:
        fd = open_in_root(root, path, sc.O_PATH | os.O_NOFOLLOW)
    except OSError as problem:
        if problem.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
    try:
        if not stat.S_ISLNK(os.fstat(fd).st_mode):
            return None
        return os.readlink("", dir_fd=fd)
    finally:
        os.close(fd)


def ancestors(path: str) -> list[str]:
    """Return the directories above `path`, shallowest first, not the root: `/a/b/c` gives `/a`, `/a/b`."""
    parts = [part for part in path.split("/") if part]
    return ["/" + "/".join(parts[:count]) for count in range(1, len(parts))]


def make_in_root(
    root: int, path: str, *, directory: bool, mode: int, owner: tuple[int, int] | None
) -> list[str]:
    """
    Create `path` and the directories above it inside `root`; return what was made, shallowest first.

    `path` may name things through symlinks; they are resolved inside the root before anything is made.
    """
    final = chase(root, path)
    made = []
    for step in [*ancestors(final), final]:
        leaf = step == final
        parent = open_in_root(root, posixpath.dirname(step), sc.O_PATH | os.O_DIRECTORY)
        try:
            if _make_at(
                parent, posixpath.basename(step), directory=directory or not leaf, mode=mode, owner=owner
            ):
                made.append(step)
        finally:
            os.close(parent)
    return made


def _make_at(parent: int, name: str, *, directory: bool, mode: int, owner: tuple[int, int] | None) -> bool:
    try:
        if directory:
            os.mkdir(name, mode, dir_fd=parent)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o644, dir_fd=parent))
    except FileExistsError:
        return False
    if owner is not None:
        os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)
    return True
