"""
Images of other OCI layouts as bases: what ``oci-layout://PATH[:TAG][@DIGEST]`` names in ``--build-context``.

Such an image is copied into the local store when a stage needs it, verified, so that everything after that
treats it like a pulled one; nothing is ever written into the other layout. A tag is found as the name of an
entry (``org.opencontainers.image.ref.name``) or as the tag of that name; the only entry of a layout needs no
name. Governing source: OCI image-spec, image-layout.md.
"""

from __future__ import annotations

import os

from oci_image.descriptor import Descriptor
from oci_image.errors import ImageError
from oci_image.image import Image
from oci_image.platform import Platform
from oci_image.reference import Reference
from oci_image.store.base import BlobStore
from oci_image.store.layout import LayoutBlobStore, LayoutTagStore
from oci_image.store.names import REF_NAME
from oci_image.verify import copy_verified

from .errors import CannotResolve
from .host import Resolver
from .named import LAYOUT_REGISTRY
from .resolve import read_image


class LayoutResolver:
    """
    Finds images of other layouts, and leaves all others to the resolver behind it.

    Args:
        inner: finds everything else.
        blobs: where images are copied to.
    """

    def __init__(self, inner: Resolver, blobs: BlobStore) -> None:
        self._inner = inner
        self._blobs = blobs

    def local(self, reference: Reference, platform: Platform) -> Image | None:
        """The image of a layout, or the local image of a name, without waiting."""
        if reference.registry == LAYOUT_REGISTRY:
            return self._copied(reference, platform)
        return self._inner.local(reference, platform)

    async def resolve(self, reference: Reference, platform: Platform, *, pull: bool) -> Image:
        """The image of a layout, or what a name stands for."""
        if reference.registry == LAYOUT_REGISTRY:
            return self._copied(reference, platform)
        return await self._inner.resolve(reference, platform, pull=pull)

    def _copied(self, reference: Reference, platform: Platform) -> Image:
        path = reference.repository
        try:
            if not os.path.isfile(os.path.join(path, "index.json")):
                raise CannotResolve(f"{path} is no OCI image layout: it has no index.json")
            there = LayoutBlobStore(path, durable=False)
            image = read_image(there, _entry(path, reference), platform)
            if image is None:
                raise CannotResolve(f"{reference} has no image for {platform}")
            manifest = image.manifest
            for descriptor in (*manifest.value.layers, manifest.value.config, manifest.descriptor):
                self._copy(there, descriptor)
        except ImageError as problem:
            raise CannotResolve(f"{reference} cannot be used: {problem.message}") from problem
        return image

    def _copy(self, there: BlobStore, descriptor: Descriptor) -> None:
        if self._blobs.stat(descriptor.digest) is not None:
            return
        with there.open(descriptor.digest) as stream, self._blobs.writer() as writer:
            copy_verified(stream, writer, descriptor)


def _entry(path: str, reference: Reference) -> Descriptor:
    entries = LayoutTagStore(path).entries()
    if reference.digest is not None:
        for entry in entries:
            if entry.digest == reference.digest:
                return entry
        size = LayoutBlobStore(path, durable=False).stat(reference.digest)
        if size is None:
            raise CannotResolve(f"{path} has no blob {reference.digest}")
        return Descriptor(media_type="", digest=reference.digest, size=size)
    names = [entry.annotations.get(REF_NAME, "") for entry in entries]
    for fits in (lambda name: name == reference.tag, lambda name: _tag(name) == reference.tag):
        found = [entry for entry, name in zip(entries, names, strict=True) if fits(name)]
        if len({entry.digest for entry in found}) == 1:
            return found[0]
        if found:
            raise CannotResolve(f"{path} has several images {reference.tag}", hint="name one by its digest")
    if len(entries) == 1 and (not names[0] or reference.tag == "latest"):
        return entries[0]
    known = ", ".join(filter(None, names)) or "none has a name"
    raise CannotResolve(f"{path} has no image {reference.tag}", hint=f"its images are: {known}")


def _tag(name: str) -> str:
    """The tag of an entry's name, where that is a reference with one."""
    return name.rpartition("/")[2].partition(":")[2]
