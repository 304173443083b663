"""
The devices a user of a sandbox asks for: made where nodes can be made, the machine's own shown elsewhere.

Runs in the child. A node that is made belongs to nobody but this sandbox, so it gets the owner and mode that
were asked for; in a user namespace the kernel lets no node be made that could be opened (user_namespaces(7)),
and the machine's own keeps what it has. Everything else in a sandbox is mounted `nodev`.
"""

import errno
import os
import stat
from collections.abc import Sequence
from typing import Any

from . import syscalls as sc
from .accounts import Account
from .rootmount import Scratch, SetupProblem, operation

_TYPES = {"c": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
_ATTRIBUTES = sc.MOUNT_ATTR_NOSUID | sc.MOUNT_ATTR_NOEXEC


def prepare(scratch: Scratch, plan: dict[str, Any], mount: dict[str, Any]) -> int:
    """Return a detached mount of the device; what is made is noted in `mount` for `own`."""
    is_fifo = mount["type"] == "p"
    number = 0 if is_fifo else os.makedev(mount["major"], mount["minor"])
    if plan["userns"] and not is_fifo:
        return _shown(mount, number)
    name = scratch.node(_TYPES[mount["type"]], number, mount["mode"])
    mount["made"] = name
    return scratch.copy(name, _ATTRIBUTES)


def _shown(mount: dict[str, Any], number: int) -> int:
    fd = sc.open_tree(sc.AT_FDCWD, mount["source"], sc.OPEN_TREE_CLONE)
    found = os.fstat(fd)
    # What is there now may be another one than whoever asked has seen.
    if (stat.S_IFMT(found.st_mode), found.st_rdev) != (_TYPES[mount["type"]], number):
        raise SetupProblem(f"bind {mount['source']}", errno.ENODEV, "not the expected device")
    sc.mount_setattr(fd, _ATTRIBUTES)
    return fd


def own(scratch: Scratch, mounts: Sequence[dict[str, Any]], account: Account) -> None:
    """Give devices that were made their owners; who the program runs as is known by now."""
    for mount in mounts:
        if "made" in mount:
            with operation(f"change the owner of {mount['target']}"):
                uid = account.uid if mount["uid"] is None else mount["uid"]
                gid = account.gid if mount["gid"] is None else mount["gid"]
                os.chown(mount["made"], uid, gid, dir_fd=scratch.mount)
