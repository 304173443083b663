"""
A layer archive onto a directory.

What a member may do is decided by `Placement`; this file does it. Nothing outside the root is ever touched:
parents are opened component by component without following symlinks, files are created with O_EXCL, links are
made without following. The caller has the directory for itself meanwhile, and removes it after an error.

Governing source: OCI image-spec, layer.md; Linux Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..errors import StoreProblem
from ..store.problems import store_problem
from .directories import Directories
from .entry import Entry, Kind
from .extract import Refusals, make_node, set_owner, set_xattrs, write_file
from .pathsafe import ancestors, parent_of, shown
from .placement import Placement
from .read import LayerReader, Limits
from .remove import remove_at, remove_tree
from .source import Payload, Readable
from .whiteouts import opaque_xattr

__all__ = ["Applied", "apply_layer", "remove_tree"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What came of the application of a layer."""

    members: int
    implied: tuple[str, ...]
    """Directories that have no entry in the layer: 0755 and 0:0 where they were made."""
    skipped: tuple[str, ...]
    """Extended attributes that could not be set, as sentences: path, name and reason."""
    hides_everything: bool
    """
    The layer has an opaque mark at its top. overlayfs knows no such thing, so after ``whiteouts="overlay"``
    the layers below must not be mounted.
    """


def apply_layer(
    stream: Readable,
    root: str,
    *,
    whiteouts: Literal["overlay", "merge"],
    user_namespace: bool = False,
    on_chown_refused: Callable[[str, int, int], None] | None = None,
    on_device_refused: Callable[[str], None] | None = None,
    limits: Limits | None = None,
) -> Applied:
    """
    Extract a layer into an existing directory and read the stream to its end.

    Args:
        stream: the uncompressed archive.
        root: ``overlay``: an empty directory; ``merge``: the result of the layers below.
        whiteouts: ``overlay`` leaves the marks that an overlay mount of the directory understands,
            ``merge`` removes what is to be removed.
        user_namespace: root is root of a user namespace only.
        on_chown_refused: called with path, uid and gid if the kernel refuses an owner, who is then not set.
            Without it that is an error.
        on_device_refused: called with the path if the kernel refuses a device, which is then left out.
            Without it that is an error.
        limits: how much the archive may hold.

    Raises:
        UnsafeLayer: the archive is broken, breaks a rule, or needs what is refused here.
        StoreProblem: the file system fails (full, …).
    """
    reader = LayerReader(stream, limits=limits)
    refusals = Refusals(user_namespace, on_chown_refused, on_device_refused)
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    application = _Application(descriptor, refusals, overlay=whiteouts == "overlay")
    try:
        members = 0
        for entry, payload in reader:
            application.add(entry, payload)
            members += 1
        application.hide()
        application.finish_directories()
        reader.finish()
    finally:
        application.directories.close()
        os.close(descriptor)
    placement = application.placement
    return Applied(
        members=members,
        implied=tuple(sorted(placement.implied - {""})),
        skipped=tuple(refusals.skipped),
        hides_everything="" in placement.hidden,
    )


