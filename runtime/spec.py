"""
What a sandbox should be: one frozen value, decided completely before anything is created.

The JSON form is for people and for tests; the two directions are exact inverses.
"""

import json
from dataclasses import dataclass
from enum import StrEnum

from .capabilities import DEFAULT_CAPABILITIES
from .mounts import Mount
from .values import decode, encode


class NetworkMode(StrEnum):
    """Which network a sandbox sees."""

    NONE = "none"
    HOST = "host"
    PRIVATE = "private"


PLACES = (
    ("/proc", True),
    ("/dev", True),
    ("/sys", True),
    ("/etc/hostname", False),
    ("/etc/hosts", False),
    ("/etc/resolv.conf", False),
)
"""Where every sandbox has mounts of its own, each with whether it is a directory."""


@dataclass(frozen=True, slots=True)
class Place:
    """
    What is to be below the changes of a sandbox: a place for a mount, or a directory above one. It is root's.

    A directory that the image has as well must look as it does there.
    """

    path: str
    directory: bool
    mode: int
    mtime: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayRoot:
    """
    A root file system made of directories, merged by overlayfs.

    `lowers` are ordered **bottom to top**: the first is the base of the image, the last the newest layer.
    Changes land in `upper`; `work` must be an empty directory beside it. With `volatile` nothing is synced
    to disk and `work` cannot be used a second time. `lacks` says which of `PLACES` the merged directories do
    not have, with what is above them; None, or any mount that is asked for, lets the sandbox look for itself.
    """

    lowers: tuple[str, ...]
    upper: str
    work: str
    volatile: bool = False
    lacks: tuple[Place, ...] | None = None


@dataclass(frozen=True, slots=True)
class DirectoryRoot:
    """A root file system that is a plain directory, changed in place."""

    path: str


Rootfs = OverlayRoot | DirectoryRoot


@dataclass(frozen=True, slots=True)
class Ulimit:
    """One resource limit, named as in setrlimit(2) without the prefix and in lower case; -1 is unlimited."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    Bounds on what a sandbox may use; 0 or "" means no bound.

    `memory` and `memory_swap` (memory plus swap, -1 for no bound on swap) are bytes, `cpus` a number of
    processors, `cpu_shares` a weight with 1024 as the usual. `parent` is the control group, as a path from
    the root of each hierarchy, whose bounds hold for the sandbox as well.
    """

    memory: int = 0
    memory_swap: int = 0
    pids: int = 0
    cpus: float = 0.0
    cpu_shares: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    parent: str = ""
    shm_size: int = 64 << 20
    ulimits: tuple[Ulimit, ...] = ()

    def needs_cgroup(self) -> bool:
        """Tell whether a control group is needed to keep these bounds."""
        return bool(
            self.memory
            or self.memory_swap
            or self.pids
            or self.cpus
            or self.cpu_shares
            or self.cpuset_cpus
            or self.cpuset_mems
            or self.parent
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """
    A program and the surroundings it runs in.

    `env` holds `NAME=value` strings, of which the last of a name wins. `user` is `name|uid[:group|gid]`,
    looked up in the root file system itself; `groups` are ids of groups that it is in besides. `extra_hosts`
    holds `name:address` strings. `privileged` keeps
    every capability this process has, and switches seccomp, masked paths and read-only paths off.
    """

    argv: tuple[str, ...]
    rootfs: Rootfs
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: str = ""
    groups: tuple[int, ...] = ()
    mounts: tuple[Mount, ...] = ()
    hostname: str = "pybuild"
    network: NetworkMode = NetworkMode.NONE
    limits: Limits = Limits()
    tty: bool = False
    readonly_root: bool = False
    readonly_etc: bool = False
    capabilities: tuple[str, ...] = DEFAULT_CAPABILITIES
    seccomp: bool = True
    no_new_privileges: bool = False
    privileged: bool = False
    extra_hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the specification as JSON text."""
        return json.dumps(encode(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "SandboxSpec":
        """Return the specification that `to_json` wrote; raise `ValueError` for anything else."""
        value = decode(json.loads(text), _KINDS)
        if not isinstance(value, cls):
            raise ValueError("not a sandbox specification")  # noqa: TRY004 - malformed text, as `decode` reports it
        return value


def _kinds() -> dict[str, type]:
    from .mounts import Bind, DeviceNode, FileContent, Overlay, Tmpfs

    parts = (
        SandboxSpec,
        OverlayRoot,
        Place,
        DirectoryRoot,
        Ulimit,
        Limits,
        Bind,
        Overlay,
        Tmpfs,
        FileContent,
        DeviceNode,
    )
    return {part.__name__: part for part in parts}


_KINDS = _kinds()
