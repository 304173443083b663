"""
Listening for clients: what has to be readable first, the port, and the end of silent connections.

Invariants: after the block of `listening` nothing new is accepted, and running requests had the configured
time to finish; the store stays open.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from ..errors import InvalidConfiguration
from .access import open_access
from .app import create_app
from .belongings import Belongings
from .config import RegistryConfig
from .connections import Runner
from .mirror.upstream import OpenUpstream
from .quota import check_policies_of_memory
from .state import STATE, ServerState
from .store.base import RegistryStore

_READ_BUFFER = 128 * 1024  # of each connection; a megabyte gains 3 % and costs as much for every upload
_KEEPALIVE_SECONDS = 75.0
_REFRESH_SECONDS = 1.0  # of certificates: three calls of stat
_CLOSE_SECONDS = 0.2  # for requests that did not finish while the server drained


def verify(config: RegistryConfig) -> None:
    """
    Read everything that the settings name, without serving or touching the content.

    Raises:
        InvalidConfiguration: the server could not start with these settings.
    """
    open_access(config)
    if not config.root:
        check_policies_of_memory(config.policies)
    if config.tls is not None:
        from . import tls

        tls.make_missing(config.tls, config.host)
        tls.load(config.tls)


@contextlib.asynccontextmanager
async def listening(
    config: RegistryConfig,
    store: RegistryStore,
    upstreams: OpenUpstream | None = None,
    *,
    belongings: Belongings | None = None,
    started: Callable[[ServerState], None] = lambda _state: None,
) -> AsyncIterator[str]:
    """
    Accept connections within the block, whose value is the URL of the server; then drain.

    Args:
        config: the settings.
        store: where content is kept.
        upstreams: leads to the registries behind mirrors.
        belongings: what several processes that listen at the same port share; by default there is one.
        started: called with the state of the server before it listens.

    Raises:
        InvalidConfiguration: the address or TLS cannot be used.
    """
    context, refresh = None, None
    if config.tls is not None:
        from . import tls  # costs as much as the rest of the start

        tls.make_missing(config.tls, config.host)
        reloaded = tls.ReloadedContext(config.tls)
        context, refresh = reloaded.context, reloaded.refresh
    app = create_app(config, store, upstreams=upstreams, belongings=belongings)
    runner = Runner(
        app,
        access_log=None,
        handle_signals=False,
        read_bufsize=_READ_BUFFER,
        keepalive_timeout=_KEEPALIVE_SECONDS,
        shutdown_timeout=_CLOSE_SECONDS,
        auto_decompress=False,  # blobs are stored as they come
    )
    await runner.setup()
    try:
        started(app[STATE])
        several = belongings is not None
        site = web.TCPSite(
            runner, config.host, config.port, ssl_context=context, backlog=1024, reuse_port=several or None
        )
        try:
            await site.start()
        except OSError as problem:
            raise InvalidConfiguration(
                f"cannot listen on {config.host} port {config.port}: {problem.strerror or problem}",
                hint="choose another port, or 0 for any free one",
            ) from problem
        chores = [asyncio.create_task(_close_silent(runner, app[STATE], config.header_seconds))]
        if refresh is not None:
            chores.append(asyncio.create_task(_repeat(refresh)))
        try:
            yield url_of(config, runner.addresses[0][1])
        finally:
            for chore in chores:
                chore.cancel()
            await site.stop()
            await app[STATE].running.drain(config.drain_seconds)
    finally:
        await runner.cleanup()


async def _close_silent(runner: web.AppRunner, state: ServerState, seconds: float) -> None:
    """Close connections that never sent a whole request; aiohttp waits for the first one without end."""
    seen: dict[object, float] = {}
    while True:
        await asyncio.sleep(seconds / 4)
        now = time.monotonic()
        connections = runner.server.connections if runner.server is not None else []
        seen = {connection: seen.get(connection, now) for connection in connections}
        for connection in connections:
            silent = connection.transport not in state.greeted
            if silent and now - seen[connection] >= seconds * 3 / 4:  # it may be a quarter older
                connection.force_close()


async def _repeat(refresh: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(_REFRESH_SECONDS)
        refresh()


def url_of(config: RegistryConfig, port: int) -> str:
    """Where clients find the server."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"{'https' if config.tls else 'http'}://{host}:{port}"
