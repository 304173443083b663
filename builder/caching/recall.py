"""
Reusing earlier results: the part of running a build that only looks things up.

Nothing here waits, so that a build in which every step is known needs no event loop. A result is reported as
cached together with everything it was made from, each step once, inputs first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from oci_image.digest import Digest

from ..events import Event, EventSink, StepCached
from ..graph import BuildGraph, Step
from ..host import Host
from ..ops import BaseImage
from ..snapshots import Snapshot
from .cache import CacheRecord, is_complete


def recalled(graph: BuildGraph, host: Host) -> tuple[Step, ...] | None:
    """
    The steps that the next build of the graph would report as cached, in its order.

    None when it would not find every result.
    """
    steps: list[Step] = []

    def note(event: Event) -> None:
        if isinstance(event, StepCached):
            steps.append(event.step)

    return tuple(steps) if Recall(graph, host, note).everything(graph) is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The snapshots of the targets, in their order; how many steps they have, and how many were reused."""

    snapshots: tuple[Snapshot, ...]
    steps: int
    cached: int


class Recall:
    """Looks up the steps of one build, and remembers which ones it reported as cached."""

    def __init__(self, graph: BuildGraph, host: Host, sink: EventSink) -> None:
        self._host = host
        self._sink = sink
        self._cached: set[Digest] = set()
        self._ran: set[Digest] = set()
        self._fresh: set[Digest] = set()
        self._given: dict[Digest, int] = {}
        self._steps = 0
        for step in graph.steps():
            self._steps += 1
            if step.origin.no_cache or any(inner.digest in self._fresh for inner in step.inputs):
                self._fresh.add(step.digest)
            below = self._given[step.inputs[0].digest] if step.inputs else 0
            self._given[step.digest] = len(step.op.layers) if isinstance(step.op, BaseImage) else below

    def by_definition(self, step: Step) -> CacheRecord | None:
        """
        The result of an equal step, without a look at its inputs.

        A step that has to run again, or that depends on one, has none: its inputs may change.
        """
        record = self._peek(step)
        if record is None:
            return None
        self._report(step)
        return record

    def by_content(self, step: Step, key: Digest, inputs: Sequence[Snapshot]) -> CacheRecord | None:
        """
        The result of the same op over inputs of the same content.

        From then on it is known by the step's definition, too.
        """
        if step.origin.no_cache:
            return None
        record = self._complete(step, self._host.cache.lookup(key))
        below = inputs[0].layers if inputs else ()
        if record is None or not _continues(record, inputs):
            return None
        # The layers below are the same by their diff_ids; where they rest may have changed.
        record = replace(record, layers=below + record.layers[len(below) :])
        self._host.cache.store([(step.digest, step.preimage)], record)
        self._cached.add(step.digest)
        self._sink(StepCached(step))  # its inputs were evaluated, and told of, before
        return record

    def everything(self, graph: BuildGraph) -> Results | None:
        """The results of all targets if each is known by its definition; otherwise None without any event."""
        records = [self._peek(target.head) for target in graph.targets]
        found = [record.snapshot for record in records if record is not None]
        if len(found) < len(records):
            return None
        for target in graph.targets:
            self._report(target.head)
        return self.results(found)

    def runs(self, step: Step) -> None:
        """Note that a step runs, and so is not reported as cached."""
        self._ran.add(step.digest)
        self._cached.discard(step.digest)

    def results(self, snapshots: Sequence[Snapshot]) -> Results:
        """What the build comes to, once every target has its snapshot."""
        return Results(snapshots=tuple(snapshots), steps=self._steps, cached=len(self._cached))

    def _peek(self, step: Step) -> CacheRecord | None:
        if step.digest in self._fresh:
            return None
        return self._complete(step, self._host.cache.lookup(step.digest))

    def _complete(self, step: Step, record: CacheRecord | None) -> CacheRecord | None:
        given, host = self._given[step.digest], self._host
        if record is None or not is_complete(record, host.blobs, given, host.reachable):
            return None
        return record

    def _report(self, step: Step) -> None:
        stack = [(step, False)]
        while stack:
            inner, expanded = stack.pop()
            if inner.digest in self._cached or inner.digest in self._ran:
                continue
            if expanded:
                self._cached.add(inner.digest)
                self._sink(StepCached(inner))
            else:
                stack.append((inner, True))
                stack.extend((below, False) for below in reversed(inner.inputs))


def _continues(record: CacheRecord, inputs: Sequence[Snapshot]) -> bool:
    """Whether a result begins with the layers below; that of an imported cache might be a made-up one."""
    below = inputs[0].diff_ids if inputs else ()
    return record.snapshot.diff_ids[: len(below)] == below
