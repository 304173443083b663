"""
Figures about a server for Prometheus.

Invariant: labels never come from clients, so their number is bounded.
Governing source: the Prometheus exposition format, by prometheus-client.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from aiohttp import web

from ..errors import InvalidConfiguration
from .marks import ROUTE

if TYPE_CHECKING:
    from prometheus_client.registry import Collector as Counted

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

GAUGES = {
    "running_requests": "Requests that are being answered.",
    "uploads": "Uploads in progress.",
    "storage_free_bytes": "Space that is left on the storage.",
    "storage_size_bytes": "Size of the storage.",
    "pending_events": "Events that wait for their delivery.",
}


class Metrics:
    """
    What is counted about one server.

    Raises:
        InvalidConfiguration: prometheus-client is not installed.
    """

    def __init__(self) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError as problem:
            raise InvalidConfiguration(
                "metrics need the package prometheus-client",
                hint="install the extra: pip install 'pybuild[registry]'",
            ) from problem
        self._render = prometheus.generate_latest
        self._new_registry = prometheus.CollectorRegistry
        self.content_type = prometheus.CONTENT_TYPE_PLAIN_0_0_4
        self.registry = registry = prometheus.CollectorRegistry()
        name = "pybuild_registry_"
        self._requests = prometheus.Counter(
            f"{name}requests", "Answered requests.", ["method", "resource", "status"], registry=registry
        )
        self._seconds = prometheus.Histogram(
            f"{name}request_seconds",
            "Time from a request to the end of its answer.",
            ["resource"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._received = prometheus.Counter(
            f"{name}received_bytes", "Bytes of bodies that came.", registry=registry
        )
        self._sent = prometheus.Counter(
            f"{name}sent_bytes", "Bytes of bodies that were sent.", registry=registry
        )
        self._gauges = {
            key: prometheus.Gauge(f"{name}{key}", text, registry=registry) for key, text in GAUGES.items()
        }

    def count(self, request: web.Request, answer: web.StreamResponse, seconds: float) -> None:
        """Count an answered request."""
        route = request.get(ROUTE)
        resource = "other" if route is None else route.resource.value
        method = request.method if request.method in _METHODS else "other"
        self._requests.labels(method, resource, str(answer.status)).inc()
        self._seconds.labels(resource).observe(seconds)
        self._received.inc(request.content.total_bytes)
        self._sent.inc(max(answer.body_length, 0) if answer.prepared else answer.content_length or 0)

    def page(self, gauges: Mapping[str, float]) -> bytes:
        """Everything in the form that Prometheus reads, with the present values of `GAUGES`; may block."""
        for name, value in gauges.items():
            self._gauges[name].set(value)
        return self._render(self.registry)

    def render(self, counted: Counted, gauges: Mapping[str, float]) -> bytes:
        """As `page`, with counters from elsewhere."""
        for name, value in gauges.items():
            self._gauges[name].set(value)
        shown = self._new_registry()
        shown.register(counted)
        for gauge in self._gauges.values():
            shown.register(gauge)
        return self._render(shown)
