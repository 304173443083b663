"""
Removal of directory trees that hold anything: mode 000, thousands of levels, symlinks to elsewhere.

Works on descriptors and never follows a symlink.
"""

from __future__ import annotations

import os
import stat

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 100


def remove_tree(path: str) -> None:
    """
    Remove whatever is at the path, a tree or a single file; nothing there is fine.

    Raises:
        OSError: something cannot be removed, for instance a mount point.
    """
    parent, name = os.path.split(path.rstrip("/"))
    try:
        above = os.open(parent or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        remove_at(above, name)
    finally:
        os.close(above)


def remove_at(above: int, name: str) -> None:
    """Remove whatever has the name in an open directory; nothing there is fine."""
    try:
        os.unlink(name, dir_fd=above)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        # POSIX lets unlink() of a directory fail with EPERM as well.
        if not stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
            raise
        _empty(above, name)
        os.rmdir(name, dir_fd=above)


def _empty(above: int, name: str) -> None:
    """
    Remove everything in a directory.

    A directory too deep down is moved up to the top first, so neither descriptors nor the stack run out.
    """
    top = _open(above, name)
    try:
        # (descriptor, names of subdirectories still to be removed)
        stack = [(top, _unlink_files(top))]
        moved = 0
        while stack:
            descriptor, names = stack[-1]
            if not names:
                stack.pop()
                if stack:
                    os.close(descriptor)
                    os.rmdir(stack[-1][1].pop(), dir_fd=stack[-1][0])
                continue
            child = names[-1]
            if len(stack) > _MAX_DEPTH:
                moved = _move_up(descriptor, child, top, moved)
                names.pop()
                stack[0][1].insert(0, f".removed-{moved}")
                continue
            opened = _open(descriptor, child)
            stack.append((opened, []))
            stack[-1] = (opened, _unlink_files(opened))
    finally:
        for descriptor, _ in stack[1:]:
            os.close(descriptor)
        os.close(top)


def _move_up(source: int, name: str, top: int, moved: int) -> int:
    while True:
        moved += 1
        try:
            os.stat(f".removed-{moved}", dir_fd=top, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(name, f".removed-{moved}", src_dir_fd=source, dst_dir_fd=top)
            return moved


def _open(above: int, name: str) -> int:
    try:
        return os.open(name, _FLAGS, dir_fd=above)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=above)
        return os.open(name, _FLAGS, dir_fd=above)


def _unlink_files(directory: int) -> list[str]:
    """Remove what is no directory; returns the names of the directories."""
    directories = []
    with os.scandir(directory) as found:
        entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
    retried = False
    for name, is_directory in entries:
        if is_directory:
            directories.append(name)
            continue
        try:
            os.unlink(name, dir_fd=directory)
        except PermissionError:
            if retried:
                raise
            # Without CAP_DAC_OVERRIDE the directory itself must be writable.
            retried = True
            os.fchmod(directory, 0o700)
            os.unlink(name, dir_fd=directory)
    if directories and not retried and not os.access(".", os.W_OK, dir_fd=directory, effective_ids=True):
        os.fchmod(directory, 0o700)
    return directories
