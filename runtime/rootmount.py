"""
The root file system of a sandbox: an overlay or a directory, attached where only the sandbox sees it.

Runs in the child, in its own mount namespace, with the host's files still visible. Mount targets that the
image lacks are provided by an extra layer in memory directly below the upper directory, so that neither
the upper directory nor any time stamp in it changes for the sake of a mount. See
https://docs.kernel.org/filesystems/overlayfs.html.
"""

import errno
import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from . import paths
from . import syscalls as sc

_OPTIONS = (("index", "off"), ("metacopy", "off"))
_SAFE = sc.MOUNT_ATTR_NODEV


class SetupProblem(Exception):
    """An operation that the kernel refused, with what its log said about it; `SetupFailed` in the parent."""

    def __init__(self, operation: str, number: int, detail: str = "") -> None:
        super().__init__(operation)
        self.operation = operation
        self.number = number
        self.detail = detail


@contextmanager
def operation(name: str) -> Iterator[None]:
    """Name what is being done, so that an errno is told together with it."""
    try:
        yield
    except OSError as problem:
        where = problem.filename if isinstance(problem.filename, str) else ""
        raise SetupProblem(name, problem.errno or 0, where) from problem


def filesystem(kind: str, options: Sequence[tuple[str, str]], attributes: int = 0) -> int:
    """Make a file system and return a descriptor of its mount, attached nowhere; raise `SetupProblem`."""
    fd = -1
    try:
        fd = sc.fsopen(kind)
        for key, value in (("source", kind), *options):
            if value:
                sc.fsconfig_string(fd, key, value)
            else:
                sc.fsconfig_flag(fd, key)
        sc.fsconfig_create(fd)
        return sc.fsmount(fd, attributes)
    except OSError as problem:
        detail = _log_of(fd) if fd >= 0 else ""
        raise SetupProblem(f"mount {kind}", problem.errno or 0, detail or str(problem.filename)) from problem
    finally:
        if fd >= 0:
            os.close(fd)


def _log_of(fd: int) -> str:
    lines = []
    # The kernel answers ENODATA when its log is empty, and one line per read before that.
    with suppress(OSError):
        while line := os.read(fd, 4096):
            lines.append(line.decode(errors="replace").strip())
    return "; ".join(lines)


def overlay(
    scratch: "Scratch",
    layers: Sequence[int],
    *,
    upper: int = -1,
    work: int = -1,
    userns: bool,
    volatile: bool = False,
    mixed: bool = False,
    attributes: int = _SAFE,
) -> int:
    """
    Return a detached overlay of directories given as descriptors, the **topmost first**.

    Descriptors instead of paths because an option is limited to 255 bytes and a path may contain the
    separators `:` and `,`. `mixed` says that a layer lies on another file system than the rest.
    """
    if len(layers) == 1 and upper < 0:
        return _single(layers[0], attributes)
    options = [("lowerdir+", _named(layer)) for layer in layers]
    if upper >= 0:
        options += [("upperdir", _named(upper)), ("workdir", _named(work))]
    options += _OPTIONS
    # userxattr already forbids redirects and refuses to be given any other choice.
    options.append(("userxattr", "") if userns else ("redirect_dir", "off"))
    if volatile and upper >= 0:
        options.append(("volatile", ""))
    if mixed:
        # Without it a file changes its inode number when it is first written to.
        options.append(("xino", "on"))
    try:
        return filesystem("overlay", options, attributes)
    except SetupProblem as problem:
        if problem.number != errno.EINVAL or "lowerdir+" not in problem.detail:
            raise
    return _overlay_by_path(scratch, options, attributes)


def _single(layer: int, attributes: int) -> int:
    # overlayfs refuses one lower directory without an upper one; a read-only copy of it is the same thing.
    fd = sc.open_tree(layer, "", sc.AT_EMPTY_PATH | sc.OPEN_TREE_CLONE)
    sc.mount_setattr(fd, attributes | sc.MOUNT_ATTR_RDONLY)
    return fd


def _named(fd: int) -> str:
    return f"/proc/self/fd/{fd}"


def _overlay_by_path(scratch: "Scratch", options: Sequence[tuple[str, str]], attributes: int) -> int:
    """Linux before 6.5: one option string for mount(2), short because every layer is a descriptor."""
    lowers = ":".join(value for key, value in options if key == "lowerdir+")
    rest = [f"{key}={value}" if value else key for key, value in options if key != "lowerdir+"]
    place = scratch.place()
    with operation("mount overlay"):
        sc.mount("overlay", place, "overlay", 0, ",".join([f"lowerdir={lowers}", *rest]))
        fd = sc.open_tree(sc.AT_FDCWD, place, sc.OPEN_TREE_CLONE)
        sc.umount2(place, sc.MNT_DETACH)
        sc.mount_setattr(fd, attributes)
    return fd


