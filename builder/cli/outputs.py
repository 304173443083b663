"""
Where a finished build goes: names in the local store, registries, archives and directories.

Each output gets the images as it wants them, under its own names or, without any, those of ``-t``. ``--push``
is short for ``-o type=registry``, or lets the image outputs that there are push.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from oci_image.descriptor import Descriptor
from oci_image.reference import Reference

from ..errors import InvalidOption
from ..events import EventSink, TaskDone, TaskStarted
from ..exporters.open import open_exporter
from ..exporters.options import ExportOptions, read_options
from ..exporters.variants import variant
from ..host import Host
from ..local import LocalStore
from ..loop import needs_loop
from ..request import BuildRequest, BuildResult, ImageSet, Output
from .settings import Settings

_IMAGES = ("image", "registry")


@dataclass(slots=True, kw_only=True)
class Delivered:
    """What became of a build: the images of its names, all names, and manifests by the names pushed to."""

    made: ImageSet
    names: list[Reference]
    pushed: dict[str, Descriptor] = field(default_factory=dict)


def read_outputs(request: BuildRequest) -> list[ExportOptions]:
    """
    The outputs of a build, ``--push`` among them.

    Raises:
        InvalidOption: they contradict each other, or something to be pushed has no name.
    """
    outputs = [read_options(output, request.compression) for output in request.outputs]
    if request.push:
        outputs = [replace(one, push=True) if one.type in _IMAGES else one for one in outputs]
        if not any(one.type in _IMAGES for one in outputs):
            outputs.append(read_options(Output(type="registry"), request.compression))
    if sum(one.dest == "-" for one in outputs) > 1:
        raise InvalidOption("only one --output can go to standard output")
    for one in outputs:
        if one.push and not (one.names or request.tags):
            raise InvalidOption(
                "nothing to push: the image has no name", hint="give it one with -t REGISTRY/NAME:TAG"
            )
        if one.type == "docker" and (len(request.platforms) > 1 or request.as_index):
            raise InvalidOption(
                "--output type=docker: docker archives hold no image index",
                hint="use type=oci, or build for one platform",
            )
    return outputs


async def deliver(
    outputs: Sequence[ExportOptions],
    request: BuildRequest,
    result: BuildResult,
    *,
    host: Host,
    store: LocalStore,
    settings: Settings,
    sink: EventSink,
) -> Delivered:
    """
    Do all outputs, one after the other.

    Raises:
        BuildError: one cannot be done; those before it are.
        RegistryError: a registry refused, or cannot be reached.
    """
    request = replace(request, epoch=result.epoch)
    delivered = Delivered(made=result.made, names=list(request.tags))
    pushes: list[tuple[ExportOptions, ImageSet, tuple[Reference, ...]]] = []
    for options in outputs:
        if options.type == "cacheonly":
            continue  # the steps are in the cache already
        made = await variant(result.made, options, request, host, sink)
        names = options.names or request.tags
        if options.type not in _IMAGES:
            await _export(options, request, made, names, host=host, sink=sink)
            continue
        delivered.made = made
        delivered.names += options.names
        if options.store:
            for name in names:
                if store.tags.get(str(name)) != made.root:
                    store.tags.set(str(name), made.root)
        if options.push:
            pushes.append((options, made, names))
    for options, made, names in pushes:
        await needs_loop()
        for name in names:
            delivered.pushed[str(name)] = await _push(
                options, made, name, store, settings=settings, sink=sink
            )
    return delivered


async def _push(
    options: ExportOptions,
    made: ImageSet,
    name: Reference,
    store: LocalStore,
    *,
    settings: Settings,
    sink: EventSink,
) -> Descriptor:
    from .transfers import push_image

    if options.insecure:
        registries = (*settings.insecure_registries, name.registry)
        settings = replace(settings, insecure_registries=registries)
    if options.by_digest:
        name = replace(name, tag=None)
    return await push_image(settings, store, made.root, name, sink, compression=options.compression)


async def _export(
    options: ExportOptions,
    request: BuildRequest,
    made: ImageSet,
    names: tuple[Reference, ...],
    *,
    host: Host,
    sink: EventSink,
) -> None:
    await needs_loop()
    title = f"exporting {options.type}"
    sink(TaskStarted(title, time.monotonic()))
    exported = await open_exporter(options, request.epoch).export(made, names, host, sink)
    sink(TaskDone(title, time.monotonic(), exported.detail))
