"""
What of a build is exported: the results of its steps that the cache index has, and the layers they need.

Looked up by definition after the build, so that it does not matter whether a step ran, was cached or was
never looked at because a later one was; after a build that failed it is what was finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from oci_image.digest import Digest
from oci_image.image import Layer

from ..caching.records import CacheRecord
from ..graph import BuildGraph, Step, Target
from ..ops import BaseImage
from .document import CachedResult

Lookup = Callable[[Digest], CacheRecord | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Results, and the layers that they are made of, each once."""

    results: tuple[CachedResult, ...]
    layers: tuple[Layer, ...]


def gather(
    graphs: Iterable[BuildGraph], lookup: Lookup, usable: Callable[[Layer], bool], *, all_steps: bool
) -> Gathered:
    """
    Collect what can be exported.

    Args:
        graphs: the plans of the build.
        lookup: the cache index.
        usable: whether a layer can be had; results that need one that cannot are left out.
        all_steps: every step that the targets need (mode=max), or only those whose layers are in the results.
    """
    results: dict[Digest, CachedResult] = {}
    layers: dict[Digest, Layer] = {}
    for graph in graphs:
        for step in graph.steps() if all_steps else _spines(graph.targets):
            if step.digest in results:
                continue
            record = lookup(step.digest)
            found = None if record is None else result_of(step, record)
            if record is None or found is None:
                continue
            own = record.layers[len(found.base) :]
            if all(usable(layer) for layer in own):
                results[step.digest] = found
                layers.update((layer.diff_id, layer) for layer in own if layer.diff_id not in layers)
    return Gathered(results=tuple(results.values()), layers=tuple(layers.values()))


def result_of(step: Step, record: CacheRecord) -> CachedResult | None:
    """A record in the form in which it is exported; None for one that does not fit its step."""
    base = tuple(layer.diff_id for layer in base_of(step))
    diff_ids = record.snapshot.diff_ids
    if diff_ids[: len(base)] != base:
        return None
    return CachedResult(
        definition=step.digest,
        content=record.content,
        base=base,
        layers=diff_ids[len(base) :],
        size=record.layer_size,
    )


def base_of(step: Step) -> tuple[Layer, ...]:
    """The layers of the base image that a step's result begins with."""
    while step.inputs:
        step = step.inputs[0]
    return step.op.layers if isinstance(step.op, BaseImage) else ()


def spine(target: Target) -> Iterator[Step]:
    """The steps whose layers make up the result of a target, the first one first."""
    steps = [target.head]
    while steps[-1].inputs:
        steps.append(steps[-1].inputs[0])
    return reversed(steps)


def _spines(targets: Iterable[Target]) -> Iterator[Step]:
    for target in targets:
        yield from spine(target)
