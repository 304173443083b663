"""
Cache mounts in exported caches: what ``RUN --mount=type=cache`` keeps between builds, as layers.

Exported when ``cache-mounts=true`` asks for it, each by the key of its directory in the store; one that
another build uses meanwhile is left out. A mount that is not in the store when a command needs it begins
with what an imported cache has for it; one that is there stays as it is. What is in a mount is never part of
any key.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Sequence

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.errors import ImageError
from oci_image.image import Layer
from oci_image.layer.apply import apply_layer, remove_tree
from oci_image.layer.compression import open_decompressed
from oci_image.layer.diff import diff_upper
from oci_image.layer.tree import LayerTree
from oci_image.layer.write import LayerWriter
from oci_image.store.base import BlobStore
from oci_image.store.layout import LayoutBlobStore
from registry.errors import RegistryError

from ..events import EventSink, Notice
from ..graph import BuildGraph
from ..locks import try_exclusive
from ..ops import Exec, ExecMount
from ..perform.mounts import cache_key
from ..scratch import Scratch
from .document import CachedMount
from .places import CacheSource, ImportedCache


def pack_mounts(
    graphs: Iterable[BuildGraph], state: str, blobs: BlobStore, sink: EventSink, *, user_namespace: bool
) -> list[tuple[CachedMount, Layer]]:
    """
    Write what the cache mounts of all commands hold as plain layers (blocking).

    Args:
        graphs: the plans of the build.
        state: the state directory.
        blobs: takes the layers.
        sink: told which mounts are left out.
        user_namespace: this process is root of a user namespace only.
    """
    packed: dict[str, tuple[CachedMount, Layer]] = {}
    for mount in _cache_mounts(graphs):
        key = cache_key(mount)
        name = f"{key}-0" if mount.sharing == "private" else key
        if name in packed or not os.path.isdir(os.path.join(state, "mounts", name, "data")):
            continue
        lock = try_exclusive(os.path.join(state, "mounts", f"{name}.lock"))
        if lock is None:
            sink(Notice("info", f"the cache mount {mount.id} is in use, and not exported"))
            continue
        try:
            layer = _pack(os.path.join(state, "mounts", name, "data"), blobs, user_namespace=user_namespace)
        except (ImageError, OSError) as problem:
            sink(Notice("warning", f"the cache mount {mount.id} is not exported: {problem}"))
        else:
            packed[name] = (CachedMount(key=name, id=mount.id, layer=layer.diff_id), layer)
        finally:
            lock.close()
    return list(packed.values())


class ImportedMounts:
    """
    Gives cache mounts that are not in the store what imported caches have for them.

    Args:
        caches: what was imported.
        state: the state directory.
        sink: told what cannot be restored.
        user_namespace: this process is root of a user namespace only.
    """

    def __init__(
        self,
        caches: Sequence[tuple[CacheSource, ImportedCache]],
        state: str,
        sink: EventSink,
        *,
        user_namespace: bool,
    ) -> None:
        self._caches = caches
        self._state = state
        self._sink = sink
        self._user_namespace = user_namespace

    async def restore(self, name: str, mount: ExecMount, place: str) -> bool:
        """
        Fill an empty directory, which nobody else uses yet; whether there was something to fill it with.

        A mount that cannot be restored begins empty, with a warning.
        """
        for source, cache in self._caches:
            found = next((one for one in cache.mounts if one.key == name), None)
            if found is None:
                continue
            try:
                await self._fill(source, cache.layers[found.layer], place)
            except (ImageError, RegistryError, OSError) as problem:
                await asyncio.to_thread(_empty, place)
                text = f"the cache mount {mount.id} cannot be restored from {source.shown}: {problem}"
                self._sink(Notice("warning", text))
            else:
                return True
        return False

    async def _fill(self, source: CacheSource, form: Descriptor, place: str) -> None:
        scratch = Scratch(self._state)
        try:
            store = LayoutBlobStore(scratch.new_directory("mount"), durable=False)
            await source.fetch((form,), store, self._sink)
            await asyncio.to_thread(self._unpack, store, form, place)
        finally:
            await asyncio.to_thread(scratch.close)

    def _unpack(self, store: BlobStore, form: Descriptor, place: str) -> None:
        with open_decompressed(store.open(form.digest)) as stream:
            apply_layer(
                stream,
                place,
                whiteouts="merge",
                user_namespace=self._user_namespace,
                # A user with one id cannot have files of others; what is in them matters more.
                on_chown_refused=_leave_owner,
            )


def _cache_mounts(graphs: Iterable[BuildGraph]) -> Iterator[ExecMount]:
    for graph in graphs:
        for step in graph.steps():
            if isinstance(step.op, Exec):
                yield from (mount for mount in step.op.mounts if mount.type == "cache")


def _pack(directory: str, blobs: BlobStore, *, user_namespace: bool) -> Layer:
    with blobs.writer() as blob:
        writer = LayerWriter(blob.write, record=False)
        diff_upper(directory, write=writer, lower=LayerTree([]), stamp=int, user_namespace=user_namespace)
        size = writer.finish()
        diff_id = blob.commit()
    return Layer(diff_id, Descriptor(media_type=mediatypes.OCI_LAYER, digest=diff_id, size=size))


def _leave_owner(path: str, uid: int, gid: int) -> None:
    del path, uid, gid


def _empty(place: str) -> None:
    for name in os.listdir(place):
        remove_tree(os.path.join(place, name))
