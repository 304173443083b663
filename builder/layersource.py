"""
The bytes of layers out of the local store: indexes, archives, parts of archives.

Layers rest as they came (pulled ones compressed) or uncompressed (our own). Whatever is made of a layer is
kept in the state directory under its diff_id, and only after the bytes were seen to have that diff_id: the
list of its entries (``index/``), and the uncompressed archive (``tars/``) of a compressed layer out of
which single files were asked for. Removing any of it costs time only.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import BinaryIO, cast

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest, Hasher
from oci_image.errors import ImageError, NotFound, StoreProblem, VerificationFailed
from oci_image.image import Layer
from oci_image.layer.compression import open_decompressed
from oci_image.layer.index import LayerIndex, build_index
from oci_image.spool import Spool
from oci_image.store.base import BlobStore
from oci_image.store.lock import file_lock
from oci_image.store.notes import Notes
from oci_image.store.problems import store_problem

from .earlier import Earlier
from .errors import CannotResolve
from .scratch import Scratch
from .verifying import Verifying

_BLOCK = 1 << 20

Fetch = Callable[[tuple[Layer, ...]], Awaitable[None]]
"""Brings layers into the store, verified as they came."""


class StoreLayers:
    """
    Layers of a local store; used by several threads at once, closed by its maker.

    Args:
        blobs: the store.
        notes: what is remembered about other forms of layers; None for nothing.
        state: the directory for what is only a cache.
        fetch: how layers that are not in the store get there; None when there is no way.
    """

    def __init__(self, blobs: BlobStore, notes: Notes | None, state: str, fetch: Fetch | None = None) -> None:
        self._blobs = blobs
        self._notes = notes
        self._state = state
        self._fetch = fetch
        self._scratch = Scratch(state)
        self._indexes: dict[Digest, LayerIndex] = {}
        self._verified: set[Digest] = set()
        self._open: dict[Digest, BinaryIO] = {}
        self._lock = threading.Lock()

    async def ensure(self, layers: tuple[Layer, ...]) -> None:
        """
        Let the layers be in the store, in whatever form.

        Raises:
            CannotResolve: one is not here, and nothing says where it could be had.
        """
        absent = tuple(layer for layer in layers if self._resting(layer) is None)
        if not absent:
            return
        if self._fetch is None:
            raise CannotResolve(
                f"layer {absent[0].descriptor.digest} is not in the local store", hint="pull its image again"
            )
        await self._fetch(absent)

    def index(self, layer: Layer) -> LayerIndex:
        """
        The list of a layer's entries.

        Raises:
            VerificationFailed: the layer does not have its diff_id; nothing is kept.
            UnsafeLayer: it is no layer.
        """
        known = self._indexes.get(layer.diff_id)
        if known is None:
            known = self._stored_index(layer.diff_id) or self._made_index(layer)
            self._indexes[layer.diff_id] = known
        return known

    def remember(self, diff_id: Digest, index: Iterable[bytes]) -> None:
        """Keep the saved index of a layer that was just written with exactly these entries."""
        self._keep(self._path("index", diff_id), index)
        self._verified.add(diff_id)

    def earlier(self, kind: str) -> Earlier:
        """What an earlier layer of the same kind has; closed by the caller."""
        return Earlier(self._state, self._blobs, kind)

    def keep_runs(self, diff_id: Digest, noted: Earlier) -> None:
        """Let later layers know what was noted while a layer was written; never an error."""
        noted.keep(diff_id, lambda name, parts: self._keep(os.path.join(self._state, name), parts))

    def spool(self) -> Spool:
        """A place for what is put aside while a layer is written."""
        return Spool(os.path.join(self._state, "tmp"))

    def open_tar(self, layer: Layer) -> BinaryIO:
        """
        The layer's uncompressed archive; whoever read it to its end knows that it has the layer's diff_id.

        Raises:
            NotFound: the layer is not here.
            VerificationFailed: (when read) the bytes have another diff_id.
        """
        resting = self._resting(layer)
        if resting is None:
            raise NotFound(f"layer {layer.diff_id} is not in the store")
        if resting.digest != layer.diff_id:
            with suppress(FileNotFoundError):
                return open(self._path("tars", layer.diff_id), "rb")
        stream = self._blobs.open(resting.digest)
        compression = mediatypes.layer_compression(resting.media_type)
        if compression != "none":
            # What a media type promises and what the bytes are differ in images of some tools.
            stream = open_decompressed(stream)
        if layer.diff_id in self._verified:
            return stream
        return cast(
            "BinaryIO",
            Verifying(stream, layer.diff_id, self._verified, lambda problem: self._examine(layer, problem)),
        )

    def read(self, layer: Layer, offset: int, size: int) -> bytes:
        """
        Bytes of the uncompressed archive.

        Raises:
            NotFound: the layer is not here.
            VerificationFailed: it is compressed, and does not have its diff_id.
        """
        stream = self._random_access(layer)
        try:
            descriptor = stream.fileno()
        except (OSError, AttributeError):
            with self._lock:  # a store in memory
                stream.seek(offset)
                data = stream.read(size)
        else:
            data = _pread(descriptor, offset, size)
        if len(data) < size:
            raise StoreProblem(f"layer {layer.diff_id} ends too early", hint="pull or build its image again")
        return data

    def close(self) -> None:
        """Close what is open, and remove temporary files; idempotent."""
        with self._lock:
            for stream in self._open.values():
                stream.close()
            self._open.clear()
        self._scratch.close()

    def _path(self, kind: str, diff_id: Digest) -> str:
        return os.path.join(self._state, kind, diff_id.hex)

    def _resting(self, layer: Layer) -> Descriptor | None:
        """The form in which a layer is here."""
        if self._blobs.stat(layer.descriptor.digest) is not None:
            return layer.descriptor
        if self._blobs.stat(layer.diff_id) is not None:
            return Descriptor(media_type=mediatypes.OCI_LAYER, digest=layer.diff_id, size=0)
        others = self._notes.variants(layer.diff_id) if self._notes is not None else ()
        return next((other for other in others if self._blobs.stat(other.digest) is not None), None)

    def _stored_index(self, diff_id: Digest) -> LayerIndex | None:
        try:
            with open(self._path("index", diff_id), "rb") as file:
                return LayerIndex.from_bytes(file.read())
        except (OSError, ImageError, ValueError):
            return None  # absent or damaged: it is made again

    def _made_index(self, layer: Layer) -> LayerIndex:
        with file_lock(os.path.join(self._state, "locks", f"index-{layer.diff_id.hex[:3]}")):
            known = self._stored_index(layer.diff_id)
            if known is not None:
                return known
            stream = self.open_tar(layer)
            try:
                index = build_index(stream)
                while stream.read(_BLOCK):
                    pass  # to the end, where the digest is known
            except ImageError as problem:
                self._examine(layer, problem)
                raise
            finally:
                stream.close()
            self._keep(self._path("index", layer.diff_id), index.parts())
        return index

    def _examine(self, layer: Layer, problem: ImageError) -> None:
        """
        See whether a layer that cannot be used was damaged in the store; it is removed then.

        Whatever has it can give it again then: a registry, or the steps that made it.

        Raises:
            VerificationFailed: it was damaged.
        """
        resting = self._resting(layer)
        if resting is None:
            return
        hasher = Hasher(resting.digest.algorithm)
        with self._blobs.open(resting.digest) as stream:
            while data := stream.read(_BLOCK):
                hasher.update(data)
        if hasher.digest() != resting.digest:
            self._blobs.delete(resting.digest)
            raise VerificationFailed(
                f"layer {resting.digest} was damaged in the store, and is removed from it now",
                hint="try again: it is fetched or built once more; if that fails, pull or import its image",
            ) from problem

    def _keep(self, path: str, parts: Iterable[bytes]) -> None:
        temporary = self._scratch.new_path("index")
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(temporary, "wb") as file:
                file.writelines(parts)
            os.rename(temporary, path)
        except OSError as problem:
            raise store_problem(problem, path, "keep the index of a layer") from problem

    def _random_access(self, layer: Layer) -> BinaryIO:
        with self._lock:
            stream = self._open.get(layer.diff_id)
        if stream is not None:
            return stream
        if self._blobs.stat(layer.diff_id) is not None:
            stream = self._blobs.open(layer.diff_id)
        else:
            stream = self._unpacked_tar(layer)
        with self._lock:
            # Another thread may have been faster; its stream is the one in use.
            used = self._open.setdefault(layer.diff_id, stream)
        if used is not stream:
            stream.close()
        return used

    def _unpacked_tar(self, layer: Layer) -> BinaryIO:
        path = self._path("tars", layer.diff_id)
        with file_lock(os.path.join(self._state, "locks", f"tar-{layer.diff_id.hex[:3]}")):
            with suppress(FileNotFoundError):
                return open(path, "rb")
            temporary = self._scratch.new_path("tar")
            source = self.open_tar(layer)
            try:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(temporary, "wb") as file:
                    while data := source.read(_BLOCK):
                        file.write(data)
                os.rename(temporary, path)
            except OSError as problem:
                raise store_problem(problem, path, "unpack a layer") from problem
            finally:
                source.close()
                with suppress(FileNotFoundError):
                    os.unlink(temporary)
            return open(path, "rb")


def _pread(descriptor: int, offset: int, size: int) -> bytes:
    data = os.pread(descriptor, size, offset)
    while len(data) < size:
        more = os.pread(descriptor, size - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data
