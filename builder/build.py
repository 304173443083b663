"""
The use case "build": a Dockerfile and a build context become an image in the local store.

The one function that the command line, tests and any other front end call. Until a step has to run nothing
here waits or is told to anybody, and neither asyncio nor what performs steps is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from typing import TYPE_CHECKING

from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.parser import Dockerfile, parse
from oci_image.platform import local_platform

from .assemble import annotations_of, assemble, check_annotations, gather
from .caching.recall import Recall, Results, recalled
from .contexts.context import BuildContext, open_context
from .errors import BuildError
from .events import EventSink, discard
from .graph import BuildGraph, joined, platforms_of
from .host import Host
from .loop import needs_loop
from .lowering.devices import Devices
from .named import NamedDirectory, read_named
from .ops import BaseImage, Exec, Scratch
from .plan import plan
from .request import BuildRequest, BuildResult, ImageSet
from .sources.fetching import Fetcher
from .sources.remote import is_url, parse_git

if TYPE_CHECKING:
    from .cachetransfer.transfer import CacheTransfer
    from .perform.base import MountSource, Supplies
    from .ssh import AgentSource


async def build(
    request: BuildRequest,
    host: Host,
    sink: EventSink = discard,
    *,
    secrets: Mapping[str, bytes] | None = None,
    ssh: Mapping[str, AgentSource] | None = None,
    caches: CacheTransfer | None = None,
) -> BuildResult:
    """
    Build, and give the image its names in the local store; what was finished is kept when a later step fails.

    Args:
        request: what to build.
        host: the effects.
        sink: takes the events; not called before something has to run.
        secrets: values by id, for commands that ask for them.
        ssh: agents by id.
        caches: what is imported; whoever gives it exports after the build.

    Raises:
        DockerfileError: the Dockerfile is wrong.
        BuildError: a step failed, or something that is needed cannot be had.
        ImageError: the store cannot be used.
    """
    contexts = _contexts(request, host)
    fetcher = Fetcher(host, sink, contexts)
    devices = Devices(host.cdi_directories, request.devices)
    try:
        dockerfile = _parsed(request)
        graph = await plan_request(dockerfile, request, host, contexts, fetcher, devices=devices)
        check_annotations(request.annotations, platforms_of(graph), has_index=_has_index(request))
        for context in contexts.values():
            context.save()
        if caches is not None:
            caches.add(graph, host)
        results = Recall(graph, host, sink).everything(graph)
        if results is None:
            await needs_loop()

            async def run(host: Host, sink: EventSink, mounts: MountSource | None) -> Results:
                from .perform.base import Supplies

                return await _run(
                    graph,
                    Supplies(
                        host=host,
                        sink=sink,
                        contexts=contexts,
                        secrets=secrets or {},
                        ssh=ssh or {},
                        bounds=request.bounds,
                        mounts=mounts,
                        said=set(graph.warnings),  # they are told at the end
                    ),
                )

            if caches is None:
                results = await run(host, sink, None)
            else:
                results = await caches.evaluate(graph, host, sink, run)
    finally:
        for context in contexts.values():
            context.close()
        fetcher.close()
    if request.squash:
        from .relayering import squashed

        graph, results = await squashed(graph, results, host, sink)
    result = _finished(request, graph, results, host, caches)
    depends_on_more = contexts.keys() - {""} or fetcher.was_used or devices.were_looked_at
    return replace(
        result,
        looked=contexts[""].looked if "" in contexts else None,
        recalled=None if depends_on_more else recalled(graph, host),
    )


async def plan_request(
    dockerfile: Dockerfile,
    request: BuildRequest,
    host: Host,
    contexts: MutableMapping[str, BuildContext],
    fetcher: Fetcher,
    *,
    devices: Devices | None = None,
) -> BuildGraph:
    """
    Plan a build with everything that its request names.

    Args:
        dockerfile: what to build.
        request: how.
        host: the effects.
        contexts: build contexts by name; those that the request names are opened and added.
        fetcher: gets what is taken from the network.
        devices: those that RUN may ask for; None for the host's, as the request allows them.

    Raises:
        DockerfileError: something is wrong in the Dockerfile.
        BuildError: something that is named cannot be had or used.
    """
    named = read_named(request.build_contexts)
    for name, value in named.items():
        if isinstance(value, NamedDirectory):
            contexts[name] = await _named_context(value.value, host, fetcher)
    devices = devices or Devices(host.cdi_directories, request.devices)
    platforms = request.platforms or (local_platform(),)
    graphs = [
        await plan(
            dockerfile,
            request,
            contexts,
            host.resolver,
            platform=platform,
            remotes=fetcher,
            devices=devices,
            named=named,
            several=len(platforms) > 1,
        )
        for platform in platforms
    ]
    return graphs[0] if len(graphs) == 1 else joined(graphs)


def _parsed(request: BuildRequest) -> Dockerfile:
    try:
        return parse(request.dockerfile, filename=request.dockerfile_name)
    except DockerfileError as problem:
        from .checks import check_beginning

        found = check_beginning(request.dockerfile, request.dockerfile_name, request.build_args, problem)
        problem.warnings = tuple(map(str, found))  # type: ignore[attr-defined]
        raise


def _contexts(request: BuildRequest, host: Host) -> dict[str, BuildContext]:
    if not request.context:
        return {}
    return {"": open_context(request.context, host.stats, dockerfile=request.dockerfile_path)}


async def _named_context(value: str, host: Host, fetcher: Fetcher) -> BuildContext:
    if is_url(value) or parse_git(value, context=True) is not None:
        return fetcher.open(await fetcher.directory_of(value))
    return open_context(value, host.stats)


async def _run(graph: BuildGraph, supplies: Supplies) -> Results:
    # Imported for what they register; the sandbox's half only if a command will run.
    if any(isinstance(step.op, Exec) for step in graph.steps()):
        supplies.host.sandbox()  # its helper process starts while the rest is loaded
        from .perform import execute  # noqa: F401
    if not all(isinstance(step.op, Exec | BaseImage | Scratch) for step in graph.steps()):
        from .perform import files  # noqa: F401
    from .runner import run

    try:
        return await run(graph, supplies)
    except BuildError as problem:
        problem.warnings = graph.warnings
        raise


def _has_index(request: BuildRequest) -> bool:
    return request.as_index or len(request.platforms) > 1


def _finished(
    request: BuildRequest, graph: BuildGraph, results: Results, host: Host, caches: CacheTransfer | None
) -> BuildResult:
    """Assemble the images of the targets, and give them their names."""
    platforms = platforms_of(graph)
    images = tuple(
        assemble(
            target,
            snapshot,
            host.blobs,
            {
                **({} if caches is None else caches.annotations(target, snapshot)),
                **annotations_of(request.annotations, "manifest", target.platform),
            },
        )
        for target, snapshot in zip(graph.targets, results.snapshots, strict=True)
    )
    bases = tuple(target.base_layers for target in graph.targets)
    made = ImageSet(images=images, platforms=platforms, bases=bases)
    made = gather(made, request.annotations, host.blobs, as_index=_has_index(request))
    for tag in request.tags:
        if host.tags.get(str(tag)) != made.root:
            host.tags.set(str(tag), made.root)
    return BuildResult(
        made=made,
        tags=request.tags,
        steps=results.steps,
        cached=results.cached,
        warnings=graph.warnings,
        epoch=graph.epoch,
    )
