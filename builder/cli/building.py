"""
One build from the command line: effects, progress, exports and pushes, and what is printed at the end.

The image ID is the only thing on standard output. A build whose steps are all cached is driven without an
event loop, and loads nothing outside the standard library but our own modules.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from oci_image.digest import Digest

from ..build import build as build_image
from ..errors import InvalidOption
from ..events import EventSink, Notice
from ..host import Host
from ..local import LocalStore
from ..loop import drive, needs_loop
from ..recorded import Watch, record
from ..request import BuildRequest, BuildResult, Output
from .granted import Granted
from .progress.open import open_progress
from .reentry import Entry
from .report import report, summary
from .settings import Settings
from .wiring import open_host

_T = TypeVar("_T")


def build(
    request: BuildRequest,
    args: argparse.Namespace,
    settings: Settings,
    granted: Granted,
    *,
    key: Callable[[], str],
) -> int:
    """
    Build, export, push and report; returns the exit status.

    Args:
        request: what to build.
        args: how to report it.
        settings: of this call.
        granted: secrets and agents for RUN.
        key: computes under which key the build may be recorded, "" for not at all.
    """
    check(request)
    store = LocalStore(settings.root)
    entry = Entry(settings)
    watch = Watch(time.time_ns())

    def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
        # Something has to run. Nothing was done or shown yet, so an ordinary user may begin again as root of
        # a user namespace; a build that is all cached never comes here.
        entry.enter()
        from .interrupts import end_in_order

        end_in_order()
        import asyncio

        return asyncio.run(coroutine)

    with (
        open_progress(args.progress, sys.stderr, color=settings.color) as progress,
        open_host(settings, store, progress, check_sandboxes=entry.check) as host,
    ):
        try:
            work = _everything(request, watch.over(host), store, settings, progress, granted=granted)
            result, pushed = drive(work, run)
        except Exception as problem:
            from .problems import add_excerpt

            add_excerpt(problem, _sources(request))
            _warn(_shown(getattr(problem, "warnings", ())), progress, args)
            raise
        answer, notices = _answer(result), _shown(result.warnings)
        told = {"answer": _answer_when_cached(answer), "notices": notices}
        record(store, host.resolver, watch, result, context=request.context, told=told, key=key)
    _warn(notices, progress, args)
    report(answer, {name: str(digest) for name, digest in pushed.items()}, args)
    return 0


def _sources(request: BuildRequest) -> dict[str, bytes | str]:
    """The files that errors of a build point into, by the names that they have in messages."""
    sources: dict[str, bytes | str] = {".dockerignore": os.path.join(request.context, ".dockerignore")}
    if request.dockerfile_path:
        ignore_file = f"{request.dockerfile_path}.dockerignore"
        sources[os.path.basename(ignore_file)] = ignore_file
    sources[request.dockerfile_name] = request.dockerfile
    return sources


def check(request: BuildRequest) -> None:
    """
    Find contradictions between options before anything runs.

    Raises:
        InvalidOption: two options contradict each other.
    """
    wants_push = request.push or any(output.type == "registry" for output in request.outputs)
    if wants_push and not names_of(request):
        raise InvalidOption(
            "nothing to push: the image has no name", hint="give it one with -t REGISTRY/NAME:TAG"
        )
    to_stdout = [output for output in request.outputs if output.dest == "-"]
    if len(to_stdout) > 1:
        raise InvalidOption("only one --output can go to standard output")


def names_of(request: BuildRequest) -> list[str]:
    """The names that the image gets: those of -t and of outputs with name=."""
    from oci_image.reference import Reference

    names = [str(tag) for tag in request.tags]
    for output in request.outputs:
        texts = filter(None, output.attributes.get("name", "").split(","))
        names.extend(str(Reference.parse(text)) for text in texts)
    return list(dict.fromkeys(names))


async def _everything(
    request: BuildRequest,
    host: Host,
    store: LocalStore,
    settings: Settings,
    sink: EventSink,
    *,
    granted: Granted,
) -> tuple[BuildResult, dict[str, Digest]]:
    result = await build_image(request, host, sink, secrets=granted.secrets, ssh=granted.ssh)
    names = names_of(request)
    for name in names:
        if store.tags.get(name) != result.image.manifest.descriptor:
            store.tags.set(name, result.image.manifest.descriptor)
    for output in request.outputs:
        if output.type not in ("image", "registry"):
            await needs_loop()
            await _export(output, request, result, host, sink)
    pushed: dict[str, Digest] = {}
    if _wants_push(request):
        from oci_image.reference import Reference

        from .transfers import push_image

        await needs_loop()
        for name in names:
            descriptor = result.image.manifest.descriptor
            pushed[name] = await push_image(
                settings, store, descriptor, Reference.parse(name), sink, compression=request.compression
            )
    return result, pushed


def _wants_push(request: BuildRequest) -> bool:
    return request.push or any(
        output.type == "registry" or output.attributes.get("push") == "true" for output in request.outputs
    )


async def _export(
    output: Output, request: BuildRequest, result: BuildResult, host: Host, sink: EventSink
) -> None:
    import time

    from ..events import TaskDone, TaskStarted
    from ..exporters.open import open_exporter

    title = f"exporting {output.type}"
    sink(TaskStarted(title, time.monotonic()))
    exporter = open_exporter(output, request.compression)
    exported = await exporter.export(result.image, request.tags, host, sink)
    sink(TaskDone(title, time.monotonic(), exported.detail))


def _answer(result: BuildResult) -> dict[str, Any]:
    """What `report` tells of a result."""
    return {
        "id": str(result.image.id),
        "descriptor": result.image.manifest.descriptor.to_json(),
        "names": ",".join(tag.familiar for tag in result.tags),
        "steps": {"total": result.steps, "cached": result.cached},
    }


def _answer_when_cached(answer: dict[str, Any]) -> dict[str, Any]:
    """What an equal build will tell, which finds every step cached."""
    total = answer["steps"]["total"]
    return {**answer, "steps": {"total": total, "cached": total}}


def _shown(warnings: Iterable[str]) -> list[str]:
    """The warnings of a plan as they are shown."""
    return [text.removeprefix("[Warning] ") for text in warnings]


def _warn(notices: list[str], progress: EventSink, args: argparse.Namespace) -> None:
    if args.progress == "quiet":
        return
    for text in notices:
        progress(Notice("warning", text))
    if args.progress != "json":
        sys.stderr.write(summary(notices))
