"""
Where the web page is; what shows it is loaded when somebody looks at it.

Invariant: a server starts without the page's modules, which clients of the protocol never need.
"""

from __future__ import annotations

import time

from aiohttp import web

from .state import ServerState
from .store.base import Totals

_USAGE_SECONDS = 60.0


class Usage:
    """What all repositories hold together, counted at most once in a minute."""

    def __init__(self) -> None:
        self._counted = Totals()
        self._counted_at: float | None = None

    async def read(self, state: ServerState) -> Totals:
        """What was counted last."""
        now = time.monotonic()
        if self._counted_at is None or now - self._counted_at >= _USAGE_SECONDS:
            self._counted = await state.in_thread(state.store.usage)
            self._counted_at = now
        return self._counted


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
