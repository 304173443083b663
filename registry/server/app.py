"""
The application: one table of what every resource answers to, and the way of a request through it.

Invariants: a path is matched on its raw form by `protocol.routes`, never by aiohttp's router; the order is
path, method, name, policy (read-only, deletion), caller, handler; handlers raise errors and never render
them.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from aiohttp import web

from ..errors import ApiError, RegistryError
from ..protocol import routes
from ..protocol.challenges import Scope, repository_scope
from ..protocol.errors import ErrorCode
from ..protocol.routes import Resource
from . import (
    blobs,
    forwarded,
    manifests,
    mirroring,
    monitoring,
    page_routes,
    referrers,
    repositories,
    tags,
    uploads,
)
from .access import open_access
from .announcing import announce
from .auth import Authenticator, Caller
from .belongings import Belongings, own_belongings
from .config import RegistryConfig
from .hoarding import OpenUploads
from .housekeeping import lifecycle
from .marks import CALLER, ROUTE
from .middleware import add_headers, answer_errors, complete
from .mirror.upstream import OpenUpstream
from .quick import QuickAnswers
from .requests import Call, check_repository
from .state import STATE, ServerState
from .store.base import RegistryStore
from .verification import VerifiedBlobs
from .visitors import failures_counted

if TYPE_CHECKING:
    from .tracing import Tracing

_LOG = logging.getLogger(__name__)
_THREADS = 32
_TOKEN_PATH = "/token"  # noqa: S105 - an address
_EXPIRY_PERIOD = 600.0
_SHORT = 512
_KNOWN_ADDRESSES = 4096

Handler = Callable[[Call], Awaitable[web.StreamResponse]]


async def _base(_call: Call) -> web.StreamResponse:
    return web.Response(body=b"{}", content_type="application/json")


HANDLERS: dict[Resource, dict[str, Handler]] = {
    Resource.BASE: {"GET": _base},
    Resource.CATALOG: {"GET": tags.list_repositories},
    Resource.TAGS: {"GET": tags.list_tags},
    Resource.MANIFEST: {
        "GET": manifests.get_manifest,
        "PUT": manifests.put_manifest,
        "DELETE": manifests.delete_manifest,
    },
    Resource.BLOB: {"GET": blobs.get_blob, "HEAD": blobs.head_blob, "DELETE": blobs.delete_blob},
    Resource.UPLOADS: {"POST": uploads.start_upload},
    Resource.UPLOAD: {
        "GET": uploads.upload_status,
        "PATCH": uploads.append_chunk,
        "PUT": uploads.finish_upload,
        "DELETE": uploads.cancel_upload,
    },
    Resource.REFERRERS: {"GET": referrers.list_referrers},
    Resource.REPOSITORY: {"GET": repositories.show_repository, "DELETE": repositories.delete_repository},
}
for _methods in HANDLERS.values():
    if "GET" in _methods:
        _methods.setdefault("HEAD", _methods["GET"])

_READING = ("GET", "HEAD")


def create_app(
    config: RegistryConfig,
    store: RegistryStore,
    *,
    authenticator: Authenticator | None = None,
    belongings: Belongings | None = None,
    upstreams: OpenUpstream | None = None,
) -> web.Application:
    """
    The application of a registry server.

    It does not own the store: whoever opened it closes it after the application was cleaned up.

    Args:
        config: the settings; where to listen and TLS are the concern of `serve`.
        store: where content is kept.
        authenticator: takes the place of the one that the settings ask for.
        belongings: what the requests of several processes share; by default those of this process.
        upstreams: leads to the registries behind mirrors (`registry.upstreams`).

    Raises:
        InvalidConfiguration: the settings for authentication cannot be used.
    """
    access = open_access(config)
    state = ServerState(
        config=config,
        store=store,
        authenticator=access.authenticator if authenticator is None else authenticator,
        threads=ThreadPoolExecutor(_THREADS, thread_name_prefix="registry"),
        verified=VerifiedBlobs(config.verify_window),
        access=access,
        opened=OpenUploads(store.uploads, limit=config.max_uploads_per_caller, total=config.max_uploads),
        belongings=own_belongings(config) if belongings is None else belongings,
        quick=QuickAnswers(complete, enabled=not (config.mirrors or config.traces)),
        tracing=_open_tracing(config),
    )
    app = web.Application(middlewares=[answer_errors])
    app[STATE] = state
    app.on_response_prepare.append(add_headers)
    if state.outbox is not None:  # before the rest, so that it closes when nothing is told any more
        app.cleanup_ctx.append(state.outbox.delivering)
    app.cleanup_ctx.append(_background)
    app.cleanup_ctx.append(lifecycle.background)
    if state.tracing is not None:
        app.cleanup_ctx.append(state.tracing.sending)
    mirroring.add_mirrors(app, config, upstreams)
    monitoring.add_routes(app)
    if config.page and authenticator is None:
        page_routes.add_routes(app)
    if access.token_endpoint is not None and authenticator is None:
        app.router.add_route("*", _TOKEN_PATH, _token)
    # The body is invited by the handler that wants it, after the caller was checked.
    app.router.add_route("*", "/{path:.*}", _dispatch, expect_handler=_expect)
    return app


def _open_tracing(config: RegistryConfig) -> Tracing | None:
    if not config.traces:
        return None
    from .tracing import Tracing  # loads OpenTelemetry

    return Tracing(config)


async def _expect(_request: web.Request) -> None:
    return None


async def _background(app: web.Application) -> AsyncIterator[None]:
    """Discard idle uploads from time to time; end the threads with the application."""
    state = app[STATE]
    expiry = asyncio.create_task(_expire(state))
    yield
    expiry.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await expiry
    state.threads.shutdown(wait=True)


async def _expire(state: ServerState) -> None:
    idle = state.config.upload_idle_seconds
    while True:
        await asyncio.sleep(max(0.05, min(_EXPIRY_PERIOD, idle / 4)))
        try:
            count = await state.in_thread(state.store.uploads.expire, idle)
        except RegistryError as problem:
            _LOG.warning("idle uploads cannot be discarded: %s", problem.message)
        else:
            if count:
                _LOG.info("discarded %d idle uploads", count)


def _raw_path(request: web.Request) -> str:
    target = request.raw_path.partition("?")[0]
    if not target.startswith("/"):  # the absolute form, which proxies send
        target = "/" + target.partition("://")[2].partition("/")[2]
    return target


async def _dispatch(request: web.Request) -> web.StreamResponse:
    path = _raw_path(request)
    route = _match(path) if len(path) <= _SHORT else routes.match(path)
    if route is None:
        raise ApiError(ErrorCode.UNSUPPORTED, message="there is nothing at this address", status=404)
    request[ROUTE] = route
    handlers = HANDLERS[route.resource]
    method = request.method
    if method == "OPTIONS":
        return web.Response(status=204, headers={"Allow": _allow(handlers)})
    handler = handlers.get(method)
    if handler is None:
        raise ApiError(ErrorCode.UNSUPPORTED, headers={"Allow": _allow(handlers)})
    if route.resource not in (Resource.BASE, Resource.CATALOG):
        check_repository(route.repository)
    state = request.app[STATE]
    _check_policy(state, route.resource, request, handlers)
    with state.running:
        errand = await mirroring.find(request, route)
        if errand is None:
            caller = await _admit(state, request, _scopes(route, method))
            call = Call(request=request, state=state, route=route, caller=caller)
            answer = await handler(call)
        else:
            caller = await _admit(state, request, await mirroring.needed(request, errand, _needed))
            call = Call(request=request, state=state, route=errand.route, caller=caller)
            answer = await mirroring.answer(call, errand, handler)
        if method not in _READING:
            await announce(call, answer)
        return answer


async def _admit(state: ServerState, request: web.Request, scopes: tuple[Scope, ...]) -> Caller:
    """The caller, within the limits of how many requests each may send."""
    rate = state.rate
    if rate is None:
        caller = await state.authenticator(request, scopes)
    else:
        address = forwarded.address(request, trusted=state.config.trust_proxy)
        with failures_counted(rate, request, address):
            caller = await state.authenticator(request, scopes)
        rate.spend(caller.name, address)
    request[CALLER] = caller
    return caller


async def _token(request: web.Request) -> web.StreamResponse:
    state = request.app[STATE]
    endpoint = state.access.token_endpoint
    if endpoint is None:
        raise ApiError(ErrorCode.UNSUPPORTED, message="no tokens are issued here", status=404)
    if state.rate is None:
        return await endpoint(request)
    address = forwarded.address(request, trusted=state.config.trust_proxy)
    with failures_counted(state.rate, request, address, in_body=request.method == "POST"):
        answer = await endpoint(request)
    caller = request.get(CALLER)
    state.rate.spend("" if caller is None else caller.name, address)
    return answer


def _check_policy(
    state: ServerState, resource: Resource, request: web.Request, handlers: dict[str, Handler]
) -> None:
    if request.method in _READING:
        return
    is_read_only = state.switches.is_read_only
    deletes = request.method == "DELETE" and resource is not Resource.UPLOAD
    if is_read_only or (deletes and not state.config.delete_enabled):
        kept = {method: handlers[method] for method in handlers if method in _READING}
        reason = "the registry is read-only" if is_read_only else "deletion is disabled"
        raise ApiError(ErrorCode.UNSUPPORTED, message=reason, headers={"Allow": _allow(kept)})
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ApiError(ErrorCode.UNSUPPORTED, message="Content-Encoding is not supported", status=415)


def _allow(handlers: dict[str, Handler]) -> str:
    return ", ".join(sorted([*handlers, "OPTIONS"]))


_match = functools.lru_cache(maxsize=_KNOWN_ADDRESSES)(routes.match)


def _needed(route: routes.Route, method: str) -> tuple[Scope, ...]:
    if route.resource is Resource.BASE:
        return ()
    if route.resource is Resource.CATALOG:
        return (Scope("registry", "catalog", ("*",)),)
    if route.resource in (Resource.UPLOAD, Resource.UPLOADS) or method == "PUT":
        return (repository_scope(route.repository, "pull", "push"),)
    return (repository_scope(route.repository, "delete" if method == "DELETE" else "pull"),)


_scopes = functools.lru_cache(maxsize=_KNOWN_ADDRESSES)(_needed)
