"""
Control groups: bounds on a sandbox, and the certainty of ending all of it.

One directory per sandbox below `/pybuild` of every hierarchy needed, never in one that another program
manages, unless that was asked for: then below `pybuild` in that group of every hierarchy. Version 1
hierarchies are used where they carry the controllers, version 2 otherwise; on a hybrid machine the unified
hierarchy has no controllers but still kills. A bound that cannot be set raises, it is never dropped silently.
See cgroups(7) and https://docs.kernel.org/admin-guide/cgroup-v2.html.
"""

import errno
import fcntl
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress

from .cgroup_hierarchies import Hierarchies, read_file
from .cgroup_settings import v1_settings, v2_settings
from .errors import NotPermitted, SandboxError
from .spec import Limits

PARENT = "pybuild"
_REMOVE_TRIES = 200
_LOCK_TRIES = 100


def _write(path: str, value: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(value)


class ControlGroup:
    """
    The control groups of one sandbox; `close` removes them and may be called again.

    Args:
        identity: the name of the sandbox's own group.
        parent: the group that it is made in, as a path from the root of each hierarchy.
    """

    def __init__(self, identity: str, parent: str = PARENT) -> None:
        self._identity = identity
        self._parent = parent
        self._directories: dict[str, str] = {}
        self._locks: list[int] = []
        self.unified = ""

    @property
    def v1_directories(self) -> tuple[tuple[str, str], ...]:
        """The version 1 directories in use, as (controller, path)."""
        return tuple(sorted(self._directories.items()))

    def procs(self) -> tuple[str, ...]:
        """The files a process writes itself into; the unified group is entered by clone3 instead."""
        return tuple(f"{path}/cgroup.procs" for _, path in self.v1_directories)

    def limit_v1(self, hierarchies: Hierarchies, settings: Mapping[str, list[tuple[str, str]]]) -> None:
        """Create and bound version 1 groups; raise `NotPermitted` naming the bound that cannot be kept."""
        for controller, values in settings.items():
            place = hierarchies.v1.get(controller)
            if place is None:
                raise _no_controller(controller)
            try:
                if controller == "cpuset":
                    _inherit_cpusets(place, self._parent)
                self._directories[controller] = self._made(place)
                if controller == "cpuset":
                    _inherit_cpuset(f"{place}/{self._parent}", self._directories[controller])
                self._apply(self._directories[controller], values)
            except OSError as problem:
                raise self._refused(controller, problem) from problem

    def track(self, hierarchies: Hierarchies, settings: Mapping[str, list[tuple[str, str]]]) -> None:
        """
        Create a unified group and bound it.

        Without bounds, and where no group was asked for, a refusal only costs certainty, not the run.
        """
        try:
            if settings:
                _enable(hierarchies.unified, self._parent, settings)
            self.unified = self._made(hierarchies.unified)
            self._apply(self.unified, [item for values in settings.values() for item in values])
        except OSError as problem:
            if settings or self._parent != PARENT:
                raise self._refused(", ".join(settings), problem) from problem

    def _refused(self, controllers: str, problem: OSError) -> NotPermitted:
        if self._parent == PARENT:
            return _refused(controllers, problem)
        return NotPermitted(
            f"no control group can be made in {self._parent} {controllers and f'({controllers})'}".rstrip()
            + f": {problem.strerror}",
            "run as root, or delegate that group to this user (systemd: Delegate=yes)",
        )

    def _made(self, place: str) -> str:
        directory, lock = _make(f"{place}/{self._parent}", self._identity)
        self._locks.append(lock)
        return directory

    def _apply(self, directory: str, values: list[tuple[str, str]]) -> None:
        for name, value in values:
            if not value:
                continue
            try:
                _write(f"{directory}/{name}", value)
            except FileNotFoundError:
                # Swap accounting is a boot option; without swap there is nothing to bound.
                if "swap" not in name and "memsw" not in name:
                    raise

    def kill(self) -> None:
        """Kill every process of the sandbox at once, whatever it forks meanwhile."""
        if self.unified:
            with suppress(OSError):
                _write(f"{self.unified}/cgroup.kill", "1")

    def ran_out_of_memory(self) -> bool:
        """Tell whether the kernel killed a process here for memory."""
        memory = self._directories.get("memory")
        texts = [read_file(f"{memory}/memory.oom_control")] if memory else []
        if self.unified:
            texts.append(read_file(f"{self.unified}/memory.events"))
        counts = re.findall(r"^oom_kill (\d+)$", "\n".join(texts), re.MULTILINE)
        return any(int(count) for count in counts)

    def close(self) -> None:
        """Remove the groups; the kernel lets go of a dead process a little after it was reaped."""
        for directory in (*self._directories.values(), *([self.unified] if self.unified else [])):
            _remove(directory)
        while self._locks:
            os.close(self._locks.pop())
        self._directories.clear()
        self.unified = ""


def make(identity: str, hierarchies: Hierarchies, limits: Limits) -> ControlGroup:
    """
    Return the control groups of a new sandbox.

    Raise `NotPermitted` when a bound that was asked for cannot be kept here.
    """
    parent = f"{limits.parent.strip('/')}/{PARENT}" if limits.parent else PARENT
    if limits.parent:
        sweep(hierarchies, parent)
    group = ControlGroup(identity, parent)
    try:
        in_v1 = bool(hierarchies.v1)
        if in_v1:
            # The bounds of a parent hold in each hierarchy, so the sandbox has to be there in all of them.
            empty: dict[str, list[tuple[str, str]]] = {}
            if limits.parent:
                empty = {controller: [] for controller in hierarchies.v1}
            group.limit_v1(hierarchies, {**empty, **v1_settings(limits)})
        elif limits.needs_cgroup() and not hierarchies.unified:
            raise _no_controller("any")
        if hierarchies.unified:
            group.track(hierarchies, {} if in_v1 else v2_settings(limits))
    except SandboxError:
        group.close()
        raise
    return group


def sweep(hierarchies: Hierarchies, parent: str = PARENT) -> None:
    """
    Remove groups in the parent whose maker was killed before it could.

    A maker holds a lock on its groups, which the kernel drops with the process: process ids would say nothing
    about makers in other pid namespaces. What is left in the group is killed.
    """
    for place in {*hierarchies.v1.values(), hierarchies.unified} - {""}:
        with suppress(OSError), os.scandir(f"{place}/{parent}") as entries:
            for entry in entries:
                if entry.name.partition("-")[0].isdigit():
                    with suppress(OSError):
                        _sweep_one(entry.path)


def _sweep_one(directory: str) -> None:
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(FileNotFoundError):  # version 1 cannot kill; there, processes die with their parents
            kill = os.open("cgroup.kill", os.O_WRONLY | os.O_CLOEXEC, dir_fd=lock)
            os.write(kill, b"1")
            os.close(kill)
        _remove(directory)
    finally:
        os.close(lock)


def _make(parent: str, identity: str) -> tuple[str, int]:
    """Make a group and lock it; return its path and the descriptor that holds the lock."""
    directory = f"{parent}/{identity}"
    while True:
        os.makedirs(directory, mode=0o755)
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for _ in range(_LOCK_TRIES):  # bounded: whoever may read the directory could hold a lock on it
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            time.sleep(0.001)
        # Between the two, another process may have taken it for a leftover.
        if os.path.isdir(directory):
            return directory, lock
        os.close(lock)


def _inherit_cpuset(parent: str, child: str) -> None:
    """An empty version 1 cpuset accepts nobody: copy the parent's processors and memory nodes."""
    os.makedirs(child, mode=0o755, exist_ok=True)
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not read_file(f"{child}/{name}").strip():
            _write(f"{child}/{name}", read_file(f"{parent}/{name}").strip())


def _inherit_cpusets(place: str, parent: str) -> None:
    """The same for each group on the way to the parent."""
    above = place
    for part in parent.split("/"):
        _inherit_cpuset(above, f"{above}/{part}")
        above = f"{above}/{part}"


def _enable(unified: str, parent: str, settings: Mapping[str, list[tuple[str, str]]]) -> None:
    """Hand the controllers down to our groups; the kernel refuses what is not delegated to us."""
    os.makedirs(f"{unified}/{parent}", mode=0o755, exist_ok=True)
    parts = parent.split("/")
    for directory in (unified, *(f"{unified}/{'/'.join(parts[:n])}" for n in range(1, len(parts) + 1))):
        enabled = read_file(f"{directory}/cgroup.subtree_control").split()
        for controller in settings:
            if controller not in enabled:
                _write(f"{directory}/cgroup.subtree_control", f"+{controller}")


def _remove(directory: str) -> None:
    for _ in range(_REMOVE_TRIES):
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            return
        except OSError as problem:
            if problem.errno != errno.EBUSY:
                return
            time.sleep(0.002)
        else:
            return


def _no_controller(controller: str) -> NotPermitted:
    return NotPermitted(
        f"the limit needs the cgroup controller {controller}, which is not mounted here",
        "leave the limit out, or enable the controller",
    )


def _refused(controller: str, problem: OSError) -> NotPermitted:
    return NotPermitted(
        f"the limit could not be set with the cgroup controller {controller}: {problem.strerror}",
        "run as root, or delegate the controller to this user (systemd: Delegate=yes), or set no limit",
    )