class _Application:
    def __init__(self, root: int, refusals: Refusals, *, overlay: bool) -> None:
        self.placement = Placement()
        self.directories = Directories(root, self._make_implied)
        self._root = root
        self._refusals = refusals
        self._overlay = overlay
        self._dated: dict[str, Entry] = {}

    def add(self, entry: Entry, payload: Payload) -> None:
        """Put one member where it belongs."""
        path = self.placement.place(entry)
        if path is None:
            return
        try:
            if entry.kind is Kind.DIRECTORY:
                self._put_directory(path, entry)
                return
            parent, _, name = path.rpartition("/")
            above = self.directories.open(parent)
            try:
                self._put(above, name, path, entry, payload)
            except FileExistsError:
                # The descriptor may have been closed when a hardlink's target was looked for.
                self.directories.forget(path)
                above = self.directories.open(parent)
                remove_at(above, name)
                self._put(above, name, path, entry, payload)
        except OSError as problem:
            raise _failed(self._root, path, problem) from problem

    def hide(self) -> None:
        """Hide what the layer hides of those below; after all members, so their order does not matter."""
        kinds, hidden = self.placement.kinds, self.placement.hidden
        for path in sorted(hidden):
            kind = kinds.get(path)
            try:
                if kind is None:
                    covered = not hidden.isdisjoint(ancestors(path))
                    self._hide_name(path, covered=covered)
                elif kind is Kind.DIRECTORY and self._overlay:
                    self._mark_opaque(path)
                elif kind is Kind.DIRECTORY:
                    self._prune(path)
            except OSError as problem:
                raise _failed(self._root, path, problem) from problem

    def finish_directories(self) -> None:
        """Set attributes and times of directories, which their children would have inherited or changed."""
        for path, entry in self._dated.items():
            if self.placement.kinds.get(path) is not Kind.DIRECTORY:
                continue
            try:
                if entry.xattrs:
                    set_xattrs(self._proc_path(path), path, entry.xattrs, self._refusals)
                time = entry.mtime * 1_000_000_000
                if path:
                    parent, _, name = path.rpartition("/")
                    above = self.directories.open(parent)
                    os.utime(name, ns=(time, time), dir_fd=above, follow_symlinks=False)
                else:
                    os.utime(self._root, ns=(time, time))
            except OSError as problem:
                raise _failed(self._root, path, problem) from problem

    def _put(self, above: int, name: str, path: str, entry: Entry, payload: Payload) -> None:
        if entry.kind is Kind.FILE:
            write_file(above, name, path, entry, payload, self._refusals)
        elif entry.kind is Kind.HARDLINK:
            target = self.placement.target(entry, path)
            # A second descriptor, for opening the target's directory may close the first one.
            holder = os.dup(above)
            try:
                parent, _, last = target.rpartition("/")
                source = self.directories.open(parent)
                os.link(last, name, src_dir_fd=source, dst_dir_fd=holder, follow_symlinks=False)
            finally:
                os.close(holder)
        else:
            make_node(above, name, path, entry, self._refusals)

    def _put_directory(self, path: str, entry: Entry) -> None:
        self._dated[path] = entry
        if not path:
            set_owner(self._root, path, entry, self._refusals)
            os.fchmod(self._root, entry.mode)
            return
        parent, _, name = path.rpartition("/")
        above = self.directories.open(parent)
        if self._make_directory(above, name):
            self._clear_xattrs(path)
            above = self.directories.open(parent)
        set_owner(name, path, entry, self._refusals, above)
        os.chmod(name, entry.mode, dir_fd=above)

    def _make_directory(self, above: int, name: str) -> bool:
        """Whether a directory was there already; anything else makes room."""
        try:
            os.mkdir(name, 0o700, dir_fd=above)
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
                return True
            os.unlink(name, dir_fd=above)
            os.mkdir(name, 0o700, dir_fd=above)
        return False

    def _make_implied(self, above: int, name: str, exists: bool) -> None:
        if exists:
            os.unlink(name, dir_fd=above)
        os.mkdir(name, 0o755, dir_fd=above)
        # Neither the umask nor a setgid directory above shall have a say.
        os.chown(name, 0, 0, dir_fd=above, follow_symlinks=False)
        os.chmod(name, 0o755, dir_fd=above)  # noqa: S103 - what every builder gives to implied directories

    def _clear_xattrs(self, path: str) -> None:
        """A directory of a lower layer gives up its attributes, as it would below an overlay mount."""
        place = self._proc_path(path)
        for name in os.listxattr(place):
            if name.startswith(("user.", "trusted.", "system.posix_acl_")):
                os.removexattr(place, name)

    def _proc_path(self, path: str) -> str:
        """A name for calls that take no directory descriptor, opened as safely as any other directory."""
        return f"/proc/self/fd/{self.directories.open(path)}/."

    def _hide_name(self, path: str, *, covered: bool) -> None:
        above = self.directories.open(parent_of(path))
        name = path.rpartition("/")[2]
        self.directories.forget(path)
        remove_at(above, name)
        # In an opaque directory there is nothing to hide, and overlayfs would list the device there.
        if self._overlay and not covered:
            make_node(above, name, path, Entry(path, Kind.CHARACTER, 0), self._refusals)

    def _mark_opaque(self, path: str) -> None:
        if not path:
            return
        name = opaque_xattr(user_namespace=self._refusals.user_namespace)
        os.setxattr(self._proc_path(path), name, b"y")

    def _prune(self, path: str) -> None:
        """Remove what a directory has from lower layers and keep what it has from this one."""
        kinds = self.placement.kinds
        todo = [path]
        while todo:
            directory = todo.pop()
            for name in os.listdir(self._proc_path(directory)):
                child = f"{directory}/{name}" if directory else name
                kind = kinds.get(child)
                if kind is None:
                    above = self.directories.open(directory)
                    self.directories.forget(child)
                    remove_at(above, name)
                elif kind is Kind.DIRECTORY:
                    todo.append(child)


def _failed(root: int, path: str, problem: OSError) -> StoreProblem:
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return store_problem(problem, os.readlink(f"/proc/self/fd/{root}"), f"extract {shown(path)}")
    return StoreProblem(f"{shown(path)}: cannot be extracted: {problem.strerror or problem}")
