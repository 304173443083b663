"""
The web page: ``/``, ``/r/<repository>``, ``/r/<repository>:<tag>`` and ``/r/<repository>@<digest>``.

Invariants: it only reads; the rules of the protocol hold here too, and what may not be seen answers as what
does not exist; the page loads nothing from elsewhere and runs no script, which its policy enforces.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

from aiohttp import web

from oci_image.digest import Digest
from oci_image.errors import InvalidDigest
from oci_image.reference import is_repository_name, is_tag

from ..errors import ApiError, RegistryError, Unauthorized
from ..protocol.errors import ErrorCode
from . import forwarded, mirroring, page_views
from .page_content import read_tags, read_view
from .page_parts import Frame
from .rights import Principal
from .state import STATE, ServerState
from .visitors import visitor

PAGE_SIZE = 50
_STEP = 1000
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-cache",
    "Vary": "Authorization",
}


class _NotHere(RegistryError):
    """Nothing that this visitor may see is at the address."""


async def show_style(_request: web.Request) -> web.StreamResponse:
    """The style sheet."""
    return web.Response(text=_style(), content_type="text/css", headers={"Cache-Control": "max-age=3600"})


@functools.cache
def _style() -> str:
    with open(os.path.join(os.path.dirname(__file__), "page.css"), encoding="utf-8") as file:
        return file.read()


@functools.cache
def _style_version() -> str:
    return Digest.of(_style().encode()).hex[:12]


def _frame(request: web.Request, who: Principal) -> Frame:
    state = request.app[STATE]
    config = state.config
    origin = forwarded.origin(request, trusted=config.trust_proxy)
    return Frame(
        title=config.page_title,
        prefix=forwarded.prefix(request, trusted=config.trust_proxy) or config.page_base_path,
        host=origin.partition("://")[2],
        user=who.name,
        may_sign_in=state.access.identify is not None,
        style=_style_version(),
    )


def _html(text: str, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        text=text, status=status, content_type="text/html", headers=_HEADERS | (headers or {})
    )


def _refuse(request: web.Request, refusal: Unauthorized) -> web.Response:
    frame = _frame(request, Principal())
    text = page_views.problem(frame, "Please sign in", "This page is for people with a user name.")
    return _html(text, 401, refusal.headers)


def _ask(state: ServerState, who: Principal) -> Unauthorized | _NotHere:
    """What to answer to somebody who may not see a page, whether it exists or not."""
    if who.name or state.access.identify is None:
        return _NotHere("nothing is here")
    return state.access.challenge()


async def show_repositories(request: web.Request) -> web.StreamResponse:
    """The list of repositories."""
    state = request.app[STATE]
    try:
        who = await visitor(request)
        if not state.access.rights.may_list(who) and state.access.identify is not None and not who.name:
            raise state.access.challenge()
    except Unauthorized as refusal:
        return _refuse(request, refusal)
    rights = state.access.rights
    names = await state.in_thread(
        _visible, state, lambda name: rights.may(who, name, "catalog"), request.query.get("after", "")
    )
    storage = None
    if state.config.directory and not state.config.is_bucket and rights.is_administrator(who):
        status = os.statvfs(state.config.directory)
        total = status.f_blocks * status.f_frsize
        storage = (total - status.f_bfree * status.f_frsize, total)
    shown, following = _page(names)
    return _html(page_views.repositories(_frame(request, who), shown, following, storage))


def _visible(state: ServerState, may_see: Callable[[str], bool], after: str) -> list[str]:
    found: list[str] = []
    while len(found) <= PAGE_SIZE and (names := state.store.tags.repositories(after, _STEP)):
        after = names[-1]
        found += [name for name in names if may_see(name)]
    return found[: PAGE_SIZE + 1]


def _page(names: list[str]) -> tuple[list[str], str]:
    """The names that fit, and the last of them if there are more."""
    return names[:PAGE_SIZE], names[PAGE_SIZE - 1] if len(names) > PAGE_SIZE else ""


async def show_content(request: web.Request) -> web.StreamResponse:
    """A repository, or one of its manifests."""
    who = Principal()
    try:
        who = await visitor(request)
        return _html(await _content(request, who))
    except Unauthorized as refusal:
        return _refuse(request, refusal)
    except _NotHere:
        text = "There is nothing at this address, or it is not for you."
        return _html(page_views.problem(_frame(request, who), "Not found", text), 404)


async def _content(request: web.Request, who: Principal) -> str:
    state = request.app[STATE]
    name, reference = _read_path(request.match_info["path"])
    if not name or not state.access.rights.may(who, name, "pull"):
        raise _ask(state, who)
    frame = _frame(request, who)
    if reference is None:
        origin = mirroring.origin_of(request.app, name)
        return await _tags(state, frame, name, request.query.get("after", ""), origin)
    view = await state.in_thread(read_view, state.store, name, reference)
    if view is None:
        raise _NotHere("nothing is here")
    return page_views.manifest(frame, name, str(reference), view)


async def _tags(state: ServerState, frame: Frame, name: str, after: str, origin: str) -> str:
    names = await state.in_thread(state.store.tags.names, name, after, PAGE_SIZE + 1)
    if names is None:
        raise _NotHere("nothing is here")
    shown, following = _page(list(names))
    lines = await state.in_thread(read_tags, state.store, name, shown)
    totals = await state.in_thread(state.store.totals, name)
    return page_views.repository(frame, name, lines, following=following, totals=totals, origin=origin)


def _read_path(path: str) -> tuple[str, Digest | str | None]:
    """Repository and reference of an address; the repository is empty for what is no name."""
    name, at, digest = path.partition("@")
    if at:
        try:
            return (name if is_repository_name(name) else ""), Digest.parse(digest)
        except InvalidDigest:
            return "", None
    name, colon, tag = path.partition(":")
    if not is_repository_name(name) or (colon and not is_tag(tag)):
        return "", None
    return name, tag if colon else None


async def sign_in(request: web.Request) -> web.StreamResponse:
    """Ask for a password, then show the list."""
    state = request.app[STATE]
    if state.access.identify is None:
        raise ApiError(ErrorCode.UNSUPPORTED, message="nobody has a password here", status=404)
    try:
        who = await visitor(request)
        if not who.name:
            raise state.access.challenge()
    except Unauthorized as refusal:
        return _refuse(request, refusal)
    return web.Response(status=303, headers={"Location": _frame(request, who).link()})
