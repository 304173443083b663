"""
Lists: ``/v2/<name>/tags/list`` and ``/v2/_catalog``, in pages.

Governing source: OCI distribution-spec, "Listing Tags"; the list of repositories is distribution's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web

from oci_image import jsonbytes

from ..errors import ApiError
from ..protocol import headers, routes
from ..protocol.challenges import repository_scope
from ..protocol.errors import ErrorCode
from .metadata import Page
from .requests import Call, read_page

_STEP = 1000  # repositories that are looked at together when the caller may not see all


async def list_tags(call: Call) -> web.StreamResponse:
    """The tags of a repository."""
    size, last = read_page(call)
    state, repository, key = call.state, call.repository, f"{size} {last}"

    def load() -> Page | None:
        names = state.store.tags.names(repository, last, size + 1)
        if names is None:
            return None
        page, more = _page(names, size)
        target = routes.tags(repository, n=size, last=page[-1]) if more else ""
        return Page(jsonbytes.encode({"name": repository, "tags": page}), target)

    found = state.metadata.known_page(repository, key)
    if found is None:
        found = await state.metadata.page(repository, key, lambda: state.in_thread(load))
    if found is None:
        raise ApiError(ErrorCode.NAME_UNKNOWN, {"name": repository})
    listed = found
    return state.quick.answer(call.request, listed, listed.body, lambda: _answer(listed))


async def list_repositories(call: Call) -> web.StreamResponse:
    """The repositories that hold a manifest and that the caller may read."""
    size, last = read_page(call)
    names = await call.state.in_thread(_visible, call, last, size + 1)
    page, more = _page(names, size)
    target = routes.catalog(n=size, last=page[-1]) if more else ""
    return _answer(Page(jsonbytes.encode({"repositories": page}), target))


def _visible(call: Call, last: str, count: int) -> list[str]:
    """The next repositories that the caller may see."""
    is_visible = call.caller.may_list
    if is_visible is None and (call.caller.grants is None or _may_list(call)):
        return list(call.state.store.tags.repositories(last, count))
    found: list[str] = []
    while len(found) < count and (names := call.state.store.tags.repositories(last, _STEP)):
        last = names[-1]
        found += [name for name in names if (is_visible or _may_pull(call))(name)]
    return found[:count]


def _may_pull(call: Call) -> Callable[[str], bool]:
    return lambda name: call.caller.may(repository_scope(name, "pull"))


def _may_list(call: Call) -> bool:
    return any(
        (grant.type, grant.name) == ("registry", "catalog") and "*" in grant.actions
        for grant in call.caller.grants or ()
    )


def _page(names: Sequence[str], size: int) -> tuple[list[str], bool]:
    return list(names[:size]), 0 < size < len(names)


def _answer(page: Page) -> web.Response:
    link = {"Link": headers.format_next_link(page.following)} if page.following else {}
    return web.Response(body=page.body, content_type="application/json", headers=link)
