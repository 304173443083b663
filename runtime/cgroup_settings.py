"""
The bounds of a sandbox as files of control groups: values only, nothing is written here.

The two versions have other files and other units for the same bound. See
https://docs.kernel.org/admin-guide/cgroup-v1/ and https://docs.kernel.org/admin-guide/cgroup-v2.html.
"""

from .spec import Limits

_PERIOD = 100_000


def v1_settings(limits: Limits) -> dict[str, list[tuple[str, str]]]:
    """Return, per version 1 controller, the files to write and their values, in order."""
    made: dict[str, list[tuple[str, str]]] = {}
    if limits.memory or limits.memory_swap:
        made["memory"] = [("memory.limit_in_bytes", str(limits.memory))] if limits.memory else []
        swap = _v1_swap(limits)
        if swap:
            made["memory"].append(("memory.memsw.limit_in_bytes", str(swap)))
    if limits.cpus:
        made.setdefault("cpu", []).append(("cpu.cfs_period_us", str(_PERIOD)))
        made["cpu"].append(("cpu.cfs_quota_us", str(max(1000, int(limits.cpus * _PERIOD)))))
    if limits.cpu_shares:
        made.setdefault("cpu", []).append(("cpu.shares", str(limits.cpu_shares)))
    if limits.pids:
        made["pids"] = [("pids.max", str(limits.pids))]
    if limits.cpuset_cpus or limits.cpuset_mems:
        # A version 1 cpuset accepts no process before both are written; "" means as the parent.
        made["cpuset"] = [("cpuset.cpus", limits.cpuset_cpus), ("cpuset.mems", limits.cpuset_mems)]
    return made


def _v1_swap(limits: Limits) -> int:
    """Memory plus swap; like Docker, twice the memory when only that is bounded."""
    if limits.memory_swap:
        return limits.memory_swap
    return limits.memory * 2


def v2_settings(limits: Limits) -> dict[str, list[tuple[str, str]]]:
    """Return, per version 2 controller, the files to write and their values."""
    made: dict[str, list[tuple[str, str]]] = {}
    if limits.memory:
        made["memory"] = [("memory.max", str(limits.memory))]
        swap = limits.memory_swap - limits.memory if limits.memory_swap else limits.memory
        made["memory"].append(("memory.swap.max", "max" if limits.memory_swap < 0 else str(max(0, swap))))
    if limits.cpus:
        made.setdefault("cpu", []).append(("cpu.max", f"{max(1000, int(limits.cpus * _PERIOD))} {_PERIOD}"))
    if limits.cpu_shares:
        # 2..262144 mapped to 1..10000, the conversion the OCI runtimes agreed on.
        weight = 1 + (max(2, min(limits.cpu_shares, 262144)) - 2) * 9999 // 262142
        made.setdefault("cpu", []).append(("cpu.weight", str(weight)))
    if limits.pids:
        made["pids"] = [("pids.max", str(limits.pids))]
    if limits.cpuset_cpus or limits.cpuset_mems:
        made["cpuset"] = [
            (name, value)
            for name, value in (("cpuset.cpus", limits.cpuset_cpus), ("cpuset.mems", limits.cpuset_mems))
            if value
        ]
    return made
