"""
The mounts of a sandbox, as values: what is put where, before anything is mounted.

Targets are absolute paths inside the sandbox. `ordered` and `check_target` are pure; the work is done by
`filesystems.py` on the other side of the fork.
"""

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import SandboxError

# Files that lxcfs-like tools replace one by one; nothing else inside /proc may be covered.
_PROC_ALLOWED = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo",
        "diskstats",
        "meminfo",
        "stat",
        "swaps",
        "uptime",
        "loadavg",
        "slabinfo",
        "sys/kernel/ns_last_pid",
        "sys/crypto/fips_enabled",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """
    A file or directory of the host, visible at `target`.

    `subpath` is resolved inside `source` and cannot leave it, whatever symlinks it meets. `devices` lets
    device nodes below it work, which is off everywhere else in a sandbox; `nosuid` and `noexec` take away
    what programs below it could gain, or that they can be executed.
    """

    source: str
    target: str
    subpath: str = ""
    readonly: bool = False
    recursive: bool = True
    devices: bool = False
    nosuid: bool = False
    noexec: bool = False

    def describe(self) -> str:
        """One line for people."""
        access = "ro" if self.readonly else "rw"
        return f"bind {posixpath.join(self.source, self.subpath.lstrip('/'))} on {self.target} ({access})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """
    A stack of directories, merged at `target`.

    `lowers` are ordered bottom to top. Writes are lost with the sandbox unless `readonly` refuses them.
    `subpath` selects a file or directory of the merged tree and cannot leave it.
    """

    lowers: tuple[str, ...]
    target: str
    subpath: str = ""
    readonly: bool = True

    def describe(self) -> str:
        """One line for people."""
        access = "ro" if self.readonly else "rw, discarded"
        return f"overlay of {len(self.lowers)} on {self.target} ({access})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tmpfs:
    """An empty file system in memory; `size` in bytes, 0 for the kernel's default (half the memory)."""

    target: str
    size: int = 0
    mode: int = 0o1777
    readonly: bool = False
    executable: bool = True

    def describe(self) -> str:
        """One line for people."""
        return f"tmpfs on {self.target} (mode {self.mode:o})"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContent:
    """One file whose bytes are given here; they live in memory only and leave no trace on a disk."""

    target: str
    content: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    readonly: bool = True

    def describe(self) -> str:
        """One line for people; never the content."""
        return f"file of {len(self.content)} bytes on {self.target} (mode {self.mode:o})"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceNode:
    """
    A device of the machine, or a FIFO, that programs can open at `target`.

    `type` is "c", "b" or "p" (a FIFO, which has no numbers). It is made anew with `mode` and owner, None
    being who the program runs as. Where that is impossible, in a user namespace, the machine's own at
    `source` is shown as it is; it must have the same type and numbers.
    """

    target: str
    source: str = ""
    type: str = "c"
    major: int = 0
    minor: int = 0
    mode: int = 0o666
    uid: int | None = None
    gid: int | None = None

    def describe(self) -> str:
        """One line for people."""
        numbers = "" if self.type == "p" else f" {self.major}:{self.minor}"
        return f"device {self.type}{numbers} on {self.target} (mode {self.mode:o})"


Mount = Bind | Overlay | Tmpfs | FileContent | DeviceNode
"""A filesystem operation that the user of a sandbox asks for."""


@dataclass(frozen=True, slots=True)
class Proc:
    """The process file system of the sandbox's own pid namespace."""

    target: str = "/proc"

    def describe(self) -> str:
        """One line for people."""
        return f"proc on {self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """/dev: six device nodes, a private devpts, /dev/shm, /dev/mqueue and the usual links."""

    target: str = "/dev"
    shm_size: int = 64 << 20
    every_device: bool = False

    def describe(self) -> str:
        """One line for people."""
        return f"devices on {self.target}" + (" (all of the host)" if self.every_device else "")


@dataclass(frozen=True, slots=True)
class Sysfs:
    """The device tree, read-only unless the sandbox is privileged."""

    target: str = "/sys"
    readonly: bool = True

    def describe(self) -> str:
        """One line for people."""
        return f"sysfs on {self.target}"


@dataclass(frozen=True, slots=True)
class CgroupView:
    """The sandbox's own control groups; `binds` are (name, directory) pairs on a version 1 host."""

    target: str = "/sys/fs/cgroup"
    binds: tuple[tuple[str, str], ...] = ()
    unified: bool = False

    def describe(self) -> str:
        """One line for people."""
        return f"cgroup on {self.target}"


FixedMount = Proc | Devices | Sysfs | CgroupView
"""A mount that every sandbox has."""


def clean(path: str) -> str:
    """Return `path` absolute and without `.`, `..` and doubled slashes."""
    return posixpath.normpath("/" + path.lstrip("/"))


def check_target(target: str) -> str:
    """Return the cleaned target; raise `SandboxError` for places that may not be covered."""
    cleaned = clean(target)
    if cleaned == "/":
        raise SandboxError(f"mount target {target!r} is the root of the sandbox")
    if "\0" in cleaned:
        raise SandboxError("mount target contains a NUL byte")
    inside_proc = cleaned == "/proc" or cleaned.startswith("/proc/")
    if inside_proc and cleaned not in _PROC_ALLOWED:
        raise SandboxError(f"mount target {target!r} lies inside /proc", hint="mount it somewhere else")
    return cleaned


def ordered(mounts: Iterable[Mount]) -> tuple[Mount, ...]:
    """Return the mounts parents first, otherwise as given; of several on one target the last wins."""
    last: dict[str, Mount] = {}
    for mount in mounts:
        target = check_target(mount.target)
        last.pop(target, None)
        last[target] = mount
    return tuple(mount for _, mount in sorted(last.items(), key=lambda item: item[0].count("/")))
