"""
Lists of upstreams: tags, and what refers to a manifest, together with what is only here.

Invariants: a list is asked for once in a while for everybody; when the upstream fails, the last list is used,
or what is here. Governing source: OCI distribution-spec, "Content Discovery".
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from aiohttp import web

from oci_image import jsonbytes, mediatypes
from oci_image.descriptor import Descriptor
from oci_image.documents import Index, author_index

from ...errors import ApiError
from ...protocol import headers, routes
from ...protocol.errors import ErrorCode
from ..referrers import collect
from ..requests import Call, read_digest, read_page
from ..state import ServerState
from .flights import Flights
from .names import Place
from .site import Site, error_of, warn
from .upstream import UpstreamFailed

_REMEMBERED = 1000  # lists
_ROWS = 200_000  # of all of them: 20 MiB
_KIND = "lists"
Rows = tuple[Any, ...]


class Lists:
    """The lists of all mirrors of one server."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._flights: Flights[Rows | None] = Flights()
        self._known: OrderedDict[Hashable, tuple[float, Rows]] = OrderedDict()
        self._count = 0

    async def close(self) -> None:
        """End what goes on."""
        await self._flights.close()

    async def tags(self, call: Call, site: Site, place: Place, asked: str) -> web.StreamResponse:
        """
        The tags of a repository; `asked` is what the client calls it.

        Raises:
            ApiError: neither the upstream nor this registry knows the repository.
        """
        size, last = read_page(call)
        here = await self._state.in_thread(self._state.store.tags.names, place.repository)
        there, problem = await self._rows(
            site, ("tags", place.repository), lambda: site.upstream.tags(place.remote)
        )
        # What the upstream does not list any more counts only when it could not be asked, or was pushed here.
        if problem is None and not site.mirror.push:
            here = None
        if there is None and here is None:
            if problem is not None:
                raise error_of(problem, missing=ErrorCode.NAME_UNKNOWN) from problem
            raise ApiError(ErrorCode.NAME_UNKNOWN, {"name": asked})
        names = {*(there or ()), *(here or ())}
        rest = sorted(name for name in names if name > last)
        page = rest[:size]
        answer = web.Response(
            body=jsonbytes.encode({"name": asked, "tags": page}), content_type="application/json"
        )
        if 0 < size < len(rest):
            target = routes.tags(asked, n=size, last=page[-1])
            space = call.request.query.get("ns")
            target = routes.with_query(target, [("ns", space)] if space else [])
            answer.headers["Link"] = headers.format_next_link(target)
        if problem is not None:
            warn(answer, problem, None)
        return answer

    async def referrers(self, call: Call, site: Site, place: Place) -> web.StreamResponse:
        """What refers to a manifest, here or there."""
        subject = read_digest(call.route.argument)
        wanted = call.request.query.get("artifactType", "")
        here = await self._state.in_thread(collect, self._state.store, place.repository, subject)
        there, problem = await self._rows(
            site,
            ("referrers", place.repository, subject),
            lambda: site.upstream.referrers(place.remote, subject),
        )
        found: dict[object, Descriptor] = {item.digest: item for item in here}
        for item in there or ():
            found.setdefault(item.digest, item)
        shown = tuple(item for item in found.values() if not wanted or item.artifact_type == wanted)
        body = jsonbytes.encode(author_index(Index(manifests=shown)).value.to_json())
        filters = {headers.FILTERS_HEADER: "artifactType"} if wanted else {}
        answer = web.Response(body=body, content_type=mediatypes.OCI_INDEX, headers=filters)
        if problem is not None:
            warn(answer, problem, None)
        return answer

    async def _rows(
        self, site: Site, key: Hashable, question: Callable[[], Awaitable[Rows | None]]
    ) -> tuple[Rows | None, UpstreamFailed | None]:
        """The upstream's rows, perhaps old ones together with the reason."""
        known = self._known.get(key)
        if known is not None and time.monotonic() - known[0] < site.mirror.tag_ttl:
            site.answered("hit")
            return known[1], None
        try:
            rows = await self._flights.join(key, lambda: site.ask(_KIND, key, question))
        except UpstreamFailed as problem:
            site.answered("stale" if known is not None else "failed")
            return (None if known is None else known[1]), problem
        if rows is None:
            self._forget(key)
            site.answered("missing")
            return None, None
        self._remember(key, rows)
        site.answered("miss")
        return rows, None

    def _remember(self, key: Hashable, rows: Rows) -> None:
        """Keep a list; the ones that were fetched first go when there are too many, or too many rows."""
        self._forget(key)
        self._known[key] = (time.monotonic(), rows)
        self._count += len(rows)
        while len(self._known) > _REMEMBERED or (self._count > _ROWS and len(self._known) > 1):
            self._forget(next(iter(self._known)))

    def _forget(self, key: Hashable) -> None:
        known = self._known.pop(key, None)
        if known is not None:
            self._count -= len(known[1])
