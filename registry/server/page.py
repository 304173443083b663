"""
The web page: ``/``, ``/r/<repository>``, ``/r/<repository>:<tag>`` and ``/r/<repository>@<digest>``.

Invariants: it only reads; the rules of the protocol hold here too, and what may not be seen answers as what
does not exist; the page loads nothing from elsewhere and runs no script, which its policy enforces.
"""

from __future__ import annotations

import functools
import os

from aiohttp import web

from oci_image.digest import Digest
from oci_image.errors import InvalidDigest
from oci_image.reference import is_repository_name, is_tag

from ..errors import ApiError, RegistryError, Unauthorized
from ..protocol.errors import ErrorCode
from . import forwarded, mirroring, page_manifest, page_views
from .page_content import read_tags, read_view
from .page_lists import collect, lines_of
from .page_parts import Frame
from .page_routes import USAGE
from .rights import Principal
from .state import STATE, ServerState
from .visitors import visitor

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; "
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
    text = page_views.problem(
        frame, "Please sign in", "This page is for people with a user name.", sign_in=True
    )
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
    after = request.query.get("after", "")
    listing = await state.in_thread(
        collect,
        state.store.tags.repositories,
        request.query.get("find", ""),
        after,
        lambda name: rights.may(who, name, "catalog"),
    )
    lines = await state.in_thread(
        lines_of, state.store, listing.names, lambda name: rights.may(who, name, "pull")
    )
    is_first = not (after or listing.word)
    storage = await _storage(request.app) if is_first and rights.is_administrator(who) else None
    return _html(page_views.repositories(_frame(request, who), listing, lines, storage, after=after))


async def _storage(app: web.Application) -> page_views.Storage:
    """How much is in use."""
    state = app[STATE]
    config = state.config
    held = await app[USAGE].read(state)
    if config.is_bucket or not config.directory:
        return page_views.Storage(held=held, place=config.root)
    status = os.statvfs(config.directory)
    size = status.f_blocks * status.f_frsize
    return page_views.Storage(held=held, used=size - status.f_bfree * status.f_frsize, size=size)


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
        return await _tags(request, frame, name)
    view = await state.in_thread(read_view, state.store, name, reference)
    if view is None:
        raise _NotHere("nothing is here")
    return page_manifest.manifest(frame, name, str(reference), view)


async def _tags(request: web.Request, frame: Frame, name: str) -> str:
    state = request.app[STATE]
    tags = state.store.tags
    if await state.in_thread(tags.names, name, "", 1) is None:
        raise _NotHere("nothing is here")
    listing = await state.in_thread(
        collect,
        lambda after, limit: tags.names(name, after, limit) or (),
        request.query.get("find", ""),
        request.query.get("after", ""),
    )
    lines = await state.in_thread(read_tags, state.store, name, listing.names)
    totals = await state.in_thread(state.store.totals, name)
    origin = mirroring.origin_of(request.app, name)
    return page_views.repository(frame, name, listing, lines, totals=totals, origin=origin)


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
