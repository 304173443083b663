"""
Traces of requests, by OpenTelemetry.

Invariants: without the setting nothing of the library is loaded; a span continues the trace that the client
names, and what it says is bounded and holds no credentials; a receiver that does not answer holds up nobody.
Governing sources: W3C Trace Context; OpenTelemetry, "Semantic conventions for HTTP spans" and "Environment
variable specification", which the library reads by itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from ..errors import InvalidConfiguration
from ..protocol.routes import Resource
from . import forwarded
from .config import RegistryConfig
from .marks import ROUTE, TRACE

_SERVICE = "pybuild-registry"
_CARRIED = ("traceparent", "tracestate")
_UNTRACED = ("/livez", "/readyz", "/metrics")
_LONGEST = 300
_SHUTDOWN_SECONDS = 5.0  # for spans that a receiver does not take
_ROUTES = {
    Resource.BASE: "/v2/",
    Resource.CATALOG: "/v2/_catalog",
    Resource.TAGS: "/v2/{name}/tags/list",
    Resource.MANIFEST: "/v2/{name}/manifests/{reference}",
    Resource.BLOB: "/v2/{name}/blobs/{digest}",
    Resource.UPLOADS: "/v2/{name}/blobs/uploads/",
    Resource.UPLOAD: "/v2/{name}/blobs/uploads/{upload}",
    Resource.REFERRERS: "/v2/{name}/referrers/{digest}",
    Resource.REPOSITORY: "/v2/{name}/_pybuild/repository",
}


class Tracing:
    """
    Makes a span of each request, and sends spans in batches.

    Args:
        config: the settings.

    Raises:
        InvalidConfiguration: the library is not installed.
    """

    def __init__(self, config: RegistryConfig) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource as Service
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as problem:
            raise InvalidConfiguration(
                "traces need the packages of OpenTelemetry",
                hint="install the extra: pip install 'pybuild[otel]'",
            ) from problem
        service = Service.create()
        if str(service.attributes.get("service.name", "")).startswith("unknown_service"):
            service = service.merge(Service({"service.name": _SERVICE}))
        self._provider = TracerProvider(resource=service, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=config.traces_endpoint or None)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("pybuild.registry")
        self._propagator = TraceContextTextMapPropagator()
        self._server = trace.SpanKind.SERVER
        self._failed = trace.Status(trace.StatusCode.ERROR)
        self._trusted = config.trust_proxy

    async def around(
        self, request: web.Request, answer: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Answer a request within a span."""
        if request.path in _UNTRACED:
            return await answer()
        carried = {name: request.headers[name] for name in _CARRIED if name in request.headers}
        context = self._propagator.extract(carried)
        with self._tracer.start_as_current_span(
            request.method, context=context, kind=self._server, attributes=self._asked(request)
        ) as span:
            request[TRACE] = f"{span.get_span_context().trace_id:032x}"
            answered = await answer()
            span.set_attribute("http.response.status_code", answered.status)
            route = request.get(ROUTE)
            if route is not None:
                span.update_name(f"{request.method} {_ROUTES[route.resource]}")
                span.set_attribute("http.route", _ROUTES[route.resource])
                span.set_attribute("pybuild.repository", route.repository[:_LONGEST])
            if answered.status >= 500:
                span.set_attribute("error.type", str(answered.status))
                span.set_status(self._failed)
            return answered

    def _asked(self, request: web.Request) -> dict[str, str]:
        return {
            "http.request.method": request.method,
            "url.scheme": request.scheme,
            "url.path": request.raw_path.partition("?")[0][:_LONGEST],
            "client.address": forwarded.address(request, trusted=self._trusted),
            "user_agent.original": request.headers.get("User-Agent", "")[:_LONGEST],
        }

    def close(self) -> None:
        """Send what is left, however long that takes."""
        self._provider.shutdown()

    async def sending(self, _app: web.Application) -> AsyncIterator[None]:
        """The cleanup context that sends what is left when the server ends."""
        yield
        sending = threading.Thread(target=self.close, name="last-spans", daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, _SHUTDOWN_SECONDS)
