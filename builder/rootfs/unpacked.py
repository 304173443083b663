"""
Unpacked layers: one directory per layer under ``state/rootfs``, made once and then only read.

A directory appears under its final name when it is complete. Its name is the layer's diff_id, in a user
namespace with a mark, because overlayfs wants other attributes there. A layer may hold files without an
entry for their directory: such a directory has to look as it does in the layers below, so the name then
also has a digest of how it looks there.
"""

from __future__ import annotations

import os

from oci_image import jsonbytes
from oci_image.digest import Digest
from oci_image.image import Layer
from oci_image.layer.apply import apply_layer, remove_tree
from oci_image.layer.entry import Entry, Kind
from oci_image.layer.index import LayerIndex
from oci_image.layer.tree import LayerTree
from oci_image.store.lock import file_lock
from oci_image.store.problems import store_problem

from ..host import LayerSource
from ..scratch import Scratch
from ..snapshots import Snapshot

_PLAIN = (0o755, 0, 0, ())
_SKIPPED_XATTRS = ("trusted.overlay.", "user.overlay.")


class UnpackedLayers:
    """
    The directories of unpacked layers; used by several threads and processes at once.

    Args:
        layers: the bytes.
        scratch: where directories are made before they get their name.
        state: the state directory.
        user_namespace: this process is root of a user namespace only.
    """

    def __init__(self, layers: LayerSource, scratch: Scratch, state: str, *, user_namespace: bool) -> None:
        self._layers = layers
        self._scratch = scratch
        self._state = state
        self._user_namespace = user_namespace

    def directories(self, snapshot: Snapshot) -> tuple[str, ...]:
        """
        The directories that make up a snapshot, bottom to top (blocking; its layers are in the store).

        Raises:
            UnsafeLayer: a layer cannot be unpacked; nothing half-unpacked stays.
            StoreProblem: no space or no permission.
        """
        indexes = [self._layers.index(layer) for layer in snapshot.layers]
        found: dict[str, None] = {}
        for number, (layer, index) in enumerate(zip(snapshot.layers, indexes, strict=True)):
            if not index.paths and not index.hidden and not index.implied:
                continue  # changes nothing
            if "" in index.hidden:
                found.clear()  # overlayfs has no mark that hides everything below
            path = self._directory(layer, index, indexes[:number])
            # A mount may not have a directory twice; what is on top covers what is below.
            found.pop(path, None)
            found[path] = None
        return tuple(found)

    def adopt(self, layer: Layer, directory: str) -> bool:
        """Take a directory that is exactly the unpacked layer; whether it was wanted (it is moved then)."""
        path = self._path(layer, "")
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.rename(directory, path)  # refused when it is there already, for it is not empty
        except OSError:
            return False
        return True

    def _path(self, layer: Layer, variant: str) -> str:
        mark = "-u" if self._user_namespace else ""
        return os.path.join(self._state, "rootfs", layer.diff_id.hex + mark + variant)

    def _directory(self, layer: Layer, index: LayerIndex, below: list[LayerIndex]) -> str:
        looks = _implied_looks(index, below)
        path = self._path(layer, _variant(looks))
        if os.path.isdir(path):
            return path
        with file_lock(os.path.join(self._state, "locks", f"unpack-{layer.diff_id.hex[:3]}")):
            if not os.path.isdir(path):
                self._unpack(layer, path, looks)
        return path

    def _unpack(self, layer: Layer, path: str, looks: dict[str, Entry]) -> None:
        temporary = self._scratch.new_path("layer")
        try:
            os.mkdir(temporary, 0o755)
            stream = self._layers.open_tar(layer)
            try:
                apply_layer(stream, temporary, whiteouts="overlay", user_namespace=self._user_namespace)
            finally:
                stream.close()
            for implied, entry in looks.items():
                _restyle(os.path.join(temporary, implied), entry)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.rename(temporary, path)
        except OSError as problem:
            raise store_problem(problem, path, "unpack a layer") from problem
        finally:
            remove_tree(temporary)


def _implied_looks(index: LayerIndex, below: list[LayerIndex]) -> dict[str, Entry]:
    """The directories without an entry that do not look as unpacking makes them."""
    if not index.implied or not below:
        return {}
    tree = LayerTree(below)
    looks = {}
    for path in sorted(index.implied):
        entry = tree.lookup(path)
        if entry is None or entry.kind is not Kind.DIRECTORY:
            continue
        if (entry.mode, entry.uid, entry.gid, entry.xattrs) != _PLAIN:
            looks[path] = entry
    return looks


def _variant(looks: dict[str, Entry]) -> str:
    if not looks:
        return ""
    value = [
        [path, entry.mode, entry.uid, entry.gid, [[name, data.hex()] for name, data in entry.xattrs]]
        for path, entry in looks.items()
    ]
    return "-" + Digest.of(jsonbytes.encode_sorted(value)).hex[:16]


def _restyle(path: str, entry: Entry) -> None:
    os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
    os.chmod(path, entry.mode)
    for name, value in entry.xattrs:
        if not name.startswith(_SKIPPED_XATTRS):
            os.setxattr(path, name, value, follow_symlinks=False)
    os.utime(path, (entry.mtime, entry.mtime))
