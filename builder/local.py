"""
The local store: what lies where under its root, and how a name or an ID finds an image.

    ROOT/oci-layout, index.json, blobs/    an OCI image layout that other tools read
    ROOT/pybuild/                          everything else; all of it can be made again but the notes' sources

Names are full references; IDs are digests of configurations (Docker's image IDs) or of manifests, in full or
as a unique prefix of at least four digits.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.documents import Document, Index, Manifest, read_config, read_manifest
from oci_image.errors import InvalidReference, NotFound
from oci_image.image import Image
from oci_image.platform import Platform, local_platform
from oci_image.reference import Reference
from oci_image.store.layout import LayoutBlobStore, LayoutTagStore
from oci_image.store.notes import Notes
from oci_image.verify import read_document

_ID = re.compile(r"(?:sha256:)?([0-9a-f]{4,64})")


@dataclass(frozen=True, slots=True)
class Found:
    """An image of the local store: the name that found it (None for an ID) and what it stands for."""

    name: Reference | None
    descriptor: Descriptor


class LocalStore:
    """
    The store under a root directory; nothing is created or opened before it is needed.

    Blobs are not synced to disk one by one: everything in here can be built or pulled again, and what is read
    back is verified. Names are.
    """

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        self.state = os.path.join(self.root, "pybuild")

    @cached_property
    def blobs(self) -> LayoutBlobStore:
        """The content of the layout."""
        return LayoutBlobStore(self.root, durable=False)

    @cached_property
    def tags(self) -> LayoutTagStore:
        """The names of the layout."""
        return LayoutTagStore(self.root)

    @cached_property
    def notes(self) -> Notes:
        """What is remembered about blobs: compressed variants and where they can be had."""
        return Notes(os.path.join(self.state, "notes.db"))

    def find(self, text: str) -> Found:
        """
        The image that a name or an ID stands for.

        Raises:
            NotFound: no such image, or the prefix of an ID fits several.
            InvalidReference: neither a name nor an ID.
        """
        try:
            reference = Reference.parse(text)
        except InvalidReference:
            if _ID.fullmatch(text) is None:
                raise
        else:
            found = self.named(reference)
            if found is not None:
                return found
        match = _ID.fullmatch(text)
        if match is None:
            raise NotFound(f"no such image: {text}", hint="pybuild images lists what is here")
        return self._by_id(text, match[1])

    def named(self, reference: Reference) -> Found | None:
        """The image of exactly this name; a digest in the name must be that of its manifest."""
        if reference.digest is None:
            descriptor = self.tags.get(str(reference))
            return Found(reference, descriptor) if descriptor else None
        for name, descriptor in self.tags.items():
            if descriptor.digest == reference.digest and _same_repository(name, reference):
                return Found(reference, descriptor)
        return None

    def _by_id(self, text: str, prefix: str) -> Found:
        matches: dict[str, Descriptor] = {}
        for descriptor in self.tags.entries():
            if descriptor.digest.hex.startswith(prefix):
                matches[str(descriptor.digest)] = descriptor
                continue
            for image in self.images(descriptor):
                if image.id.hex.startswith(prefix):
                    matches[str(image.manifest.digest)] = image.manifest.descriptor
        if not matches:
            raise NotFound(f"no such image: {text}", hint="pybuild images lists what is here")
        if len(matches) > 1:
            raise NotFound(f"{text} is the beginning of {len(matches)} image IDs", hint="use more digits")
        return Found(None, next(iter(matches.values())))

    def document(self, descriptor: Descriptor) -> Document[Manifest | Index]:
        """
        The manifest or index of a descriptor, verified.

        Raises:
            NotFound, VerificationFailed, InvalidDocument: it is not here, or not what it should be.
        """
        raw = read_document(self.blobs, descriptor)
        return read_manifest(raw, descriptor.media_type, f"manifest {descriptor.digest}")

    def image(self, descriptor: Descriptor, platform: Platform | None = None) -> Image:
        """
        The image of a descriptor; of an index the one for the platform (default: this machine's).

        Raises:
            NotFound: it is not here, or there is none for the platform.
        """
        document = self.document(descriptor)
        value = document.value
        if isinstance(value, Index):
            wanted = platform or local_platform()
            child = self._child(value, wanted)
            if child is None:
                raise NotFound(
                    f"index {descriptor.digest} has no image for {wanted} here",
                    hint="it has " + ", ".join(str(child.platform) for child in value.manifests),
                )
            return self.image(child, platform)
        config = value.config
        raw = read_document(self.blobs, config)
        manifest = Document(raw=document.raw, value=value, descriptor=document.descriptor)
        return Image(manifest, read_config(raw, config, f"configuration {config.digest}"))

    def _child(self, index: Index, wanted: Platform) -> Descriptor | None:
        """The manifest that fits a platform best, of those that are here; one without a platform fits any."""
        ranked = [
            (0 if child.platform is None else child.platform.rank(wanted), number, child)
            for number, child in enumerate(index.manifests)
            if self.blobs.stat(child.digest) is not None
        ]
        fitting = [(rank, number, child) for rank, number, child in ranked if rank is not None]
        return min(fitting, key=lambda one: one[:2])[2] if fitting else None

    def images(self, descriptor: Descriptor) -> Iterator[Image]:
        """Every image of a descriptor that is here and can be read: one, or those of an index."""
        try:
            if not mediatypes.is_index(descriptor.media_type):
                yield self.image(descriptor)
                return
            value = self.document(descriptor).value
        except NotFound:
            return
        if isinstance(value, Index):
            for child in value.manifests:
                yield from self.images(child)


def _same_repository(name: str, reference: Reference) -> bool:
    other = Reference.parse(name)
    return (other.registry, other.repository) == (reference.registry, reference.repository)
