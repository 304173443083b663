"""
A build graph for people and for programs: what ``--plan`` prints.

Steps are numbered in the order in which they can run; every step names the numbers of its inputs. The JSON
form holds exactly what enters the steps' digests, so that two plans can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch
from typing import Any

from .graph import BuildGraph, Step
from .ops import (
    BaseImage,
    ContextSource,
    CopyFiles,
    Exec,
    ExecMount,
    FetchedSource,
    InlineSource,
    MakeDir,
    Scratch,
    Source,
    StepSource,
    UnfetchedSource,
    canonical,
)


def describe_graph(graph: BuildGraph) -> str:
    """The plan as text: each step with its inputs and what it does, then what the image is configured to."""
    numbers = {step: number for number, step in enumerate(graph.steps(), 1)}
    lines: list[str] = []
    final: dict[Step, bool] = {}
    for step, number in numbers.items():
        inputs = ", ".join(f"#{numbers[inner]}" for inner in step.inputs)
        lines.append(f"#{number} {step.origin.title}" + (f"  (on {inputs})" if inputs else ""))
        lines.extend(f"    {line}" for line in _describe(step.op))
        key = step.digest.short if _is_final(step, final) else "not known before everything is fetched"
        lines.append(f"    key {key}" + ("  never reused" if step.origin.no_cache else ""))
    for target in graph.targets:
        lines.append(f"image {target.name or 'of the last stage'}: #{numbers[target.head]}")
        config = target.config.config.to_json()
        lines.extend(f"    {name}: {_short(value)}" for name, value in config.items())
        lines.append(f"    Platform: {target.config.platform}")
    lines.extend(f"warning: {warning}" for warning in graph.warnings)
    return "\n".join(lines) + "\n"


def graph_json(graph: BuildGraph) -> dict[str, Any]:
    """The plan as a JSON value."""
    numbers = {step: number for number, step in enumerate(graph.steps(), 1)}
    final: dict[Step, bool] = {}
    return {
        "steps": [_step_json(step, number, numbers, final) for step, number in numbers.items()],
        "targets": [
            {"name": target.name, "step": numbers[target.head], "config": target.config.to_json()}
            for target in graph.targets
        ],
        "warnings": list(graph.warnings),
    }


def _step_json(step: Step, number: int, numbers: dict[Step, int], final: dict[Step, bool]) -> dict[str, Any]:
    span = step.origin.span
    return {
        "number": number,
        "name": step.origin.title,
        "lines": [span.start_line, span.end_line] if span else None,
        "op": type(step.op).__name__,
        "parameters": canonical(step.op),
        "inputs": [numbers[inner] for inner in step.inputs],
        "digest": str(step.digest) if _is_final(step, final) else None,
    }


def _short(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={inner}" if inner else str(key) for key, inner in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


@singledispatch
def _describe(op: object) -> Iterator[str]:
    raise TypeError(f"no description for {type(op).__name__}")


@_describe.register
def _(op: Scratch) -> Iterator[str]:
    del op
    yield "an empty filesystem"


@_describe.register
def _(op: BaseImage) -> Iterator[str]:
    size = sum(layer.descriptor.size for layer in op.layers)
    yield f"{len(op.layers)} layers, {size} bytes as they are stored"


@_describe.register
def _(op: MakeDir) -> Iterator[str]:
    yield f"make {op.path}" + (f" for {op.owner}" if op.owner else "")


@_describe.register
def _(op: CopyFiles) -> Iterator[str]:
    flags = [
        *((f"owner {op.owner}",) if op.owner else ()),
        *((f"mode {op.mode}",) if op.mode else ()),
        *((f"without {' '.join(op.exclude)}",) if op.exclude else ()),
        *(name for name in ("unpack", "link", "parents") if getattr(op, name)),
    ]
    extra = f" ({', '.join(flags)})" if flags else ""
    for source in op.sources:
        yield f"{_source(source)} -> {op.dest}{extra}"


def _source(source: Source) -> str:
    if isinstance(source, ContextSource):
        return f"{source.pattern or '.'} of the build context, {source.digest.short}"
    if isinstance(source, StepSource):
        return f"{source.pattern} of input {source.input + 1}"
    if isinstance(source, InlineSource):
        return f"{source.name}, {len(source.content)} bytes in the Dockerfile"
    if isinstance(source, FetchedSource):
        return f"{source.name}, fetched, {source.digest.short}"
    if isinstance(source, UnfetchedSource):
        return f"{source.shown}, not fetched"
    raise TypeError(f"no description for {type(source).__name__}")


def _is_final(step: Step, known: dict[Step, bool]) -> bool:
    """Whether the key of a step is what it will be in a build; the inputs were asked about before."""
    sources = step.op.sources if isinstance(step.op, CopyFiles) else ()
    fetched = not any(isinstance(source, UnfetchedSource) for source in sources)
    known[step] = fetched and all(known[inner] for inner in step.inputs)
    return known[step]


@_describe.register
def _(op: Exec) -> Iterator[str]:
    yield f"run {list(op.argv)!r}"
    yield f"in {op.cwd} as {op.user or 'root'}, network {op.network}"
    for item in op.env:
        yield f"env {item}"
    for device in op.devices:
        yield f"device {device.name}" + ("" if device.required else ", if there is one")
    for mount in op.mounts:
        yield _mount(mount)
    for file in op.files:
        yield f"file {file.path}, {len(file.content)} bytes in the Dockerfile"


def _mount(mount: ExecMount) -> str:
    text = f"mount {mount.type} at {mount.target or f'${mount.env}'}"
    if mount.context_digest is not None:
        text += f" from {mount.source or '.'} of the build context, {mount.context_digest.short}"
    elif mount.input is not None:
        text += f" from {mount.source} of input {mount.input + 1}"
    return text + (" read-only" if mount.readonly and mount.type == "bind" else "")
