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
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from oci_image.reference import Reference

from ..build import build as build_image
from ..caching.recorded import Watch, record
from ..events import EventSink, Notice
from ..host import Host
from ..local import LocalStore
from ..loop import drive, needs_loop
from ..request import BuildRequest, BuildResult, ImageSet
from ..scratch import remove_leftovers
from .caching import open_caches
from .granted import Granted
from .progress.open import open_progress
from .reentry import Entry
from .report import report, summary
from .settings import Settings
from .wiring import open_host

if TYPE_CHECKING:
    from ..cachetransfer.transfer import CacheTransfer

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
    is_taken = check(request)
    store = LocalStore(settings.root)
    entry = Entry(settings)
    watch = Watch(time.time_ns())

    def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
        # Something has to run. Nothing was done or shown yet, so an ordinary user may begin again as root of
        # a user namespace; a build that is all cached never comes here.
        entry.enter()
        from .interrupts import end_in_order

        end_in_order()
        remove_leftovers(store.state)
        import asyncio

        return asyncio.run(coroutine)

    with (
        open_progress(args.progress, sys.stderr, color=settings.color) as progress,
        open_host(
            settings, store, progress, check_sandboxes=entry.check, cache_limit=_cache_limit(args, settings)
        ) as opened,
    ):
        host = replace(opened, network=replace(opened.network, secrets=granted.secrets))
        for text in granted.notices:
            progress(Notice("warning", text))
        try:
            sink = _explaining(progress, host) if args.explain else progress
            work = _everything(request, watch.over(host), store, settings, sink, granted=granted)
            result, answer, pushed = drive(work, run)
        except Exception as problem:
            from .problems import add_excerpt

            add_excerpt(problem, _sources(request))
            _warn(_shown(getattr(problem, "warnings", ())), progress, args)
            raise
        notices = _shown(result.warnings)
        told = {"answer": _answer_when_cached(answer), "notices": notices}
        record(store, host.resolver, watch, result, context=request.context, told=told, key=key)
    _warn(notices, progress, args)
    report(answer, pushed, args, is_taken=is_taken)
    return 0


def _explaining(sink: EventSink, host: Host) -> EventSink:
    from ..caching.explain import explaining

    return explaining(sink, host)


def _cache_limit(args: argparse.Namespace, settings: Settings) -> int | None:
    from .granted import read_cache_limit

    if args.cache_limit or not settings.cache_limit:
        return read_cache_limit(args.cache_limit)
    return read_cache_limit(settings.cache_limit, "PYBUILD_CACHE_LIMIT")


def _sources(request: BuildRequest) -> dict[str, bytes | str]:
    """The files that errors of a build point into, by the names that they have in messages."""
    sources: dict[str, bytes | str] = {".dockerignore": os.path.join(request.context, ".dockerignore")}
    if request.dockerfile_path:
        ignore_file = f"{request.dockerfile_path}.dockerignore"
        sources[os.path.basename(ignore_file)] = ignore_file
    sources[request.dockerfile_name] = request.dockerfile
    return sources


def check(request: BuildRequest) -> bool:
    """
    Find contradictions between options before anything runs; says whether an archive goes to standard output.

    Raises:
        InvalidOption: two options contradict each other, or an output cannot be written to its place.
    """
    if not request.outputs and not request.push:
        return False
    from .outputs import read_outputs

    return any(output.dest == "-" for output in read_outputs(request))


async def _everything(
    request: BuildRequest,
    host: Host,
    store: LocalStore,
    settings: Settings,
    sink: EventSink,
    *,
    granted: Granted,
) -> tuple[BuildResult, dict[str, Any], dict[str, dict[str, Any]]]:
    """The result, what is told of it, and descriptors of manifests by the names that it was pushed to."""
    caches = open_caches(request, settings, store)
    if caches is None or not caches.has_exports:
        return await _delivered(request, host, store, settings, sink, granted=granted, caches=caches)
    await needs_loop()
    try:
        done = await _delivered(request, host, store, settings, sink, granted=granted, caches=caches)
    except Exception:
        await caches.export(sink, failed=True)
        raise
    await caches.export(sink)
    return done


async def _delivered(
    request: BuildRequest,
    host: Host,
    store: LocalStore,
    settings: Settings,
    sink: EventSink,
    *,
    granted: Granted,
    caches: CacheTransfer | None,
) -> tuple[BuildResult, dict[str, Any], dict[str, dict[str, Any]]]:
    result = await build_image(request, host, sink, secrets=granted.secrets, ssh=granted.ssh, caches=caches)
    if not request.outputs and not request.push:
        return result, _answer(result, result.made, result.tags), {}
    from .outputs import deliver, read_outputs

    outputs = read_outputs(request)
    done = await deliver(outputs, request, result, host=host, store=store, settings=settings, sink=sink)
    pushed = {name: manifest.to_json() for name, manifest in done.pushed.items()}
    return result, _answer(result, done.made, done.names), pushed


def _answer(result: BuildResult, made: ImageSet, names: Iterable[Reference]) -> dict[str, Any]:
    """What `report` tells of a result."""
    return {
        "id": str(made.id),
        "descriptor": made.root.to_json(),
        "names": ",".join(dict.fromkeys(name.familiar for name in names)),
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
    if args.progress not in ("json", "rawjson"):
        sys.stderr.write(summary(notices))
