"""
What is counted about mirrors, for Prometheus.

Invariant: the labels are prefixes of mirrors, which come from the settings, and fixed words.
"""

from __future__ import annotations

from ..metrics import Metrics

RESULTS = ("hit", "miss", "stale", "missing", "failed", "unkept")


class Figures:
    """
    The counters of all mirrors of one registry.

    Args:
        metrics: where they are shown; None to count nothing.
    """

    def __init__(self, metrics: Metrics | None) -> None:
        self._on = metrics is not None
        if metrics is None:
            return
        import prometheus_client as prometheus

        name, registry = "pybuild_registry_mirror_", metrics.registry
        self._requests = prometheus.Counter(
            f"{name}requests",
            "Requests for mirrored content, by how they were answered.",
            ["mirror", "result"],
            registry=registry,
        )
        self._upstream = prometheus.Counter(
            f"{name}upstream_requests",
            "Questions to upstreams, by what came of them.",
            ["mirror", "outcome"],
            registry=registry,
        )
        self._bytes = prometheus.Counter(
            f"{name}upstream_bytes", "Bytes of blobs from upstreams.", ["mirror"], registry=registry
        )

    def answered(self, mirror: str, result: str) -> None:
        """Count an answer to a client."""
        if self._on:
            self._requests.labels(mirror, result).inc()

    def asked(self, mirror: str, outcome: str) -> None:
        """Count a question to an upstream."""
        if self._on:
            self._upstream.labels(mirror, outcome).inc()

    def received(self, mirror: str, size: int) -> None:
        """Count bytes from an upstream."""
        if self._on:
            self._bytes.labels(mirror).inc(size)
