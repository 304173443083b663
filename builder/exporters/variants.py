"""
Images as one output wants them: annotated, with Docker's media types, with other layers.

What an output asks for touches neither the images of other outputs nor the layers of base images (but for
``force-compression``, which is about all of them). Everything that is made lies in the store.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.documents import author_config, author_manifest
from oci_image.image import Image, Layer

from ..assemble import annotations_of, check_annotations, gather, put
from ..events import EventSink, Notice
from ..host import Host
from ..loop import needs_loop
from ..request import Annotation, BuildRequest, ImageSet
from .options import ExportOptions


async def variant(
    made: ImageSet, options: ExportOptions, request: BuildRequest, host: Host, sink: EventSink
) -> ImageSet:
    """
    The images for an output; those that were made, if it asks for nothing else.

    Raises:
        InvalidOption: an annotation has no place.
        ImageError: a layer cannot be read or written.
        BuildError: a layer of the base cannot be had.
    """
    has_index = made.index is not None
    check_annotations(options.annotations, made.platforms, has_index=has_index)
    annotations = (*request.annotations, *options.annotations)
    options = _possible(options, annotations, sink)

    async def clamp(layer: Layer) -> Layer:
        from ..relayering import clamped

        return await clamped(layer, request.effective_epoch, host, sink)

    images = []
    for image, base, platform in zip(made.images, made.bases, made.platforms, strict=True):
        changed = _with_layers(image, await _layers(image, base, options, host, clamp))
        own = annotations_of(annotations, "manifest", platform)
        images.append(_described(changed, own, host, docker=options.docker_types))
    if tuple(images) == made.images and not options.annotations and not options.docker_types:
        return made
    media_type = mediatypes.DOCKER_MANIFEST_LIST if options.docker_types else mediatypes.OCI_INDEX
    return gather(
        replace(made, images=tuple(images)),
        annotations,
        host.blobs,
        as_index=has_index,
        media_type=media_type,
    )


def _possible(options: ExportOptions, annotations: Sequence[Annotation], sink: EventSink) -> ExportOptions:
    """The options without Docker's media types where those cannot say what is asked for."""
    reason = "annotations" if annotations else "zstd" if options.encoder.kind == "zstd" else ""
    if options.docker_types and reason:
        text = f"--output type={options.type}: oci-mediatypes=false has no effect with {reason}"
        sink(Notice("warning", text))
        return replace(options, docker_types=False)
    return options


async def _layers(
    image: Image, base: int, options: ExportOptions, host: Host, clamp: Callable[[Layer], Awaitable[Layer]]
) -> tuple[Layer, ...]:
    """The layers for an output; the lowest `base` ones belong to a base image."""
    layers = list(image.layers)
    if options.clamp:
        layers[base:] = [await clamp(layer) for layer in layers[base:]]
    if options.recompress:
        layers = [await _recompressible(layer, options.encoder.kind, host) for layer in layers]
    return tuple(layers)


def _with_layers(image: Image, layers: tuple[Layer, ...]) -> Image:
    if layers == image.layers:
        return image
    config = image.config
    diff_ids = tuple(layer.diff_id for layer in layers)
    if diff_ids != config.value.diff_ids:
        config = author_config(replace(config.value, diff_ids=diff_ids))
    descriptors = tuple(layer.descriptor for layer in layers)
    manifest = replace(image.manifest.value, config=config.descriptor, layers=descriptors)
    return Image(author_manifest(manifest), config)


async def _recompressible(layer: Layer, kind: str, host: Host) -> Layer:
    """The layer uncompressed, if it rests in another form than the encoder gives."""
    resting = mediatypes.layer_compression(layer.descriptor.media_type)
    if resting in (kind, "none"):
        return layer
    await needs_loop()
    from ..perform.base import in_thread

    await host.layers.ensure((layer,))
    size = host.blobs.stat(layer.diff_id)
    if size is None:
        size = await in_thread(_unpack, layer, host)
    return Layer(layer.diff_id, Descriptor(media_type=mediatypes.OCI_LAYER, digest=layer.diff_id, size=size))


def _unpack(layer: Layer, host: Host) -> int:
    from ..perform.base import checkpoint

    tar = host.layers.open_tar(layer)
    try:
        with host.blobs.writer() as writer:
            size = 0
            while data := tar.read(1 << 20):
                checkpoint()
                writer.write(data)
                size += len(data)
            writer.commit(layer.diff_id)
    finally:
        tar.close()
    return size


def _described(image: Image, annotations: dict[str, str], host: Host, *, docker: bool) -> Image:
    """The image with these annotations beside its own and a family of media types, in the store."""
    value, config = image.manifest.value, image.config
    if docker:
        config = replace(config, descriptor=replace(config.descriptor, media_type=mediatypes.DOCKER_CONFIG))
        value = replace(
            value,
            media_type=mediatypes.DOCKER_MANIFEST,
            config=config.descriptor,
            layers=tuple(map(_docker_layer, value.layers)),
        )
    value = replace(value, annotations={**value.annotations, **annotations})
    if value == image.manifest.value and dict(value.annotations) == dict(image.manifest.value.annotations):
        manifest = image.manifest
    else:
        manifest = author_manifest(value)
    put(config, host.blobs)
    put(manifest, host.blobs)
    return Image(manifest, config)


def _docker_layer(layer: Descriptor) -> Descriptor:
    known = mediatypes.layer_compression(layer.media_type)
    if known == "zstd" or not layer.media_type.startswith(mediatypes.OCI_LAYER):
        return layer  # Docker's family has no type for it
    return replace(layer, media_type=mediatypes.layer_type(known, docker=True))
