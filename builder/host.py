"""
The host: the bundle of effects that a build uses, passed down as one value.

Tests pass peers (a memory store, a sandbox without isolation, a fixed clock) instead of the real things.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from oci_image.digest import Digest
from oci_image.image import Image, Layer
from oci_image.platform import Platform
from oci_image.reference import Reference
from oci_image.store.base import BlobStore, TagStore

from .caching.records import nowhere
from .sources.options import NetworkOptions

if TYPE_CHECKING:  # loaded only when something must run
    from oci_image.layer.index import LayerIndex
    from oci_image.spool import Spool
    from runtime.sandbox import Sandbox

    from .caching.cache import CacheIndex
    from .contexts.statcache import StatCache
    from .earlier import Earlier
    from .rootfs.base import RootfsDriver


class Resolver(Protocol):
    """Finds base images."""

    def local(self, reference: Reference, platform: Platform) -> Image | None:
        """
        The local image of a name for a platform, without waiting; None when a registry has to be asked.

        Raises:
            CannotResolve: the image is here, but damaged.
        """
        ...

    async def resolve(self, reference: Reference, platform: Platform, *, pull: bool) -> Image:
        """
        The image that a name stands for: a local one unless `pull`, else from its registry.

        Manifest and configuration are in hand afterwards; layers need not be.

        Raises:
            CannotResolve: no such image, for this platform, anywhere.
        """
        ...


class LayerSource(Protocol):
    """Gives access to the bytes of layers, fetching what is not here yet."""

    async def ensure(self, layers: tuple[Layer, ...]) -> None:
        """Let the layers be in the local store, in whatever form."""
        ...

    def index(self, layer: Layer) -> LayerIndex:
        """The list of a layer's entries (blocking; the layer must be here)."""
        ...

    def remember(self, diff_id: Digest, index: Iterable[bytes]) -> None:
        """Keep the saved index of a layer that was just written with exactly these entries (blocking)."""
        ...

    def earlier(self, kind: str) -> Earlier:
        """What an earlier layer of the same kind has (blocking); closed by the caller."""
        ...

    def keep_runs(self, diff_id: Digest, noted: Earlier) -> None:
        """Let later layers know what was noted while a layer was written (blocking); never an error."""
        ...

    def spool(self) -> Spool:
        """A place for what is put aside while a layer is written."""
        ...

    def open_tar(self, layer: Layer) -> TarReader:
        """The layer's uncompressed archive as a readable stream (blocking; the layer must be here)."""
        ...

    def read(self, layer: Layer, offset: int, size: int) -> bytes:
        """Bytes of the uncompressed archive (blocking; the layer must be here)."""
        ...


class TarReader(Protocol):
    """A readable, closable stream of bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; b"" at the end."""
        ...

    def close(self) -> None:
        """Give the resources back."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """
    Everything that a build touches.

    Factories (`sandbox`, `rootfs`) are called when the first step needs them, so that a build without RUN
    loads neither. `state` is the directory for everything that is only a cache. `reachable` says of a layer
    of a cached result that is not in the store whether `layers` can fetch it all the same. `cdi_directories`
    hold the specifications of devices, the last of them first.
    """

    blobs: BlobStore
    tags: TagStore
    layers: LayerSource
    resolver: Resolver
    cache: CacheIndex
    stats: StatCache
    rootfs: Callable[[], RootfsDriver]
    sandbox: Callable[[], Sandbox]
    state: str
    user_namespace: bool = False
    cdi_directories: tuple[str, ...] = ()
    network: NetworkOptions = field(default_factory=NetworkOptions)
    clock: Callable[[], float] = time.monotonic
    reachable: Callable[[Digest], bool] = nowhere
