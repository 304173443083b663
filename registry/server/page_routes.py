"""
Where the web page is; what shows it is loaded when somebody looks at it.

Invariant: a server starts without the page's modules, which clients of the protocol never need.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future

from aiohttp import web

from .state import ServerState
from .store.base import RegistryStore, Totals

_USAGE_SECONDS = 60.0
_PATIENCE_SECONDS = 0.05
_SHARE = 100  # of the time, of which counting takes one part at most


class Usage:
    """
    What all repositories hold together.

    With a million blobs it takes seconds to count, so nobody waits: the last figure is shown meanwhile.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counted: Totals | None = None
        self._due = 0.0
        self._counting: Future[tuple[Totals, float]] | None = None

    async def read(self, state: ServerState) -> Totals | None:
        """What was counted last; None while it is counted for the first time."""
        if self._counting is None and self._clock() >= self._due:
            self._counting = state.threads.submit(self._count, state.store)
        if self._counting is not None:
            waiting = asyncio.wrap_future(self._counting)
            done, _ = await asyncio.wait({waiting}, timeout=_PATIENCE_SECONDS)
            if done:
                self._take(waiting)
        return self._counted

    def _take(self, waiting: asyncio.Future[tuple[Totals, float]]) -> None:
        self._counting = None
        self._due = self._clock() + _USAGE_SECONDS
        self._counted, took = waiting.result()
        self._due = self._clock() + max(_USAGE_SECONDS, took * _SHARE)

    def _count(self, store: RegistryStore) -> tuple[Totals, float]:
        began = self._clock()
        return store.usage(), self._clock() - began


USAGE = web.AppKey("registry.page_usage", Usage)


def add_routes(app: web.Application) -> None:
    """Show the page at these addresses."""
    app[USAGE] = Usage()
    app.router.add_get("/", _show_repositories)
    app.router.add_get("/r/{path:.+}", _show_content)
    app.router.add_get("/login", _sign_in)
    app.router.add_get("/style.css", _show_style)


async def _show_repositories(request: web.Request) -> web.StreamResponse:
    from . import page

    return await page.show_repositories(request)


async def _show_content(request: web.Request) -> web.StreamResponse:
    from . import page

    return await page.show_content(request)


async def _sign_in(request: web.Request) -> web.StreamResponse:
    from . import page

    return await page.sign_in(request)


async def _show_style(request: web.Request) -> web.StreamResponse:
    from . import page

    return await page.show_style(request)
