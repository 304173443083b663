"""
The boundary of the use case "build": what is asked for and what comes back.

Plain frozen values without I/O; the command line, tests and any other front end make and read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Document, Index
from oci_image.image import Image
from oci_image.platform import Platform
from oci_image.reference import Reference

if TYPE_CHECKING:
    from .cachetransfer.options import CacheExport, CacheImport
    from .contexts.listing import Looked
    from .devices.allowing import AllowedDevices
    from .graph import Step

DEFAULT_EPOCH = 315_532_800
"""1980-01-01T00:00:00Z in Unix seconds: the earliest time that zip archives can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One ``-o``: type "image", "registry", "oci", "docker", "tar" or "local"; `dest` a path or "-"."""

    type: str
    dest: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """
    One annotation of images, for one platform or (None) for each.

    `level` is "manifest", "manifest-descriptor" (in the index), "index", or "index-descriptor" (where an
    image layout names the index).
    """

    level: str
    key: str
    value: str
    platform: Platform | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """
    What each RUN may use; no part of any key, as it does not change what a command makes.

    `shm_size` is the size of /dev/shm in bytes, 0 for the usual; `ulimits` are name, soft and hard limit;
    `cgroup_parent` is the control group whose bounds hold for commands, too. `memory` and `memory_swap`
    (memory plus swap, -1 for no bound on swap) are bytes, `cpus` a number of processors, `cpu_shares` a
    weight.
    """

    shm_size: int = 0
    memory: int = 0
    memory_swap: int = 0
    cpus: float = 0.0
    cpu_shares: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    ulimits: tuple[tuple[str, int, int], ...] = ()
    cgroup_parent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """
    One build.

    `context` is a directory ("" for none); `dockerfile` the bytes of the Dockerfile and `dockerfile_name` how
    messages call it. `build_args` hold resolved values only. `epoch` is None unless asked for. `add_hosts`
    are further lines of /etc/hosts for RUN as "name:address"; `no_cache_filter` names stages that run again;
    `entitlements` are those that the Dockerfile may use, as "network.host", `devices` the devices of the
    machine, None for those that every build may use. `build_contexts` are named ones,
    as `named` reads them. `platforms` are those to build for, each once, none meaning this machine's;
    `as_index` asks for an index also over a single image. `squash` joins the layers of the build into one.
    `context_time` is the time of a remote build context, for SOURCE_DATE_EPOCH=context. `cache_from` and
    `cache_to` are the caches that it imports and exports.
    """

    context: str
    dockerfile: bytes
    dockerfile_name: str = "Dockerfile"
    dockerfile_path: str | None = None
    tags: tuple[Reference, ...] = ()
    target: str = ""
    build_args: Mapping[str, str] = field(default_factory=dict, hash=False)
    build_contexts: Mapping[str, str] = field(default_factory=dict, hash=False)
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    platforms: tuple[Platform, ...] = ()
    as_index: bool = False
    annotations: tuple[Annotation, ...] = ()
    squash: bool = False
    no_cache: bool = False
    pull: bool = False
    no_cache_filter: tuple[str, ...] = ()
    network: str = "default"
    add_hosts: tuple[str, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)
    entitlements: frozenset[str] = frozenset()
    devices: AllowedDevices | None = None
    epoch: int | None = None
    context_time: int | None = None
    outputs: tuple[Output, ...] = ()
    push: bool = False
    compression: str = "gzip"
    cache_from: tuple[CacheImport, ...] = ()
    cache_to: tuple[CacheExport, ...] = ()

    @property
    def platform(self) -> Platform | None:
        """The platform to build for, the first one of several; None for this machine's."""
        return self.platforms[0] if self.platforms else None

    @property
    def effective_epoch(self) -> int:
        """The time that files and images get, in Unix seconds."""
        return DEFAULT_EPOCH if self.epoch is None else self.epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSet:
    """
    What a build made: an image for each platform, and the index over them where there is one.

    `bases` says of each image how many of its layers are those of its base. `annotations` belong where an
    image layout names the root.
    """

    images: tuple[Image, ...]
    platforms: tuple[Platform, ...]
    bases: tuple[int, ...]
    index: Document[Index] | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def root(self) -> Descriptor:
        """The index, or the manifest of the only image."""
        document = self.images[0].manifest if self.index is None else self.index
        return replace(document.descriptor, annotations=self.annotations)

    @property
    def id(self) -> Digest:
        """The digest of the only image's configuration, or that of the index, as with docker buildx."""
        return self.images[0].id if self.index is None else self.index.digest


def single(image: Image) -> ImageSet:
    """One image as a set, all its layers its own."""
    return ImageSet(images=(image,), platforms=(image.config.value.platform,), bases=(0,))


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """
    What a build made.

    `pushed` maps each pushed name to the digest of its manifest; `steps` counts all steps, `cached` those
    whose earlier result was reused. `epoch` is the time of files and images, if one was asked for. `looked`
    is what the plan depends on in the build context; `recalled` the steps that an equal build would report
    as cached now, None when it would have to run, ask or fetch something.
    """

    made: ImageSet
    tags: tuple[Reference, ...] = ()
    pushed: Mapping[str, Digest] = field(default_factory=dict, hash=False)
    steps: int = 0
    cached: int = 0
    warnings: tuple[str, ...] = ()
    epoch: int | None = None
    looked: Looked | None = field(default=None, compare=False, repr=False)
    recalled: tuple[Step, ...] | None = field(default=None, compare=False, repr=False)

    @property
    def image(self) -> Image:
        """The image, of several the one for the first platform."""
        return self.made.images[0]
