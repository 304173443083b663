"""
What monitoring systems ask: ``/livez``, ``/readyz`` and ``/metrics``.

Invariants: a server that lives says so even when its disk is full; figures are for administrators unless the
settings make them public.
"""

from __future__ import annotations

import os

from aiohttp import web

from .health import Readiness
from .metrics import Metrics
from .state import STATE, ServerState
from .visitors import administrator

_FRESH = {"Cache-Control": "no-store"}


def add_routes(app: web.Application) -> None:
    """Answer to these addresses."""
    readiness = Readiness()
    state = app[STATE]

    async def alive(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"status": "alive"}, headers=_FRESH)

    async def ready(_request: web.Request) -> web.StreamResponse:
        problem = await readiness.problem(state)
        body = {"status": "not ready", "reason": problem} if problem else {"status": "ready"}
        return web.json_response(body, status=503 if problem else 200, headers=_FRESH)

    app.router.add_get("/livez", alive)
    app.router.add_get("/readyz", ready)
    if state.metrics is not None:
        _add_metrics(app, state, state.metrics)


def _add_metrics(app: web.Application, state: ServerState, metrics: Metrics) -> None:
    async def show(request: web.Request) -> web.StreamResponse:
        if not state.config.metrics_public:
            await administrator(request)
        body = await state.in_thread(lambda: metrics.page(_gauges(state)))
        return web.Response(body=body, headers={"Content-Type": metrics.content_type})

    app.router.add_get("/metrics", show)


def _gauges(state: ServerState) -> dict[str, float]:
    values: dict[str, float] = {
        "running_requests": state.running.count,
        "uploads": state.store.uploads.count(),
        "pending_events": 0 if state.outbox is None else state.outbox.pending(),
    }
    if state.config.directory:
        status = os.statvfs(state.config.directory)
        values["storage_free_bytes"] = status.f_bavail * status.f_frsize
        values["storage_size_bytes"] = status.f_blocks * status.f_frsize
    return values
