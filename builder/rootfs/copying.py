"""
Root filesystems as plain directories, for places where overlayfs cannot be used.

Every workspace is a merged copy of all its layers. What a command changed is found by comparing the state of
each file before and after (inode, change time and metadata: none of which can be forged by setting times).
Slower than overlayfs by the time that copying takes, the results are the same filesystems.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from typing import NamedTuple

from oci_image.errors import ImageError
from oci_image.image import Layer
from oci_image.layer.apply import apply_layer, remove_tree
from oci_image.layer.entry import Entry, Kind
from oci_image.layer.tree import LayerTree
from oci_image.layer.walk import Entries, walk
from oci_image.layer.whiteouts import PREFIX, whiteout_for
from oci_image.layer.write import LayerWriter
from oci_image.store.base import BlobStore
from oci_image.store.problems import store_problem
from runtime.spec import DirectoryRoot

from ..host import LayerSource
from ..perform.layers import write_layer
from ..perform.stepfiles import tree_of
from ..snapshots import Snapshot
from .layered import LayeredDriver

_CLOCK_TICK = 0.012
"""Seconds after which a change has a later change time than what was written before."""


class CopyingDriver(LayeredDriver):
    """Makes workspaces that are copies."""

    def prepare(self, snapshot: Snapshot) -> CopyingWorkspace:
        """A copy of the snapshot."""
        directory = self._scratch.new_path("copy")
        try:
            os.mkdir(directory, 0o755)
            for layer in snapshot.layers:
                stream = self._layers.open_tar(layer)
                try:
                    apply_layer(stream, directory, whiteouts="merge", user_namespace=self._user_namespace)
                finally:
                    stream.close()
            time.sleep(_CLOCK_TICK)
            return CopyingWorkspace(
                directory, tree_of(snapshot, self._layers), self._blobs, self._layers, _states(directory)
            )
        except OSError as problem:
            remove_tree(directory)
            raise store_problem(problem, directory, "copy a root filesystem") from problem
        except BaseException:
            remove_tree(directory)
            raise


class CopyingWorkspace:
    """A directory that a command changes in place."""

    def __init__(
        self,
        directory: str,
        tree: LayerTree,
        blobs: BlobStore,
        layers: LayerSource,
        before: dict[str, _State],
    ) -> None:
        self._tree = tree
        self._blobs = blobs
        self._layers = layers
        self._before = before
        self.root = DirectoryRoot(directory)

    def capture(self, stamp: Callable[[float], int], *, skip: frozenset[str] = frozenset()) -> Layer:
        """The changes as a layer."""

        def fill(writer: LayerWriter) -> None:
            self._write(writer, stamp, skip)

        return write_layer(self._blobs, self._layers, fill)

    def release(self) -> None:
        """Remove the copy; idempotent."""
        remove_tree(self.root.path)

    def _write(self, writer: LayerWriter, stamp: Callable[[float], int], skip: frozenset[str]) -> None:
        entries = Entries(stamp)
        root = self.root.path
        after: set[str] = set()
        for found in walk(root, skip=skip):
            after.add(found.path)
            if not self._is_changed(found.path, found.status):
                continue
            if found.name.startswith(PREFIX):
                raise ImageError(
                    f"{found.path}: a layer cannot hold a name that starts with {PREFIX!r}",
                    hint="rename or delete the file in the same step",
                )
            entries.pass_on(found, writer.add)
        gone = {path for path in self._before if path not in after and not _is_below(path, skip)}
        for path in sorted(gone):
            parent = path.rpartition("/")[0]
            if parent in gone or (parent and not _is_directory(root, parent)):
                continue  # went with its directory, or with what took its place
            writer.add(Entry(whiteout_for(path), Kind.FILE, 0, mtime=stamp(time.time())), b"")

    def _is_changed(self, path: str, status: os.stat_result) -> bool:
        before = self._before.get(path)
        if before is None:
            return True
        now = _State.of(status)
        if stat.S_ISDIR(status.st_mode):
            # The sandbox makes and removes places for mounts, which moves only the change time.
            return now._replace(changed=0) != before._replace(changed=0) or (
                now.changed != before.changed and self._has_other_attributes(path)
            )
        return now != before

    def _has_other_attributes(self, path: str) -> bool:
        place = os.path.join(self.root.path, path)
        known = self._tree.lookup(path)
        kept = {
            name: os.getxattr(place, name)
            for name in os.listxattr(place)
            if name.startswith(("user.", "system.posix_acl_")) and not name.startswith("user.overlay.")
        }
        return known is None or kept != {
            name: value for name, value in known.xattrs if name.startswith(("user.", "system.posix_acl_"))
        }


class _State(NamedTuple):
    """What tells whether a file was touched; times in nanoseconds."""

    device: int
    inode: int
    mode: int
    uid: int
    gid: int
    size: int
    modified: int
    changed: int
    links: int

    @classmethod
    def of(cls, status: os.stat_result) -> _State:
        """The state out of lstat's answer; sizes and link counts of directories say nothing."""
        directory = stat.S_ISDIR(status.st_mode)
        return cls(
            status.st_dev,
            status.st_ino,
            status.st_mode,
            status.st_uid,
            status.st_gid,
            0 if directory else status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            0 if directory else status.st_nlink,
        )


def _states(directory: str) -> dict[str, _State]:
    return {found.path: _State.of(found.status) for found in walk(directory)}


def _is_below(path: str, places: frozenset[str]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)


def _is_directory(root: str, path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(os.path.join(root, path)).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
