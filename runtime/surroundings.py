"""
Facts of the machine that a sandbox is planned with: capabilities held, control groups, host resolver.

Read fresh where they change, cached where they cannot.
"""

import binascii
import functools
import os
from contextlib import suppress

from . import capabilities, cgroups, network, plan, seccomp, text
from .cgroup_hierarchies import Hierarchies, find_hierarchies
from .errors import NotPermitted
from .mounts import CgroupView
from .namespaces import IdMap
from .spec import NetworkMode, SandboxSpec


def of(
    spec: SandboxSpec,
    group: cgroups.ControlGroup,
    lease: network.Lease | None,
    id_map: IdMap,
    terminal_size: tuple[int, int],
) -> plan.Surroundings:
    """Return what the plan of one sandbox depends on besides its specification."""
    bounding, last = _own_capabilities()
    address, gateway = (lease.address, lease.bridge.gateway) if lease else ("", "127.0.0.1")
    return plan.Surroundings(
        id_map=id_map,
        bounding=bounding,
        last_capability=last,
        resolv_conf=text.resolv_conf(
            _host_resolv_conf(),
            keep_loopback=spec.network is NetworkMode.HOST,
            dns=spec.dns,
            search=spec.dns_search,
            options=spec.dns_options,
        ),
        hosts=text.hosts(spec.hostname, address, spec.extra_hosts, gateway=gateway),
        seccomp=_filter(spec, bounding),
        link=lease.link() if lease else None,
        cgroup_procs=group.procs(),
        cgroup_view=cgroup_view(group),
        thermal=_thermal(),
        terminal_size=terminal_size,
    )


def _own_capabilities() -> tuple[int, int]:
    with open("/proc/self/status", encoding="utf-8", errors="replace") as status:
        bounding = capabilities.bounding_mask(status.read())
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as last:
        return bounding, int(last.read())


@functools.cache
def hierarchies() -> Hierarchies:
    """Return where control groups are mounted; looked up once."""
    return find_hierarchies(_read("/proc/self/mountinfo"))


def flags_of(spec: SandboxSpec, group: cgroups.ControlGroup) -> int:
    """Return the namespaces of a sandbox in that group, as clone flags."""
    # Version 1 groups have no namespace worth having: their tree is shown by binds instead.
    return plan.flags_of(spec, cgroup_namespace=bool(group.unified and not hierarchies().v1))


def cgroup_view(group: cgroups.ControlGroup) -> CgroupView:
    """Return what a sandbox sees of its groups."""
    if group.unified and not hierarchies().v1:
        return CgroupView(unified=True)
    return CgroupView(binds=group.v1_directories)


@functools.cache
def _thermal() -> tuple[str, ...]:
    """Counters that tell sandboxes about each other's load; they exist per processor, so not in the list."""
    base = "/sys/devices/system/cpu"
    with suppress(OSError):
        names = [name for name in os.listdir(base) if name.startswith("cpu") and name[3:].isdigit()]
        paths = (f"{base}/{name}/thermal_throttle" for name in sorted(names))
        return tuple(path for path in paths if os.path.exists(path))
    return ()


@functools.cache
def _encoded_filter(machine: str, held: int) -> str:
    return binascii.b2a_base64(seccomp.program(machine, held), newline=False).decode()


def _filter(spec: SandboxSpec, bounding: int) -> str:
    """Return the seccomp filter, or "" when none is wanted; never silently none."""
    if spec.privileged or not spec.seccomp:
        return ""
    machine = os.uname().machine
    if not seccomp.supported(machine):
        raise NotPermitted(f"there is no seccomp profile for {machine}", "switch seccomp off")
    return _encoded_filter(machine, capabilities.mask_of(spec.capabilities) & bounding)


def _host_resolv_conf() -> str:
    found = _read("/etc/resolv.conf")
    if text.only_stub_resolver(found):
        return _read("/run/systemd/resolve/resolv.conf") or found
    return found


def _read(path: str) -> str:
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
    return ""
