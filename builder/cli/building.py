"""
One build from the command line: effects, progress, exports and pushes, and what is printed at the end.

The image ID is the only thing on standard output. A build whose steps are all cached is driven without an
event loop, and loads nothing outside the standard library but our own modules.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from oci_image.digest import Digest

from ..build import build as build_image
from ..errors import BuildError, InvalidOption
from ..events import EventSink, Notice
from ..host import Host
from ..local import LocalStore
from ..loop import drive, needs_loop
from ..request import BuildRequest, BuildResult, Output
from .progress.open import open_progress
from .reentry import enter_user_namespace
from .settings import Settings
from .wiring import open_host

_T = TypeVar("_T")


def build(request: BuildRequest, args: argparse.Namespace, settings: Settings) -> int:
    """Build, export, push and report; returns the exit status."""
    check(request)
    store = LocalStore(settings.root)

    def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
        # Something has to run. Nothing was done or shown yet, so an ordinary user may begin again as root of
        # a user namespace; a build that is all cached never comes here.
        enter_user_namespace(settings, required=False)
        import asyncio

        return asyncio.run(coroutine)

    with (
        open_progress(args.progress, sys.stderr, color=settings.color) as progress,
        open_host(settings, store, progress) as host,
    ):
        result, pushed = drive(_everything(request, host, store, settings, progress), run)
    for text in result.warnings:
        progress(Notice("warning", text))
    _report(result, pushed, args)
    return 0


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
    request: BuildRequest, host: Host, store: LocalStore, settings: Settings, sink: EventSink
) -> tuple[BuildResult, dict[str, Digest]]:
    result = await build_image(request, host, sink)
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


def _report(result: BuildResult, pushed: dict[str, Digest], args: argparse.Namespace) -> None:
    image = result.image
    if args.iidfile:
        _write(args.iidfile, str(image.id))
    if args.metadata_file:
        value: dict[str, object] = {
            "containerimage.config.digest": str(image.id),
            "containerimage.digest": str(next(iter(pushed.values()), image.manifest.digest)),
            "containerimage.descriptor": image.manifest.descriptor.to_json(),
            "image.name": ",".join(tag.familiar for tag in result.tags),
            "pybuild.pushed": {name: str(digest) for name, digest in pushed.items()},
            "pybuild.steps": {"total": result.steps, "cached": result.cached},
        }
        _write(args.metadata_file, json.dumps(value, indent=2) + "\n")
    # An archive on standard output must not be followed by anything.
    to_stdout = any("dest=-" in text or text == "-" for text in args.output)
    print(image.id, file=sys.stderr if to_stdout else sys.stdout)


def _write(path: str, text: str) -> None:
    """Write a small file atomically."""
    folder = os.path.dirname(os.path.abspath(path))
    try:
        descriptor, temporary = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as problem:
        raise BuildError(f"cannot write {path}: {problem.strerror}") from problem
