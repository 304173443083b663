"""
Lists: ``/v2/<name>/tags/list`` and ``/v2/_catalog``, in pages.

Governing source: OCI distribution-spec, "Listing Tags"; the list of repositories is distribution's.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from aiohttp import web

from oci_image import jsonbytes

from ..errors import ApiError
from ..protocol import headers, routes
from ..protocol.challenges import repository_scope
from ..protocol.errors import ErrorCode
from .requests import Call, read_page


async def list_tags(call: Call) -> web.StreamResponse:
    """The tags of a repository."""
    size, last = read_page(call)
    names = await call.state.in_thread(call.state.store.tags.names, call.repository)
    if names is None:
        raise ApiError(ErrorCode.NAME_UNKNOWN, {"name": call.repository})
    page, more = _page(names, size, last)
    target = routes.tags(call.repository, n=size, last=page[-1]) if more else ""
    return _answer({"name": call.repository, "tags": page}, target)


async def list_repositories(call: Call) -> web.StreamResponse:
    """The repositories that hold a manifest and that the caller may read."""
    size, last = read_page(call)
    names = await call.state.in_thread(call.state.store.tags.repositories)
    may_list = call.caller.may_list
    if may_list is not None:
        names = [name for name in names if may_list(name)]
    elif call.caller.grants is not None and not _may_list(call):
        names = [name for name in names if call.caller.may(repository_scope(name, "pull"))]
    page, more = _page(names, size, last)
    return _answer({"repositories": page}, routes.catalog(n=size, last=page[-1]) if more else "")


def _may_list(call: Call) -> bool:
    return any(
        (grant.type, grant.name) == ("registry", "catalog") and "*" in grant.actions
        for grant in call.caller.grants or ()
    )


def _page(names: Sequence[str], size: int, last: str) -> tuple[list[str], bool]:
    start = bisect.bisect_right(names, last) if last else 0
    page = list(names[start : start + size])
    return page, bool(page) and start + size < len(names)


def _answer(body: dict[str, object], following: str) -> web.Response:
    link = {"Link": headers.format_next_link(following)} if following else {}
    return web.Response(body=jsonbytes.encode(body), content_type="application/json", headers=link)
