"""
Finding base images: the local store first, then a registry.

A local image is what its name stands for in the store, of an index the one for the platform. Only manifests
and configurations are read here; layers may still be elsewhere. The registry is one injected function, so
that nothing here knows the network.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from oci_image.descriptor import Descriptor
from oci_image.documents import Document, Index, read_config, read_manifest
from oci_image.errors import ImageError, NotFound
from oci_image.image import Image
from oci_image.platform import Platform
from oci_image.reference import Reference
from oci_image.store.base import BlobStore, TagStore
from oci_image.verify import read_document

from .errors import BuildError, CannotResolve
from .loop import needs_loop

FetchImage: TypeAlias = Callable[[Reference, Platform], Awaitable[Image]]
"""Asks a registry for the image of a name for a platform."""


class StoreResolver:
    """
    The resolver over a store and a registry.

    Args:
        tags: local names.
        blobs: local content.
        fetch_image: asks a registry; None when there is none to ask.
    """

    def __init__(self, tags: TagStore, blobs: BlobStore, fetch_image: FetchImage | None = None) -> None:
        self._tags = tags
        self._blobs = blobs
        self._fetch_image = fetch_image

    def local(self, reference: Reference, platform: Platform) -> Image | None:
        """
        The local image of a name for a platform, without waiting; None when a registry has to be asked.

        Raises:
            CannotResolve: the image is here, but damaged.
        """
        image = self._find(reference, platform)
        return image if image is not None and image.config.value.platform.serves(platform) else None

    async def resolve(self, reference: Reference, platform: Platform, *, pull: bool) -> Image:
        """
        The image that a name stands for: a local one unless `pull`, else from its registry.

        A local image for another platform serves only when the registry has none: the caller sees from its
        configuration that it is for another one.

        Raises:
            CannotResolve: no such image, for this platform, anywhere.
        """
        found = None if pull else self._find(reference, platform)
        if found is not None and found.config.value.platform.serves(platform):
            return found
        try:
            return await self._fetch(reference, platform)
        except CannotResolve:
            if found is None:
                raise
            return found

    async def _fetch(self, reference: Reference, platform: Platform) -> Image:
        if self._fetch_image is None:
            raise CannotResolve(
                f"{reference.familiar} is not in the local store", hint="pull or build it before this build"
            )
        await needs_loop()
        try:
            return await self._fetch_image(reference, platform)
        except BuildError:
            raise
        except Exception as problem:
            # Whatever the network said: what failed is finding the image.
            if not hasattr(problem, "hint"):
                raise
            raise CannotResolve(
                f"cannot resolve {reference.familiar}: {problem}", hint=problem.hint
            ) from problem

    def _find(self, reference: Reference, platform: Platform) -> Image | None:
        descriptor = self._named(reference)
        if descriptor is None:
            return None
        try:
            return read_image(self._blobs, descriptor, platform)
        except NotFound:
            return None
        except ImageError as problem:
            raise CannotResolve(
                f"the local image {reference.familiar} cannot be used: {problem.message}",
                hint="pull it again with --pull",
            ) from problem

    def _named(self, reference: Reference) -> Descriptor | None:
        if reference.digest is None:
            return self._tags.get(str(reference))
        for name, descriptor in self._tags.items():
            if descriptor.digest != reference.digest:
                continue
            if _repository(name) == (reference.registry, reference.repository):
                return descriptor
        return None


def read_image(blobs: BlobStore, descriptor: Descriptor, platform: Platform) -> Image | None:
    """
    The image of a descriptor, of an index the one for the platform; None when there is none for it here.

    Raises:
        ImageError: a document is missing, damaged, or not what it should be.
    """
    where = f"manifest {descriptor.digest}"
    document = read_manifest(read_document(blobs, descriptor), descriptor.media_type, where)
    value = document.value
    if isinstance(value, Index):
        fitting = [child for child in value.manifests if child.platform and child.platform.serves(platform)]
        exact = [child for child in fitting if child.platform == platform]
        present = [child for child in exact + fitting if blobs.stat(child.digest) is not None]
        return read_image(blobs, present[0], platform) if present else None
    raw = read_document(blobs, value.config)
    manifest = Document(raw=document.raw, value=value, descriptor=document.descriptor)
    return Image(manifest, read_config(raw, value.config, f"configuration {value.config.digest}"))


def _repository(name: str) -> tuple[str, str] | None:
    try:
        reference = Reference.parse(name)
    except ImageError:
        return None
    return reference.registry, reference.repository