class Scratch:
    """A file system in memory that only the sandbox's own mounts are made from."""

    def __init__(self) -> None:
        self.mount = filesystem("tmpfs", [("mode", "0700")], sc.MOUNT_ATTR_NOSUID)
        self._count = 0

    def attach(self, anchor: int) -> None:
        """Attach it where the root will be: before Linux 6.15 only attached mounts can be copied."""
        sc.move_mount(self.mount, anchor)

    def directory(self, mode: int = 0o755) -> int:
        """Return a descriptor of a new directory."""
        name = self._name()
        os.mkdir(name, dir_fd=self.mount)
        os.chmod(name, mode, dir_fd=self.mount)
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.mount)

    def place(self) -> str:
        """Return the path of a new directory, good as long as this process lives."""
        name = self._name()
        os.mkdir(name, dir_fd=self.mount)
        return f"/proc/self/fd/{self.mount}/{name}"

    def file(self, content: bytes, mode: int, uid: int, gid: int) -> str:
        """Write a file and return its name."""
        name = self._name()
        fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=self.mount)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(fd, view) :]
            os.fchown(fd, uid, gid)
            os.fchmod(fd, mode)
        finally:
            os.close(fd)
        return name

    def node(self, kind: int, device: int, mode: int) -> str:
        """Make a device node and return its name."""
        name = self._name()
        os.mknod(name, kind | mode, device, dir_fd=self.mount)
        os.chmod(name, mode, dir_fd=self.mount)
        return name

    def copy(self, name: str, attributes: int) -> int:
        """Return a detached mount of one entry."""
        fd = sc.open_tree(self.mount, name, sc.OPEN_TREE_CLONE)
        sc.mount_setattr(fd, attributes)
        return fd

    def _name(self) -> str:
        self._count += 1
        return str(self._count)


class Root:
    """The layers of a root file system, opened before anything covers them."""

    def __init__(self, root: dict[str, Any], plan: dict[str, Any]) -> None:
        self._root = root
        self._userns = plan["userns"]
        self._attributes = 0 if plan["privileged"] else _SAFE
        if root["kind"] == "DirectoryRoot":
            self.anchor = _open_directory(root["path"])
        else:
            self._lowers = [_open_directory(path) for path in root["lowers"][::-1]]
            self._work = _open_directory(root["work"])
            self.anchor = _open_directory(root["upper"])
        with operation("copy the mount of the root file system"):
            self._copy = -1
            if root["kind"] == "DirectoryRoot":
                flags = sc.AT_EMPTY_PATH | sc.OPEN_TREE_CLONE | sc.AT_RECURSIVE
                self._copy = sc.open_tree(self.anchor, "", flags)

    def attach(self, targets: Sequence[tuple[str, bool]], scratch: "Scratch") -> int:
        """
        Mount the root over its own directory, and return a descriptor of it.

        `targets` are the places about to be mounted on, each with whether it is a directory.
        """
        fd = self._copy if self._copy >= 0 else self._overlay(targets, scratch)
        with operation("attach the root file system"):
            if self._copy >= 0 and self._attributes:
                sc.mount_setattr(fd, self._attributes, recursive=True)
            sc.move_mount(fd, self.anchor)
        return fd

    def _overlay(self, targets: Sequence[tuple[str, bool]], scratch: "Scratch") -> int:
        with operation("look into the root file system"):
            if self._root["lacks"] is not None:
                init = _layer_of(self._root["lacks"], scratch)
            else:
                probe = overlay(scratch, [self.anchor, *self._lowers], userns=self._userns)
                init = _init_layer(probe, targets, scratch)
                os.close(probe)
        return overlay(
            scratch,
            [*init, *self._lowers],
            upper=self.anchor,
            work=self._work,
            userns=self._userns,
            volatile=self._root["volatile"],
            mixed=bool(init),
            attributes=self._attributes,
        )


def _open_directory(path: str) -> int:
    with operation(f"open {path}"):
        return os.open(path, sc.O_PATH | os.O_DIRECTORY)


def _layer_of(places: Sequence[dict[str, Any]], scratch: Scratch) -> list[int]:
    """Return a layer with places that are known to be wanted, parents first."""
    if not places:
        return []
    layer = scratch.directory()
    for place in places:
        name = place["path"].lstrip("/")
        if place["directory"]:
            os.mkdir(name, dir_fd=layer)
        else:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, dir_fd=layer))
    for place in reversed(places):
        name = place["path"].lstrip("/")
        os.chmod(name, place["mode"], dir_fd=layer)
        os.utime(name, (place["mtime"], place["mtime"]), dir_fd=layer)
    return [layer]


def _init_layer(root: int, targets: Sequence[tuple[str, bool]], scratch: Scratch) -> list[int]:
    """Return a layer with the mount targets that `root` lacks, or nothing when it has them all."""
    missing = [(path, directory) for path, directory in targets if not _exists(root, path)]
    if not missing:
        return []
    layer = scratch.directory()
    copied: list[tuple[str, os.stat_result]] = [(".", os.fstat(root))]
    for path, directory in missing:
        final = paths.chase(root, path)
        for parent in paths.ancestors(final):
            _make_like(root, layer, parent.lstrip("/"), copied)
        name = final.lstrip("/")
        if directory:
            with suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=layer)
        else:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=layer))
    # Deepest last would spoil the times of the parents again.
    for name, found in reversed(copied):
        os.chown(name, found.st_uid, found.st_gid, dir_fd=layer)
        os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=layer)
        os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=layer)
    return [layer]


def _make_like(root: int, layer: int, name: str, copied: list[tuple[str, os.stat_result]]) -> None:
    """Make a directory of the layer that will be merged with one of the image: it must look the same."""
    try:
        os.mkdir(name, 0o755, dir_fd=layer)
    except FileExistsError:
        return
    with suppress(FileNotFoundError):
        fd = paths.open_in_root(root, name, sc.O_PATH | os.O_DIRECTORY)
        try:
            copied.append((name, os.fstat(fd)))
        finally:
            os.close(fd)


def _exists(root: int, path: str) -> bool:
    try:
        os.close(paths.open_in_root(root, path))
    except FileNotFoundError:
        return False
    except NotADirectoryError as problem:
        raise SetupProblem(f"mount on {path}", errno.ENOTDIR, posixpath.dirname(path)) from problem
    return True
