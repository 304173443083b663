"""
The runner: evaluates the steps that the targets need, reusing earlier results.

One `asyncio.TaskGroup`. Steps are evaluated from the targets backwards: while the definition of a step is
known to the cache, none of its inputs is looked at or fetched; otherwise its inputs are evaluated (those that
are independent in parallel), and their contents decide once more whether an earlier result serves. Each step
runs once, also among several processes that share a store. The first failure cancels the rest and is the only
one raised.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass

from oci_image.digest import Digest
from oci_image.errors import ImageError

from .caching.cache import CacheRecord
from .caching.listings import Listings
from .caching.recall import Recall, Results
from .errors import BuildError
from .events import StepDone, StepProblem, StepStarted
from .graph import BuildGraph, Step, key_preimage
from .locks import exclusive
from .perform.base import Supplies, given, identities, in_thread, perform
from .snapshots import Snapshot

_LOCK_DIGITS = 3
"""Hexadecimal digits of a key in the name of its lock: at most 4096 files, hardly ever one for two steps."""


async def run(graph: BuildGraph, supplies: Supplies, *, parallel: int = 0) -> Results:
    """
    Evaluate all targets of a graph.

    Args:
        graph: the plan.
        supplies: what the steps may use.
        parallel: how many steps may run at once; 0 means a number that suits this machine.

    Raises:
        BuildError: the first step that failed, with its place in the Dockerfile.
    """
    return await _Run(graph, supplies, parallel or max(4, 2 * (os.cpu_count() or 1))).results()


@dataclass(frozen=True, slots=True)
class _Key:
    digest: Digest
    preimage: bytes


@dataclass(frozen=True, slots=True)
class _Result:
    """What a step came to, and the content key under which it did."""

    snapshot: Snapshot
    content: Digest


class _Run:
    def __init__(self, graph: BuildGraph, supplies: Supplies, parallel: int) -> None:
        self._graph = graph
        self._supplies = supplies
        self._host = supplies.host
        self._recall = Recall(graph, supplies.host, supplies.sink)
        self._slots = asyncio.Semaphore(parallel)
        self._tasks: dict[Digest, asyncio.Task[_Result]] = {}
        self._group = asyncio.TaskGroup()
        self._problem: Exception | None = None

    async def results(self) -> Results:
        try:
            async with self._group:
                tasks = [self._task(target.head) for target in self._graph.targets]
        except BaseExceptionGroup as group:
            failure = self._problem or group.exceptions[0]
        else:
            return self._recall.results([task.result().snapshot for task in tasks])
        raise failure  # out here, so that it keeps its own cause

    def _task(self, step: Step) -> asyncio.Task[_Result]:
        task = self._tasks.get(step.digest)
        if task is None:
            task = self._tasks[step.digest] = self._group.create_task(self._evaluate(step))
        return task

    async def _evaluate(self, step: Step) -> _Result:
        try:
            found = self._recall.by_definition(step)
            if found is not None:
                return _Result(found.snapshot, found.content)
            self._supplies.expected.add(step)
            inputs = [await task for task in [self._task(inner) for inner in step.inputs]]
            return await self._from_inputs(step, inputs)
        except Exception as problem:
            if self._problem is None:
                self._problem = problem
            raise
        finally:
            self._supplies.expected.discard(step)

    async def _from_inputs(self, step: Step, results: Sequence[_Result]) -> _Result:
        inputs = [result.snapshot for result in results]
        start = given(step.op)
        if start is not None:
            self._recall.runs(step)
            now = self._host.clock()
            self._supplies.sink(StepStarted(step, now))
            self._supplies.sink(StepDone(step, now, 0))
            return _Result(start, step.digest)
        key = await self._content_key(step, inputs, results[0].content if results else None)
        found = self._recall.by_content(step, key.digest, inputs)
        if found is not None:
            return _Result(found.snapshot, key.digest)
        lock = os.path.join(self._host.state, "locks", f"step-{key.digest.hex[:_LOCK_DIGITS]}")
        async with exclusive(lock) as waited, self._slots:
            if waited:
                found = self._recall.by_content(step, key.digest, inputs)
                if found is not None:
                    return _Result(found.snapshot, key.digest)
            return _Result(await self._perform(step, inputs, key), key.digest)

    async def _content_key(self, step: Step, inputs: Sequence[Snapshot], below: Digest | None) -> _Key:
        """
        The key of a step over the contents of its inputs.

        Of the step that it continues both count, what it did and what came of it: what it did, so that a
        change runs everything after it, as people expect; what came of it, because running it again may give
        something else.
        """
        try:
            parts = await identities(step.op, inputs, self._supplies)
        except (BuildError, ImageError, OSError) as problem:
            raise self._failure(step, problem) from _cause(problem)
        if below is not None:
            parts = (f"{parts[0]} {below}", *parts[1:])
        preimage = key_preimage(step.op, parts)
        return _Key(Digest.of(preimage), preimage)

    async def _perform(self, step: Step, inputs: Sequence[Snapshot], key: _Key) -> Snapshot:
        self._supplies.expected.discard(step)
        self._recall.runs(step)
        await in_thread(Listings(self._host.state).remember, step.op, self._supplies.contexts)
        started = self._host.clock()
        self._supplies.sink(StepStarted(step, started))
        try:
            snapshot = await perform(step.op, inputs, step, self._supplies)
        except asyncio.CancelledError:
            self._supplies.sink(StepProblem(step, self._host.clock(), "cancelled"))
            raise
        except (BuildError, ImageError, OSError) as problem:
            raise self._failure(step, problem) from _cause(problem)
        except Exception as problem:  # a mistake of ours: told as it is
            self._supplies.sink(StepProblem(step, self._host.clock(), f"internal error: {problem!r}"))
            raise
        ended = self._host.clock()
        record = CacheRecord.of(
            snapshot, key.digest, size=_own_size(snapshot, inputs), seconds=ended - started
        )
        self._host.cache.store([(step.digest, step.preimage), (key.digest, key.preimage)], record)
        self._supplies.sink(StepDone(step, ended, record.layer_size))
        return snapshot

    def _failure(self, step: Step, problem: Exception) -> BuildError:
        """The error of a step, with its place; tells it as an event, too."""
        if isinstance(problem, BuildError):
            failure = problem
            failure.span = failure.span or step.origin.span
        else:
            hint = problem.hint if isinstance(problem, ImageError) else None
            failure = BuildError(f"{step.origin.name}: {_text(problem)}", span=step.origin.span, hint=hint)
        self._supplies.sink(StepProblem(step, self._host.clock(), failure.message))
        return failure


def _text(problem: Exception) -> str:
    if isinstance(problem, ImageError):
        return problem.message
    if isinstance(problem, OSError) and problem.strerror:
        return f"{problem.strerror}: {problem.filename}" if problem.filename else problem.strerror
    return str(problem)


def _cause(problem: Exception) -> BaseException | None:
    """What a step's error is raised from: one that is raised itself keeps its own cause."""
    return problem.__cause__ if isinstance(problem, BuildError) else problem


def _own_size(snapshot: Snapshot, inputs: Sequence[Snapshot]) -> int:
    below = len(inputs[0].layers) if inputs else 0
    return sum(layer.descriptor.size for layer in snapshot.layers[below:])
