"""
The terminal of a sandbox: a pseudo terminal of its own devpts, so that no path leads to one of the host.

`open_inside` and `take` run in the child; the master goes to the parent as a descriptor.
"""

import fcntl
import os
import struct
import termios
from typing import TYPE_CHECKING

from . import syscalls as sc

if TYPE_CHECKING:
    from .filesystems import Builder

# From asm-generic/ioctls.h; Python's termios does not have them on every version.
_TIOCGPTN = 0x80045430
_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441


def open_inside(builder: "Builder", size: tuple[int, int], uid: int) -> int:
    """Make a terminal, put it on 0, 1, 2 and /dev/console, and return its master."""
    master = os.open("ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=builder.pts)
    unlock = struct.pack("@i", 0)
    fcntl.ioctl(master, _TIOCSPTLCK, unlock)
    resize(master, *size)
    slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if uid:
        os.fchown(slave, uid, -1)
    number = struct.unpack("@I", fcntl.ioctl(master, _TIOCGPTN, b"\0\0\0\0"))[0]
    copy = sc.open_tree(builder.pts, str(number), sc.OPEN_TREE_CLONE)
    builder.attach(copy, "/dev/console", directory=False)
    os.close(copy)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    os.close(slave)
    return master


def take() -> None:
    """Make standard input the controlling terminal of this session."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def resize(master: int, rows: int, columns: int) -> None:
    """Tell the terminal its size."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("@4H", rows, columns, 0, 0))
