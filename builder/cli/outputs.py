"""
Where a finished build goes: names in the local store, registries, archives and directories.

Each output gets the images as it wants them, under its own names or, without any, those of ``-t``. ``--push``
is short for ``-o type=registry``, or lets the image outputs that there are push.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
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
from .granted import LOCAL_DELETE
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
        _check_place(one, may_delete=LOCAL_DELETE in request.entitlements)
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


def _check_place(output: ExportOptions, *, may_delete: bool) -> None:
    """Find out before the build what would keep an output from being written."""
    where, dest = f"--output type={output.type}", output.dest
    if dest == "-":
        if sys.stdout.isatty():
            raise InvalidOption(
                f"{where}: refusing to write an archive to the terminal",
                hint="redirect the output, or name a file with dest=PATH",
            )
        return
    is_directory = output.type == "local" or not output.as_archive
    if is_directory and os.path.exists(dest) and not os.path.isdir(dest):
        raise InvalidOption(f"{where}: cannot write {dest}: it is no directory")
    if not is_directory and os.path.isdir(dest):
        raise InvalidOption(f"{where}: cannot write {dest}: it is a directory", hint="name a file in it")
    if output.delete and not may_delete:
        here, there = os.path.realpath("."), os.path.realpath(dest)
        if not there.startswith(here.rstrip("/") + "/"):
            raise InvalidOption(
                f"{where}: mode=delete would empty {dest}, which is not below the current directory",
                hint=f"allow it with --allow {LOCAL_DELETE}",
            )


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
            for name in (*names, *_with_digest(options, names, made)):
                if store.tags.get(str(name)) != made.root:
                    store.tags.set(str(name), made.root)
        if options.unpack:
            await _unpack(made, host)
        if options.push:
            pushes.append((options, made, names))
    for options, made, names in pushes:
        await needs_loop()
        for name in names:
            delivered.pushed[str(name)] = await _push(
                options, made, name, store, settings=settings, sink=sink
            )
    return delivered


def _with_digest(options: ExportOptions, names: Sequence[Reference], made: ImageSet) -> Iterator[Reference]:
    """Further names, which have the digest of the manifest or index in the place of a tag."""
    digest = made.root.digest
    if options.canonical:
        yield from (replace(name, tag=None, digest=digest) for name in names)
    if options.dangling is not None and not (names and options.dangling_only_unnamed):
        yield replace(options.dangling, tag=None, digest=digest)


async def _unpack(made: ImageSet, host: Host) -> None:
    """Let the layers lie unpacked, as commands need them."""
    await needs_loop()
    from ..perform.base import in_thread
    from ..snapshots import Snapshot

    for image in made.images:
        await host.layers.ensure(image.layers)
        await in_thread(host.rootfs().unpacked, Snapshot(image.layers))


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
