"""
Where requests meet mirrors: which of them are for one, what their senders must be allowed, and who answers.

Invariant: a server without mirrors loads nothing of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from aiohttp import web

from ..errors import RegistryError
from ..protocol.challenges import Scope
from ..protocol.routes import Route
from .config import RegistryConfig
from .mirror.upstream import OpenUpstream
from .requests import Call
from .state import STATE

if TYPE_CHECKING:
    from .mirror.errands import Errand, Refusal
    from .mirror.mirrors import Mirrors

Handler = Callable[[Call], Awaitable[web.StreamResponse]]
_MIRRORS = cast("web.AppKey[Mirrors]", web.AppKey("mirrors", object))


def add_mirrors(app: web.Application, config: RegistryConfig, upstreams: OpenUpstream | None) -> None:
    """
    Let the mirrors of the settings work as long as the application does.

    Raises:
        InvalidConfiguration: there are mirrors, and no way to their upstreams.
    """
    if config.mirrors:
        from .mirror.mirrors import Mirrors

        mirrors = app[_MIRRORS] = Mirrors(config, upstreams)
        app.cleanup_ctx.append(mirrors.running)


async def find(request: web.Request, route: Route) -> Errand | Refusal | None:
    """What a request means to the mirrors; None when it is not for them."""
    mirrors = request.app.get(_MIRRORS)
    return None if mirrors is None else await mirrors.errands.find(request, route)


async def needed(
    request: web.Request, errand: Errand | Refusal, needed_for: Callable[[Route, str], tuple[Scope, ...]]
) -> tuple[Scope, ...]:
    """
    What the sender must be allowed: the name under which content is kept counts, whatever name is used.

    A token for pulling can be for the name that the client used (dockerd knows no other); then the user's
    rights decide.
    """
    kept = needed_for(errand.route, request.method)
    is_reading = request.method in ("GET", "HEAD")
    if not is_reading or not errand.is_renamed or "Authorization" not in request.headers:
        return kept
    asked = needed_for(errand.asked, request.method)
    with suppress(RegistryError):  # the check that counts comes after this one
        caller = await request.app[STATE].authenticator(request, asked)
        if caller.may_mount_from(errand.route.repository):
            return asked
    return kept


async def answer(call: Call, errand: Errand | Refusal, handler: Handler) -> web.StreamResponse:
    """Answer an admitted request."""
    return await call.request.app[_MIRRORS].answers.answer(call, errand, handler)


def origin_of(app: web.Application, repository: str) -> str:
    """Where the content of a repository comes from, for people; empty for one that is only here."""
    mirrors = app.get(_MIRRORS)
    return "" if mirrors is None else mirrors.origin_of(repository)
