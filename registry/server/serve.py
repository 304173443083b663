"""
Running a registry server until it is told to stop.

Invariants: `ready` is called once, when connections are accepted; after SIGTERM or SIGINT nothing new is
accepted, running requests get the configured time to finish, and the store is closed last.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from .accepting import AcceptingProblems
from .config import RegistryConfig
from .listening import listening
from .mirror.upstream import OpenUpstream
from .opening import open_store
from .stopping import stop_signals


async def serve(
    config: RegistryConfig, *, ready: Callable[[str], None], upstreams: OpenUpstream | None = None
) -> None:
    """
    Serve until SIGTERM or SIGINT.

    Args:
        config: the settings.
        ready: called with the URL of the server once it accepts connections.
        upstreams: leads to the registries behind mirrors (`registry.upstreams`).

    Raises:
        InvalidConfiguration: the server cannot start with these settings.
    """
    if config.workers > 1:
        from .workers.leader import serve_workers

        await serve_workers(config, ready=ready)
        return
    asyncio.get_running_loop().set_exception_handler(AcceptingProblems())
    with contextlib.closing(open_store(config)) as store, stop_signals() as stop:
        async with listening(config, store, upstreams) as url:
            ready(url)
            await stop.wait()
