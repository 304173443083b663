"""
Where the web page is; what shows it is loaded when somebody looks at it.

Invariant: a server starts without the page's modules, which clients of the protocol never need.
"""

from __future__ import annotations

from aiohttp import web


def add_routes(app: web.Application) -> None:
    """Show the page at these addresses."""
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
