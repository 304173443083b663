"""
From a specification to the plan the child carries out: everything decided, nothing done.

A plan is a JSON object; `describe` shows it to people. Which paths are hidden and which flags are set is
the same as with Docker, whose choices are documented at
https://docs.docker.com/engine/security/ and in the OCI runtime specification.
"""

import resource
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from . import capabilities, mounts, text
from . import syscalls as sc
from .errors import NotPermitted, SandboxError
from .mounts import CgroupView, Devices, FileContent, FixedMount, Mount, Proc, Sysfs
from .namespaces import IdMap
from .spec import NetworkMode, OverlayRoot, Rootfs, SandboxSpec
from .values import encode

MASKED = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_GROUND = ("fixed", "masked", "new_network", "privileged", "readonly", "single_id", "sysctls", "userns")
_LARGEST_GROUP = 2147483647


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a plan depends on besides the specification: facts of the machine and of this sandbox."""

    id_map: IdMap
    bounding: int
    last_capability: int
    resolv_conf: str
    hosts: str
    seccomp: str = ""
    link: dict[str, Any] | None = None
    cgroup_procs: tuple[str, ...] = ()
    cgroup_view: CgroupView | None = None
    thermal: tuple[str, ...] = ()
    terminal_size: tuple[int, int] = (24, 80)


def make(spec: SandboxSpec, around: Surroundings) -> dict[str, Any]:
    """Return the plan for a specification; raise `SandboxError` for one that cannot be kept."""
    _check(spec)
    _check_groups(spec, around.id_map)
    kept = _capabilities(spec, around)
    userns = around.id_map.kind != "root"
    asked = mounts.ordered([*_etc_files(spec, around), *spec.mounts])
    return {
        "argv": list(spec.argv),
        "env": _environment(spec.env),
        "cwd": mounts.clean(spec.cwd),
        "user": spec.user,
        "groups": list(spec.groups),
        "hostname": spec.hostname,
        "root": encode(_root(spec)),
        "userns": userns,
        "single_id": around.id_map.kind == "single",
        "setgroups": around.id_map.setgroups,
        "new_network": spec.network is not NetworkMode.HOST,
        "link": around.link,
        "sysctls": [] if spec.network is NetworkMode.HOST else _sysctls(around),
        "fixed": [encode(mount) for mount in fixed_mounts(spec, around)],
        "cgroup_view": None if around.cgroup_view is None else encode(around.cgroup_view),
        "mounts": [encode(mount) for mount in asked],
        "fixed_targets": [mount.target for mount in asked if mount.target.startswith(("/proc/", "/sys/"))],
        "masked": [] if spec.privileged else [*MASKED, *around.thermal],
        "readonly": [] if spec.privileged else list(READONLY),
        "capabilities": kept,
        "last_capability": around.last_capability,
        "privileged": spec.privileged,
        "seccomp": "" if spec.privileged or not spec.seccomp else around.seccomp,
        "no_new_privileges": spec.no_new_privileges,
        "rlimits": _rlimits(spec),
        "readonly_root": spec.readonly_root,
        "tty": list(around.terminal_size) if spec.tty else None,
        "own_stdio": True,
        "cgroup_procs": list(around.cgroup_procs),
    }


def _root(spec: SandboxSpec) -> Rootfs:
    root = spec.rootfs
    if isinstance(root, OverlayRoot) and spec.mounts:
        return replace(root, lacks=None)  # there are more places than those
    return root


def ground_of(
    plan: dict[str, Any], cgroup_procs: Sequence[str], cgroup_view: CgroupView | None
) -> dict[str, Any]:
    """Return the part of a plan that is the same for sandboxes of one kind, for one in another group."""
    view = None if cgroup_view is None else encode(cgroup_view)
    ground = {name: plan[name] for name in _GROUND}
    return {**ground, "cgroup_procs": list(cgroup_procs), "cgroup_view": view}


def flags_of(spec: SandboxSpec, *, cgroup_namespace: bool) -> int:
    """Return the namespaces of a specification as clone flags."""
    flags = sc.CLONE_NEWNS | sc.CLONE_NEWPID | sc.CLONE_NEWIPC | sc.CLONE_NEWUTS
    if spec.network is not NetworkMode.HOST:
        flags |= sc.CLONE_NEWNET
    if cgroup_namespace:
        flags |= sc.CLONE_NEWCGROUP
    return flags


def fixed_mounts(spec: SandboxSpec, around: Surroundings) -> list[FixedMount]:
    """Return the file systems that every sandbox has, in the order they are mounted."""
    return [
        Proc(),
        Devices(shm_size=spec.limits.shm_size, every_device=spec.privileged and around.id_map.kind == "root"),
        Sysfs(readonly=not spec.privileged),
    ]


def describe(spec: SandboxSpec, around: Surroundings) -> list[str]:
    """Return the plan in lines for people, in the order things happen."""
    asked: Sequence[Mount] = mounts.ordered([*_etc_files(spec, around), *spec.mounts])
    view = [] if around.cgroup_view is None else [around.cgroup_view]
    lines = [mount.describe() for mount in (*fixed_mounts(spec, around), *view, *asked)]
    names = ", ".join(capabilities.names_of(_capabilities(spec, around))) or "none"
    lines += [f"network {spec.network.value}", f"capabilities {names}"]
    lines.append("seccomp " + ("on" if spec.seccomp and not spec.privileged else "off"))
    lines += [f"groups {', '.join(map(str, spec.groups))}"] if spec.groups else []
    return [*lines, f"run {' '.join(spec.argv)} as {spec.user or 'root'} in {spec.cwd}"]


def _sysctls(around: Surroundings) -> list[tuple[str, str]]:
    """What makes ping and port 80 work for users other than root; harmless where the network is its own."""
    # Every group that exists here; the kernel refuses a range with others.
    last = min(_LARGEST_GROUP, around.id_map.groups - 1)
    return [("net/ipv4/ping_group_range", f"0 {last}"), ("net/ipv4/ip_unprivileged_port_start", "0")]


def _check(spec: SandboxSpec) -> None:
    if not spec.argv:
        raise SandboxError("no program was given")
    if not spec.cwd.startswith("/"):
        raise SandboxError(f"working directory {spec.cwd!r} is not absolute")
    if any("\0" in item for item in (*spec.argv, *spec.env, spec.cwd)):
        raise SandboxError("an argument or variable contains a NUL byte")
    if len(spec.hostname) > 64:
        raise SandboxError(f"host name {spec.hostname!r} is longer than 64 characters")


def _check_groups(spec: SandboxSpec, id_map: IdMap) -> None:
    """Refuse groups that the kernel would: not all are there in a user namespace, or none can be set."""
    beyond = [group for group in spec.groups if not id_map.setgroups or group >= id_map.groups]
    if beyond:
        raise NotPermitted(
            f"group {beyond[0]} cannot be joined in {id_map.describe()}",
            "run as root, or give this user a range of ids in /etc/subuid and /etc/subgid",
        )


def _environment(entries: Sequence[str]) -> list[str]:
    last: dict[str, str] = {}
    for entry in entries:
        name, separator, value = entry.partition("=")
        if not separator or not name:
            raise SandboxError(f"environment entry {entry!r} is not NAME=value")
        last[name] = value
    return [f"{name}={value}" for name, value in last.items()]


def _capabilities(spec: SandboxSpec, around: Surroundings) -> int:
    if spec.privileged:
        return around.bounding
    wanted = capabilities.mask_of(spec.capabilities)
    default = capabilities.mask_of(capabilities.DEFAULT_CAPABILITIES)
    beyond = wanted & ~around.bounding & ~default
    if beyond:
        names = ", ".join(capabilities.names_of(beyond))
        raise NotPermitted(f"capability {names} is not held by this process", "run with more privilege")
    return wanted & around.bounding


def _etc_files(spec: SandboxSpec, around: Surroundings) -> list[Mount]:
    contents = (
        ("/etc/resolv.conf", around.resolv_conf),
        ("/etc/hosts", around.hosts),
        ("/etc/hostname", text.hostname(spec.hostname)),
    )
    return [
        FileContent(target=target, content=content.encode(), readonly=spec.readonly_etc)
        for target, content in contents
    ]


def _rlimits(spec: SandboxSpec) -> list[tuple[str, int, int, int]]:
    made = []
    for limit in spec.limits.ulimits:
        number = getattr(resource, f"RLIMIT_{limit.name.upper()}", None)
        if number is None:
            raise SandboxError(f"unknown ulimit {limit.name!r}")
        made.append((limit.name, number, limit.soft, limit.hard))
    return made
