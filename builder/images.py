"""
What can be done with the images of the local store: list, describe, remove, clean up, account for.

Nothing here prints. Content goes when no name and no cached step needs it any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from oci_image import mediatypes
from oci_image.config import History
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Document, Index
from oci_image.errors import ImageError, InvalidDocument, InvalidReference, NotFound, VerificationFailed
from oci_image.image import Image
from oci_image.platform import Platform
from oci_image.reference import Reference
from oci_image.store.gc import mark

from .accounting import cached_layers
from .errors import InvalidOption
from .leases import collecting
from .local import Found, LocalStore
from .request import ImageSet, single

DAMAGED = "damaged"
"""The platform of a row whose manifest or configuration cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRow:
    """
    One line of ``pybuild images``; `size` counts the layers as they rest, in bytes.

    `came` is when the image came into the store, in Unix seconds.
    """

    name: Reference | None
    id: Digest
    manifest: Descriptor
    platform: str
    created: str | None
    size: int
    came: float | None = None


def rows(store: LocalStore) -> Iterator[ImageRow]:
    """Every named image; an index gives one row for each platform that is here."""
    for name, descriptor in store.tags.items():
        try:
            reference = Reference.parse(name)
        except InvalidReference:
            continue  # a name of another tool that is no reference
        try:
            images = list(store.images(descriptor))
        except (InvalidDocument, VerificationFailed):
            # Listed all the same, so that it can be seen, removed or pulled again.
            yield ImageRow(
                name=reference,
                id=descriptor.digest,
                manifest=descriptor,
                platform=DAMAGED,
                created=None,
                size=descriptor.size,
            )
            continue
        for image in images:
            config = image.config.value
            yield ImageRow(
                name=reference,
                id=image.id,
                manifest=image.manifest.descriptor,
                platform=str(config.platform),
                created=config.created,
                size=sum(layer.size for layer in image.manifest.value.layers),
                came=store.blobs.modified(image.id),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """One entry of an image's history with the size of its layer as it rests, newest first."""

    entry: History
    size: int


def history(image: Image) -> list[HistoryRow]:
    """The history, newest first."""
    layers = iter(image.manifest.value.layers)
    out = []
    for entry in image.config.value.history:
        layer = None if entry.empty_layer else next(layers, None)
        out.append(HistoryRow(entry=entry, size=layer.size if layer else 0))
    return out[::-1]


def describe(store: LocalStore, found: Found, platform: Platform | None = None) -> dict[str, Any]:
    """
    What ``pybuild inspect`` shows: Docker's members, plus the manifest, and of an index what it has.

    Without a platform, an index shows the image for this machine, or else its first one that is here.

    Raises:
        NotFound: the image is not here, or not for the platform.
    """
    image = _shown_image(store, found, platform)
    config = image.config.value
    names = [
        Reference.parse(name)
        for name, descriptor in store.tags.items()
        if descriptor.digest == found.descriptor.digest
    ]
    return {
        "Id": str(image.id),
        "RepoTags": [name.familiar for name in names],
        "RepoDigests": [f"{name.familiar_name}@{found.descriptor.digest}" for name in names],
        "Comment": config.history[-1].comment if config.history else "",
        "Created": config.created,
        "Author": config.author,
        "Architecture": config.platform.architecture,
        "Variant": config.platform.variant,
        "Os": config.platform.os,
        "Size": sum(layer.size for layer in image.manifest.value.layers),
        "Config": config.config.to_json(),
        "RootFS": {"Type": "layers", "Layers": [str(diff_id) for diff_id in config.diff_ids]},
        "Descriptor": found.descriptor.to_json(),
        "Manifest": image.manifest.value.to_json(),
        **_index_members(store, found),
    }


def _shown_image(store: LocalStore, found: Found, platform: Platform | None) -> Image:
    try:
        return _for_platform(store, found, platform)
    except NotFound:
        first = next(store.images(found.descriptor), None)
        if platform is not None or first is None:
            raise
        return first


def _for_platform(store: LocalStore, found: Found, platform: Platform | None) -> Image:
    """The image for a platform; unlike a base image, one that was asked for has to be for it."""
    image = store.image(found.descriptor, platform)
    if platform is not None and image.config.value.platform.rank(platform) is None:
        raise NotFound(f"the image is for {image.config.value.platform}, not for {platform}")
    return image


def _index_members(store: LocalStore, found: Found) -> dict[str, Any]:
    value = store.document(found.descriptor).value
    if not isinstance(value, Index):
        return {}
    platforms = [
        {"Platform": str(entry.platform or "unknown"), "Digest": str(entry.digest), "Here": here}
        for entry in value.manifests
        for here in (store.blobs.stat(entry.digest) is not None,)
    ]
    return {"Platforms": platforms, "Annotations": dict(value.annotations)}


def image_set(store: LocalStore, found: Found, platform: Platform | None = None) -> ImageSet:
    """
    An image of the store, or all images of an index, to be taken elsewhere.

    Args:
        store: the local store.
        found: what is meant.
        platform: only the image for it.

    Raises:
        NotFound: a manifest of the index is not here, or there is none for the platform.
    """
    document = store.document(found.descriptor)
    value = document.value
    if platform is not None or not isinstance(value, Index):
        return single(_for_platform(store, found, platform))
    images = []
    for entry in value.manifests:
        if store.blobs.stat(entry.digest) is None:
            raise NotFound(
                f"the index names the manifest {entry.digest} ({entry.platform or 'no platform'}), "
                "which is not in the store",
                hint="pull it with --all-platforms, or name one platform with --platform",
            )
        images.append(store.image(entry))
    platforms = tuple(
        entry.platform or image.config.value.platform
        for entry, image in zip(value.manifests, images, strict=True)
    )
    return ImageSet(
        images=tuple(images),
        platforms=platforms,
        bases=(0,) * len(images),
        index=Document(raw=document.raw, value=value, descriptor=document.descriptor),
        annotations=found.descriptor.annotations,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What ``pybuild rmi`` did."""

    untagged: tuple[Reference, ...]
    deleted: tuple[Digest, ...]


def remove(store: LocalStore, text: str, *, force: bool) -> Removed:
    """
    Remove a name, or (by ID) an image with its name; content that nothing needs any more goes with it.

    Raises:
        NotFound: no such image.
        InvalidOption: an ID whose image has several names, without `force`, or that is part of an index.
    """
    found = store.find(text)
    names = [
        Reference.parse(name)
        for name, descriptor in store.tags.items()
        if descriptor.digest == found.descriptor.digest
    ]
    if not names:
        _check_part(store, text, found)
    if found.name is not None and found.name.digest is None:
        names = [found.name]
    elif len(names) > 1 and not force:
        raise InvalidOption(
            f"image {text} has {len(names)} names: {', '.join(name.familiar for name in names)}",
            hint="remove them one by one, or use --force",
        )
    candidates = _reached(store, found.descriptor)
    for name in names:
        store.tags.delete(str(name))
    try:
        alive, _ = mark(store.blobs, store.tags.entries())
    except ImageError:
        # Another image is damaged, and what it needs is not known: nothing goes but the name.
        return Removed(untagged=tuple(names), deleted=())
    with collecting(store.state) as leases:
        held = frozenset().union(*leases)  # a running build may have begun with the image
        dead = [d for d in sorted(candidates - alive - cached_layers(store)) if d.hex not in held]
        return Removed(untagged=tuple(names), deleted=tuple(d for d in dead if store.blobs.delete(d)))


def _check_part(store: LocalStore, text: str, found: Found) -> None:
    """
    Make sure that an image without a name is not what an index needs.

    Raises:
        InvalidOption: an index with a name has it.
    """
    for name, descriptor in store.tags.items():
        if mediatypes.is_index(descriptor.media_type) and found.descriptor.digest in _reached(
            store, descriptor
        ):
            familiar = Reference.parse(name).familiar
            raise InvalidOption(
                f"image {text} is one of those of the index {familiar}", hint=f"remove {familiar}"
            )


def _reached(store: LocalStore, descriptor: Descriptor) -> set[Digest]:
    """What a descriptor refers to; of a damaged image only itself, the rest is left to a clean-up."""
    try:
        return mark(store.blobs, [descriptor])[0]
    except ImageError:
        return {descriptor.digest}


def tag(store: LocalStore, source: str, name: str) -> Reference:
    """
    Give an image another name.

    Raises:
        NotFound: no such image.
        InvalidReference: the name cannot be used.
    """
    reference = Reference.parse(name)
    if reference.digest is not None:
        raise InvalidReference(f"{name}: a name with a digest cannot be given", hint="leave the digest out")
    found = store.find(source)
    store.tags.set(str(reference), found.descriptor)
    return reference


def find_image(store: LocalStore, text: str) -> tuple[Found, Image]:
    """
    An image by name or ID, for this machine's platform.

    Raises:
        NotFound: no such image.
    """
    found = store.find(text)
    try:
        return found, store.image(found.descriptor)
    except NotFound as problem:
        problem.add_note(f"while looking for {text}")
        raise
