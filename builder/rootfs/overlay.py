"""
Root filesystems by overlayfs: unpacked layers below, an empty directory for the changes above.

Nothing is mounted here: a workspace says what to mount, the sandbox does it in its own mount namespace, so
there is nothing to unmount when a process dies. After a step the directory with its changes becomes the
unpacked directory of the new layer, when it is exactly that, so that nothing just written is unpacked again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from oci_image.image import Layer
from oci_image.layer.apply import remove_tree
from oci_image.layer.diff import diff_upper
from oci_image.layer.entry import Entry, Kind
from oci_image.layer.tree import LayerTree
from oci_image.layer.whiteouts import is_whiteout_device
from oci_image.layer.write import LayerWriter
from oci_image.store.problems import store_problem
from runtime.spec import PLACES, OverlayRoot, Place

from ..errors import Unsupported
from ..perform.layers import write_layer
from ..perform.stepfiles import tree_of
from ..snapshots import Snapshot
from .layered import LayeredDriver

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LOWERS = 500
"""As many layers as overlayfs merges."""


class OverlayDriver(LayeredDriver):
    """Makes workspaces for sandboxes that mount overlayfs."""

    def prepare(self, snapshot: Snapshot) -> OverlayWorkspace:
        """A workspace over the snapshot."""
        lowers = self._unpacked.directories(snapshot)
        if len(lowers) > _MOST_LOWERS:
            raise Unsupported(
                f"a root filesystem of {len(lowers)} layers: overlayfs merges {_MOST_LOWERS}",
                hint="join RUN instructions, or start a stage from the result of another build",
            )
        tree = tree_of(snapshot, self._layers)
        directory = self._scratch.new_directory("run")
        try:
            for name in ("upper", "work", *(() if lowers else ("empty",))):
                os.mkdir(os.path.join(directory, name), 0o755)
            _look_like(os.path.join(directory, "upper"), tree.lookup(""))
        except OSError as problem:
            remove_tree(directory)
            raise store_problem(problem, directory, "prepare a root filesystem") from problem
        root = OverlayRoot(
            lowers=lowers or (os.path.join(directory, "empty"),),
            upper=os.path.join(directory, "upper"),
            work=os.path.join(directory, "work"),
            volatile=True,
            lacks=_lacking(tree),
        )
        return OverlayWorkspace(self, directory, root, tree)

    def capture(
        self, root: OverlayRoot, tree: LayerTree, stamp: Callable[[float], int], skip: frozenset[str]
    ) -> Layer:
        """The changes of a workspace as a layer; its upper directory may be gone afterwards."""

        def fill(writer: LayerWriter) -> None:
            diff_upper(
                root.upper,
                write=writer,
                lower=tree,
                stamp=stamp,
                skip=skip,
                user_namespace=self._user_namespace,
            )

        layer = write_layer(self._blobs, self._layers, fill)
        index = self._layers.index(layer)
        if not index.implied and _take_times(root.upper, index.times(), index.hidden):
            self._unpacked.adopt(layer, root.upper)
        return layer


class OverlayWorkspace:
    """A workspace whose changes land in a directory of its own."""

    def __init__(self, driver: OverlayDriver, directory: str, root: OverlayRoot, tree: LayerTree) -> None:
        self._driver = driver
        self._directory = directory
        self._tree = tree
        self.root = root

    def capture(self, stamp: Callable[[float], int], *, skip: frozenset[str] = frozenset()) -> Layer:
        """The changes as a layer."""
        return self._driver.capture(self.root, self._tree, stamp, skip)

    def release(self) -> None:
        """Remove everything; idempotent."""
        remove_tree(self._directory)


def _lacking(tree: LayerTree) -> tuple[Place, ...] | None:
    """What the root filesystem lacks of the places that sandboxes mount on; None where that is not simple."""
    made: dict[str, Place] = {}
    for path, is_directory in PLACES:
        entry = tree.lookup(path.strip("/"))
        if entry is not None:
            if entry.kind is not (Kind.DIRECTORY if is_directory else Kind.FILE):
                return None
            continue
        above = path.rpartition("/")[0]
        if above and above not in made:
            parent = tree.lookup(above.strip("/"))
            if parent is None:
                made[above] = Place(above, directory=True, mode=0o755)
            elif parent.kind is Kind.DIRECTORY and not (parent.uid or parent.gid or parent.xattrs):
                made[above] = Place(above, directory=True, mode=parent.mode, mtime=parent.mtime)
            else:
                return None
        made[path] = Place(path, directory=is_directory, mode=0o755 if is_directory else 0o644)
    return tuple(made.values())


def _look_like(directory: str, entry: Entry | None) -> None:
    """The upper directory is what the root of the merged filesystem looks like."""
    if entry is None or entry.kind is not Kind.DIRECTORY:
        return
    os.chown(directory, entry.uid, entry.gid)
    os.chmod(directory, entry.mode)
    for name, value in entry.xattrs:
        os.setxattr(directory, name, value)
    os.utime(directory, (entry.mtime, entry.mtime))


def _take_times(upper: str, times: Mapping[str, int], hidden: frozenset[str]) -> bool:
    """
    Give what a directory holds the times of its layer.

    Returns:
        whether it holds just what has a time there, and no whiteouts but those of the layer.
    """
    todo = [""]
    while todo:
        above = todo.pop()
        prefix = f"{above}/" if above else ""
        # By its descriptor, since there may be very many names in it.
        directory = os.open(os.path.join(upper, above), _DIRECTORY)
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    path = prefix + entry.name
                    time = times.get(path)
                    if time is not None:
                        os.utime(entry.name, (time, time), dir_fd=directory, follow_symlinks=False)
                    elif path not in hidden or not is_whiteout_device(entry.stat(follow_symlinks=False)):
                        return False
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(path)
        finally:
            os.close(directory)
    return True
