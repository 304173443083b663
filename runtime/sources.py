"""
The mounts a user asks for, made but attached nowhere: one function per kind of mount.

Runs in the child. Each takes the scratch file system, the plan and the mount's JSON form, and returns a
descriptor of a detached mount. A new kind of mount is a value in `mounts.py` and a function here.
"""

import binascii
import os
import stat
from collections.abc import Callable
from typing import Any

from . import devicenodes, paths
from . import syscalls as sc
from .rootmount import Scratch, filesystem, overlay

QUIET = sc.MOUNT_ATTR_NOSUID | sc.MOUNT_ATTR_NODEV | sc.MOUNT_ATTR_NOEXEC


def _bind(_scratch: Scratch, plan: dict[str, Any], mount: dict[str, Any]) -> int:
    recursive = sc.AT_RECURSIVE if mount["recursive"] else 0
    source = os.open(mount["source"], sc.O_PATH)
    if mount["subpath"]:
        outer, source = source, paths.open_in_root(source, mount["subpath"])
        os.close(outer)
    fd = sc.open_tree(source, "", sc.AT_EMPTY_PATH | sc.OPEN_TREE_CLONE | recursive)
    os.close(source)
    attributes = 0 if mount["devices"] or plan["privileged"] else sc.MOUNT_ATTR_NODEV
    attributes |= sc.MOUNT_ATTR_RDONLY if mount["readonly"] else 0
    attributes |= sc.MOUNT_ATTR_NOSUID if mount["nosuid"] else 0
    attributes |= sc.MOUNT_ATTR_NOEXEC if mount["noexec"] else 0
    if attributes:
        sc.mount_setattr(fd, attributes, recursive=bool(recursive))
    return fd


def _overlay(scratch: Scratch, plan: dict[str, Any], mount: dict[str, Any]) -> int:
    layers = [os.open(path, sc.O_PATH | os.O_DIRECTORY) for path in mount["lowers"][::-1]]
    if mount["readonly"]:
        whole = overlay(
            scratch,
            layers,
            userns=plan["userns"],
            attributes=sc.MOUNT_ATTR_NODEV | sc.MOUNT_ATTR_RDONLY,
        )
    else:
        upper, work = scratch.directory(), scratch.directory()
        _look_like(layers[0], upper)
        whole = overlay(scratch, layers, upper=upper, work=work, userns=plan["userns"], mixed=True)
    for layer in layers:
        os.close(layer)
    if not mount["subpath"]:
        return whole
    part = paths.open_in_root(whole, mount["subpath"])
    return _part_of(scratch, whole, part)


def _part_of(scratch: Scratch, whole: int, part: int) -> int:
    """Return a mount of a place inside a mount; attached first, since Linux before 6.15 copies no other."""
    place = scratch.directory()
    sc.move_mount(whole, place)
    fd = sc.open_tree(part, "", sc.AT_EMPTY_PATH | sc.OPEN_TREE_CLONE)
    for item in (place, whole, part):
        os.close(item)
    return fd


def _look_like(model: int, directory: int) -> None:
    found = os.fstat(model)
    os.fchown(directory, found.st_uid, found.st_gid)
    os.fchmod(directory, stat.S_IMODE(found.st_mode))


def _tmpfs(_scratch: Scratch, _plan: dict[str, Any], mount: dict[str, Any]) -> int:
    options = [("mode", f"{mount['mode']:o}")]
    if mount["size"]:
        options.append(("size", str(mount["size"])))
    attributes = sc.MOUNT_ATTR_NOSUID | sc.MOUNT_ATTR_NODEV
    attributes |= 0 if mount["executable"] else sc.MOUNT_ATTR_NOEXEC
    attributes |= sc.MOUNT_ATTR_RDONLY if mount["readonly"] else 0
    return filesystem("tmpfs", options, attributes)


def _file_content(scratch: Scratch, _plan: dict[str, Any], mount: dict[str, Any]) -> int:
    content = binascii.a2b_base64(mount["content"]["base64"])
    name = scratch.file(content, mount["mode"], mount["uid"], mount["gid"])
    return scratch.copy(name, QUIET | (sc.MOUNT_ATTR_RDONLY if mount["readonly"] else 0))


SOURCES: dict[str, Callable[[Scratch, dict[str, Any], dict[str, Any]], int]] = {
    "Bind": _bind,
    "Overlay": _overlay,
    "Tmpfs": _tmpfs,
    "FileContent": _file_content,
    "DeviceNode": devicenodes.prepare,
}
