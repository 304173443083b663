"""
Everything that is mounted below the root of a sandbox: /proc, /dev, /sys, the asked-for mounts, the masks.

Runs in the child. Every target is opened inside the root first and the mount is moved onto that
descriptor, so no symlink of an image can make a mount land on the host. Every file system but the six
device nodes is `nodev`: a node made with mknod inside a sandbox exists but cannot be opened.
"""

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from . import paths
from . import syscalls as sc
from .rootmount import Scratch, SetupProblem, filesystem, operation
from .sources import QUIET, SOURCES

_NODES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)


class Builder:
    """What the mounts of one sandbox need to know of each other."""

    def __init__(self, plan: dict[str, Any], scratch: Scratch) -> None:
        self.plan = plan
        self.scratch = scratch
        self.root = -1
        self.proc = -1
        self.pts = -1
        self.stubs: list[dict[str, Any]] = []
        self._proc_device = -1
        self._pending: dict[str, int] = {}

    def prepare(self, mounts: list[dict[str, Any]]) -> None:
        """Make asked-for mounts, attached nowhere yet."""
        for mount in mounts:
            with operation(f"mount on {mount['target']}"):
                self._pending[mount["target"]] = SOURCES[mount["kind"]](self.scratch, self.plan, mount)

    def targets(self) -> list[tuple[str, bool]]:
        """Return where the prepared mounts will go, each with whether it is a directory."""
        return [(target, stat.S_ISDIR(os.fstat(fd).st_mode)) for target, fd in self._pending.items()]

    def fixed(self, mounts: list[dict[str, Any]]) -> None:
        """Attach the file systems that every sandbox has."""
        for mount in mounts:
            with operation(f"mount {mount['kind'].lower()} on {mount['target']}"):
                _FIXED[mount["kind"]](self, mount)

    def attach_prepared(self, mounts: list[dict[str, Any]]) -> None:
        """Attach what `prepare` made, in the order given."""
        for mount in mounts:
            with operation(f"mount on {mount['target']}"):
                fd = self._pending.pop(mount["target"])
                self.attach(fd, mount["target"], directory=stat.S_ISDIR(os.fstat(fd).st_mode))
                os.close(fd)

    def attach(self, fd: int, target: str, *, directory: bool) -> None:
        """Move a detached mount onto a place inside the root, which is made when it is missing."""
        try:
            place = paths.open_in_root(self.root, target)
        except FileNotFoundError:
            self._make(target, directory=directory)
            place = paths.open_in_root(self.root, target)
        found = os.fstat(place)
        if found.st_dev == self._proc_device and target not in self.plan["fixed_targets"]:
            raise SetupProblem(f"mount on {target}", errno.EPERM, "the target lies inside /proc")
        if stat.S_ISDIR(found.st_mode) != directory:
            number = errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.ENOTDIR
            raise SetupProblem(f"mount on {target}", number, "a directory and a file cannot cover each other")
        if os.path.samestat(found, os.fstat(self.root)) and _mount_id(place) == _mount_id(self.root):
            raise SetupProblem(f"mount on {target}", errno.EBUSY, "the target is the root of the sandbox")
        sc.move_mount(fd, place)
        os.close(place)

    def _make(self, target: str, *, directory: bool) -> None:
        """Make a missing target, and remember what was made in the root itself, to be removed later."""
        final = paths.chase(self.root, target)
        before: dict[str, tuple[int, int]] = {}
        for parent in ["/", *paths.ancestors(final)]:
            with suppress(FileNotFoundError):
                fd = paths.open_in_root(self.root, parent)
                found = os.fstat(fd)
                if _mount_id(fd) == _mount_id(self.root):
                    before[parent] = (found.st_atime_ns, found.st_mtime_ns)
                else:
                    before.clear()
                os.close(fd)
        made = paths.make_in_root(self.root, final, directory=directory, mode=0o755, owner=None)
        if made and before:
            parent = list(before)[-1]
            self.stubs.append({"made": made, "parent": parent, "times": before[parent]})

    def proc_mount(self, mount: dict[str, Any]) -> None:
        """Mount the process file system of this pid namespace."""
        self.proc = filesystem("proc", [], QUIET)
        self.attach_fixed(self.proc, mount["target"])
        self._proc_device = os.fstat(self.proc).st_dev

    def sysfs(self, mount: dict[str, Any]) -> None:
        """Mount the device tree, or show the machine's where only that is allowed."""
        attributes = QUIET | (sc.MOUNT_ATTR_RDONLY if mount["readonly"] else 0)
        try:
            fd = filesystem("sysfs", [], attributes)
        except SetupProblem as problem:
            # Only the owner of the network namespace may mount it; then the host's is shown instead.
            if problem.number != errno.EPERM:
                raise
            fd = sc.open_tree(sc.AT_FDCWD, "/sys", sc.OPEN_TREE_CLONE | sc.AT_RECURSIVE)
            sc.mount_setattr(fd, attributes, recursive=True)
        self.attach_fixed(fd, mount["target"])

    def cgroup(self, mount: dict[str, Any]) -> None:
        """Show the sandbox its own control groups, read-only."""
        if mount["unified"]:
            with suppress(SetupProblem):
                fd = filesystem("cgroup2", [], QUIET | sc.MOUNT_ATTR_RDONLY)
                self.attach_fixed(fd, mount["target"])
            return
        place = filesystem("tmpfs", [("mode", "0755")], QUIET)
        for name, _ in mount["binds"]:
            os.mkdir(name, 0o755, dir_fd=place)
        self.attach_fixed(place, mount["target"])
        for name, source in mount["binds"]:
            fd = sc.open_tree(sc.AT_FDCWD, source, sc.OPEN_TREE_CLONE)
            sc.mount_setattr(fd, QUIET | sc.MOUNT_ATTR_RDONLY)
            self.attach_fixed(fd, f"{mount['target']}/{name}")
        sc.mount_setattr(place, sc.MOUNT_ATTR_RDONLY)

    def devices(self, mount: dict[str, Any]) -> None:
        """Fill /dev; the nodes are mounts of their own, since the rest of it is `nodev`."""
        target = mount["target"]
        every = mount["every_device"]
        safe = sc.MOUNT_ATTR_NOSUID | sc.MOUNT_ATTR_STRICTATIME
        dev = filesystem(
            "tmpfs", [("mode", "0755"), ("size", "65536k")], safe | (0 if every else sc.MOUNT_ATTR_NODEV)
        )
        for name, link in _LINKS:
            os.symlink(link, name, dir_fd=dev)
        for name in ("pts", "shm", "mqueue"):
            os.mkdir(name, 0o755, dir_fd=dev)
        self.attach_fixed(dev, target)
        for name, major, minor in _NODES:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666, dir_fd=dev))
            self.attach_fixed(self._node(name, major, minor), f"{target}/{name}", directory=False)
        if every:
            self._host_devices(dev)
        options = [("ptmxmode", "0666"), ("mode", "0620")]
        # Group 5 is tty by convention; with a single mapped id the kernel would refuse to name it.
        options += [] if self.plan["single_id"] else [("gid", "5")]
        self.pts = filesystem("devpts", options, sc.MOUNT_ATTR_NOSUID | sc.MOUNT_ATTR_NOEXEC)
        self.attach_fixed(self.pts, f"{target}/pts")
        shm = filesystem("tmpfs", [("mode", "1777"), ("size", str(mount["shm_size"]))], QUIET)
        self.attach_fixed(shm, f"{target}/shm")
        self.attach_fixed(filesystem("mqueue", [], QUIET), f"{target}/mqueue")

    def _node(self, name: str, major: int, minor: int) -> int:
        if not self.plan["userns"]:
            made = self.scratch.node(stat.S_IFCHR, os.makedev(major, minor), 0o666)
            return self.scratch.copy(made, sc.MOUNT_ATTR_NOSUID | sc.MOUNT_ATTR_NOEXEC)
        fd = sc.open_tree(sc.AT_FDCWD, f"/dev/{name}", sc.OPEN_TREE_CLONE)
        # An image that brought its own "null" must not be mistaken for the device.
        if os.fstat(fd).st_rdev != os.makedev(major, minor):
            raise SetupProblem(f"bind /dev/{name}", errno.ENODEV, "not the expected device")
        sc.mount_setattr(fd, sc.MOUNT_ATTR_NOSUID | sc.MOUNT_ATTR_NOEXEC)
        return fd

    def _host_devices(self, dev: int) -> None:
        for entry in os.listdir("/dev"):
            found = os.lstat(f"/dev/{entry}")
            if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
                with suppress(FileExistsError, PermissionError):
                    os.mknod(entry, found.st_mode, found.st_rdev, dir_fd=dev)

    def attach_fixed(self, fd: int, target: str, *, directory: bool = True) -> None:
        """Move a mount that every sandbox has onto its place, which is made when it is missing."""
        try:
            place = paths.open_in_root(self.root, target)
        except FileNotFoundError:
            self._make(target, directory=directory)
            place = paths.open_in_root(self.root, target)
        sc.move_mount(fd, place)
        os.close(place)

    def hide(self, masked: list[str], readonly: list[str]) -> None:
        """Cover what would tell about, or change, the host: Docker's masked and read-only paths."""
        for path in readonly:
            with suppress(FileNotFoundError, NotADirectoryError), operation_unless_missing(f"protect {path}"):
                place = paths.open_in_root(self.root, path)
                fd = sc.open_tree(place, "", sc.AT_EMPTY_PATH | sc.OPEN_TREE_CLONE | sc.AT_RECURSIVE)
                sc.mount_setattr(fd, sc.MOUNT_ATTR_RDONLY, recursive=True)
                sc.move_mount(fd, place)
                os.close(fd)
                os.close(place)
        empty = self.scratch.directory(0o555)
        null = paths.open_in_root(self.root, "/dev/null")
        for path in masked:
            with suppress(FileNotFoundError, NotADirectoryError), operation_unless_missing(f"mask {path}"):
                place = paths.open_in_root(self.root, path)
                cover = empty if stat.S_ISDIR(os.fstat(place).st_mode) else null
                fd = sc.open_tree(cover, "", sc.AT_EMPTY_PATH | sc.OPEN_TREE_CLONE)
                sc.mount_setattr(fd, sc.MOUNT_ATTR_RDONLY)
                sc.move_mount(fd, place)
                os.close(fd)
                os.close(place)
        os.close(empty)
        os.close(null)


class operation_unless_missing:  # noqa: N801 - reads as a statement
    """Like `operation`, but lets an absent path through: a kernel without the file has nothing to hide."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        if isinstance(problem, OSError) and not isinstance(problem, FileNotFoundError | NotADirectoryError):
            raise SetupProblem(self._name, problem.errno or 0) from problem


def _mount_id(fd: int) -> str:
    with open(f"/proc/self/fdinfo/{fd}", "rb") as info:
        for line in info:
            if line.startswith(b"mnt_id:"):
                return line.decode()
    return ""


_FIXED: dict[str, Callable[[Builder, dict[str, Any]], None]] = {
    "Proc": Builder.proc_mount,
    "Devices": Builder.devices,
    "Sysfs": Builder.sysfs,
    "CgroupView": Builder.cgroup,
}
