"""
Figures of several processes as those of one server.

Invariants: counters of all processes add up, also those of processes that ended; a figure that there is only
once, such as the space on the storage, is asked for once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..metrics import Metrics
from .link import Link

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

Snapshot = list[list[Any]]
"""For each family its name, kind, text and samples, of which each has a name, labels and a value."""


class WorkerMetrics(Metrics):
    """What is counted in one worker, shown as what all count."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link

    def page(self, gauges: Mapping[str, float]) -> bytes:
        """The figures of all processes; asks the leading process, so it may block."""
        answer = self._link.ask("worker.figures")
        values = {**gauges, "running_requests": float(answer["running"])}
        return self.render(_Sum(answer["families"]), values)

    def snapshot(self) -> Snapshot:
        """What this process counted so far."""
        return [
            [
                family.name,
                family.type,
                family.documentation,
                [[sample.name, sample.labels, sample.value] for sample in family.samples],
            ]
            for family in self.registry.collect()
            if family.type != "gauge"
        ]


class _Sum:
    def __init__(self, families: Snapshot) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import Metric

        for name, kind, text, samples in self._families:
            family = Metric(name, text, kind)
            for sample, labels, value in samples:
                family.add_sample(sample, labels, value)
            yield family


def add_up(snapshots: Iterable[Snapshot]) -> Snapshot:
    """The sums of all samples of the same name and labels."""
    families: dict[str, list[Any]] = {}
    sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for snapshot in snapshots:
        for name, kind, text, samples in snapshot:
            families.setdefault(name, [name, kind, text])
            found = sums.setdefault(name, {})
            for sample, labels, value in samples:
                key = (sample, tuple(sorted(labels.items())))
                # When a process began is no figure to add.
                earlier = found.get(key, 0.0)
                found[key] = max(earlier, value) if sample.endswith("_created") else earlier + value
    return [
        [*family, [[sample, dict(labels), value] for (sample, labels), value in sums[name].items()]]
        for name, family in families.items()
    ]
