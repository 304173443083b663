"""
The hierarchies of control groups that this machine has mounted, and which controllers they carry.

See cgroups(7), "Cgroups v1 and v2".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_V1_CONTROLLERS = ("memory", "cpu", "pids", "cpuset")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchies:
    """Where control groups are mounted: version 1 controllers by name, and the unified tree if any."""

    v1: Mapping[str, str]
    unified: str = ""
    unified_controllers: tuple[str, ...] = ()

    def describe(self) -> str:
        """One line for people."""
        if self.v1 and self.unified:
            return f"version 1 ({', '.join(sorted(self.v1))}) and a unified tree for tracking"
        if self.v1:
            return f"version 1 ({', '.join(sorted(self.v1))})"
        return f"version 2 ({', '.join(self.unified_controllers)})" if self.unified else "none"


def find_hierarchies(mountinfo: str) -> Hierarchies:
    """Return the hierarchies named in the text of /proc/self/mountinfo."""
    v1: dict[str, str] = {}
    unified = ""
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        if not separator:
            continue
        place = re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), before.split()[4])
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2" and not unified:
            unified = place
        elif kind == "cgroup":
            v1.update({name: place for name in options.split(",") if name in _V1_CONTROLLERS})
    return Hierarchies(v1=v1, unified=unified, unified_controllers=_controllers(unified) if unified else ())


def _controllers(directory: str) -> tuple[str, ...]:
    return tuple(read_file(f"{directory}/cgroup.controllers").split())


def read_file(path: str) -> str:
    """The text of a file of a control group, "" when it cannot be read."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""
