"""
The caches of one build: imported before its steps are looked up a second time, exported when it is over.

Sources are asked only when the local results do not answer everything. What goes wrong with a source is a
warning that names it, and a miss; what goes wrong with a destination is a warning, too, unless its option
says that it is an error. The exports of a build that failed hold the steps that it finished.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from ..caching.recall import Recall, Results
from ..errors import CacheLost, ExportProblem
from ..events import Event, EventSink, Notice, StepProblem, TaskDone, TaskStarted
from ..graph import BuildGraph, Target
from ..host import Host
from ..snapshots import Snapshot
from .exporting import PROBLEMS, Exporting, reason
from .imported import ImportedCaches, ImportingIndex, absent_layers
from .inline import inline_cache
from .layers import ImportedLayers
from .options import CacheExport
from .places import CacheDestination, CacheSource, ImportedCache

if TYPE_CHECKING:
    from .mounts import ImportedMounts

Evaluate: TypeAlias = Callable[[Host, EventSink, "ImportedMounts | None"], Awaitable[Results]]
"""Runs the steps of a plan with these effects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """
    What the result of a build will be used for, which decides whether its layers have to be here.

    `bytes` says that something reads them, `image` that the image stays in the store, and `pushed_to` names
    the registries that it is pushed to.
    """

    bytes: bool = False
    image: bool = False
    pushed_to: frozenset[str] = frozenset()

    def here(self, registries: set[str]) -> bool:
        """Whether a layer that these registries ("" for a directory) have is to be fetched."""
        if not registries:
            return False  # none of an imported cache
        return self.bytes or (registries == {""} and self.image) or not self.pushed_to <= registries


NOTHING_NEEDED = Needed()


class CacheTransfer:
    """
    Imports and exports of one build, which may consist of several plans.

    Args:
        sources: where caches are imported from, the first one first.
        exports: where they are exported to, and how.
        needed: what the result will be used for.
        inline: whether the image is to carry its cache.
    """

    def __init__(
        self,
        sources: Sequence[CacheSource] = (),
        exports: Sequence[tuple[CacheExport, CacheDestination]] = (),
        *,
        needed: Needed = NOTHING_NEEDED,
        inline: bool = False,
    ) -> None:
        self._sources = sources
        self._exports = exports
        self._needed = needed
        self._inline = inline
        self._imported: ImportedCaches | None = None
        self._graphs: list[BuildGraph] = []
        self._host: Host | None = None

    @property
    def has_exports(self) -> bool:
        """Whether anything is exported after the build."""
        return bool(self._exports)

    def add(self, graph: BuildGraph, host: Host) -> None:
        """Take note of a plan, before its steps are looked up."""
        self._graphs.append(graph)
        self._host = self._host or host

    async def evaluate(self, graph: BuildGraph, host: Host, sink: EventSink, run: Evaluate) -> Results:
        """
        The results of a plan, with imported caches; started again when one of their layers is lost.

        Args:
            graph: the plan.
            host: the effects.
            sink: takes the events.
            run: runs the steps that are not cached.

        Raises:
            BuildError, ImageError: see `run`.
        """
        if not self._sources:
            return await run(host, sink, None)
        imported = await self._read(host, sink)
        while True:
            layers = ImportedLayers(host.layers, imported, host.blobs, sink)
            index = ImportingIndex(host.cache, imported, self._graphs, host.blobs)
            self._host = view = replace(host, layers=layers, cache=index, reachable=imported.is_reachable)
            try:
                results = Recall(graph, view, sink).everything(graph)
                if results is None:
                    results = await run(view, _quiet(sink, layers), _mounts(imported, host, sink))
                await _settle(results, imported, layers, host, self._needed)
            except CacheLost as lost:
                sink(Notice("warning", f"{lost.message}; what needs it is built again"))
            else:
                return results
            finally:
                index.settle()

    def annotations(self, target: Target, snapshot: Snapshot) -> dict[str, str]:
        """What an image's manifest says about its cache; nothing unless that was asked for."""
        if not self._inline or self._host is None:
            return {}
        return inline_cache(target, snapshot, self._host.cache.lookup)

    async def export(self, sink: EventSink, *, failed: bool = False) -> None:
        """
        Export what the build has finished, to each destination.

        Args:
            sink: takes the events.
            failed: the build failed, so that no problem of an export is worth an error any more.

        Raises:
            ExportProblem: one that is to be an error; the other exports were made.
        """
        host = self._host
        if host is None or not self._exports:
            return
        problems = []
        exporting = Exporting(self._graphs, host, self._imported, sink)
        for option, destination in self._exports:
            sink(TaskStarted(destination.title, host.clock()))
            try:
                detail = await exporting.export(option, destination)
            except PROBLEMS as problem:
                detail = f"failed: {reason(problem)}"
                message = f"cannot export the cache to {destination.shown}: {reason(problem)}"
                if option.fatal and not failed:
                    problems.append(ExportProblem(message, hint=getattr(problem, "hint", None)))
                else:
                    sink(Notice("warning", message))
            sink(TaskDone(destination.title, host.clock(), detail))
        if problems:
            raise problems[0]

    async def _read(self, host: Host, sink: EventSink) -> ImportedCaches:
        if self._imported is None:
            caches: list[tuple[CacheSource, ImportedCache]] = []
            for source in self._sources:
                title = f"importing cache manifest from {source.shown}"
                sink(TaskStarted(title, host.clock()))
                try:
                    cache = await source.read()
                except PROBLEMS as problem:
                    detail = f"ignored: {reason(problem)}"
                    sink(Notice("warning", f"the cache {source.shown} is ignored: {reason(problem)}"))
                else:
                    detail = "nothing is there yet" if cache is None else ""
                    caches += [] if cache is None else [(source, cache)]
                sink(TaskDone(title, host.clock(), detail))
            self._imported = ImportedCaches(caches)
        return self._imported


async def _settle(
    results: Results, imported: ImportedCaches, layers: ImportedLayers, host: Host, needed: Needed
) -> None:
    """Let the layers of the results be found later: by a note of who has them, or by having them here."""
    used = [layer for snapshot in results.snapshots for layer in snapshot.layers]
    absent = absent_layers(used, host.blobs)
    imported.remember(absent)
    # Those that are here already are only looked into.
    remote = [one for one in absent if not needed.here(imported.registries(one.descriptor.digest))]
    await layers.ensure(tuple(one for one in used if one not in remote))


def _quiet(sink: EventSink, layers: ImportedLayers) -> EventSink:
    """The same sink, but a step that lost a layer of a cache is not told to have failed: it starts again."""

    def quiet(event: Event) -> None:
        lost = layers.lost
        if lost is None or not isinstance(event, StepProblem) or event.message != lost.message:
            sink(event)

    return quiet


def _mounts(imported: ImportedCaches, host: Host, sink: EventSink) -> ImportedMounts | None:
    caches = [(source, cache) for source, cache in imported.caches if cache.mounts]
    if not caches:
        return None
    from .mounts import ImportedMounts

    return ImportedMounts(caches, host.state, sink, user_namespace=host.user_namespace)
