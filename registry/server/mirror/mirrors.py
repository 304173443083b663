"""
The mirrors of a server: which requests are for them, and how these are answered.

Invariants: what is here is answered by the same handlers as everything else; an upstream is asked only for
what is not here or may have changed; nobody pushes below a prefix unless the settings allow it; the rules of
the name under which content is kept hold, whatever name the client used.
Governing sources: containerd's ``ns=``; dockerd's ``registry-mirrors``; RFC 9111.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import cast

from aiohttp import web

from oci_image.digest import Digest

from ...errors import ApiError, Denied, InvalidConfiguration
from ...protocol.errors import ErrorCode
from ...protocol.routes import Resource, Route
from .. import forwarded
from ..config import RegistryConfig
from ..requests import Call, check_repository, is_unchanged, read_digest, read_reference
from ..state import STATE, ServerState
from ..store.filesystem import FilesystemStore
from ..store.indexed import IndexedStore
from .blobs import Blobs, blob_headers
from .figures import Figures
from .flights import Flights
from .lists import Lists
from .manifests import Manifests
from .names import Names, Place, is_allowed, place_of
from .patience import Patience
from .records import Records
from .settings import Mirror
from .site import Site, warn
from .upstream import OpenUpstream

_LOG = logging.getLogger(__name__)
_READING = ("GET", "HEAD")
Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """
    A request for something of others that cannot be had here; its sender is checked before that is said.

    Attributes:
        route: what is asked for.
        problem: what is wrong with it.
    """

    route: Route
    problem: ApiError
    is_renamed = False

    @property
    def asked(self) -> Route:
        """As the client calls it."""
        return self.route


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """
    A request for mirrored content.

    Attributes:
        site: the mirror.
        place: the repository.
        route: what is asked for, by the name under which it is kept.
        asked: what is asked for, as the client calls it.
    """

    site: Site
    place: Place
    route: Route
    asked: Route

    @property
    def is_renamed(self) -> bool:
        """Whether the client uses another name than the one that rules are about."""
        return self.asked.repository != self.route.repository


class Mirrors:
    """
    All mirrors of one server; `running` surrounds the time in which they work.

    Args:
        config: the settings.
        open_upstream: leads to the registry behind a mirror.

    Raises:
        InvalidConfiguration: there are mirrors and no way to their upstreams.
    """

    def __init__(self, config: RegistryConfig, open_upstream: OpenUpstream | None) -> None:
        if open_upstream is None:
            raise InvalidConfiguration(
                "mirrors need a client for their upstreams", hint="pass upstreams, or use pybuild registry"
            )
        self._config = config
        self._open_upstream = open_upstream
        self._names = Names(config.mirrors)
        self._sites: dict[str, Site] = {}
        self._state: ServerState | None = None
        self._blobs: Blobs | None = None
        self._manifests: Manifests | None = None
        self._lists: Lists | None = None
        self._repairs: Flights[bool] = Flights()

    async def running(self, app: web.Application) -> AsyncIterator[None]:
        """A cleanup context of the application."""
        state = self._state = app[STATE]
        directory, temporary = _directory(state)
        records = Records(_records_path(self._config), time.time)
        self._manifests = Manifests(state, records)
        self._blobs = Blobs(state, directory)
        self._lists = Lists(state)
        figures = Figures(state.metrics)
        async with AsyncExitStack() as stack:
            for mirror in self._config.mirrors:
                self._sites[mirror.prefix] = Site(
                    mirror=mirror,
                    upstream=await stack.enter_async_context(self._open_upstream(mirror)),
                    patience=Patience(mirror.prefix, offline=mirror.offline, missing_ttl=mirror.missing_ttl),
                    figures=figures,
                )
            state.on_damage.append(self._damaged)
            yield
            state.on_damage.remove(self._damaged)
            await self._repairs.close()
            await self._manifests.close()
            await self._lists.close()
            await self._blobs.close()
            self._sites.clear()
        records.close()
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)

    async def find(self, request: web.Request, route: Route) -> Errand | Refusal | None:
        """
        What a request means; None for everything that only concerns this registry.

        Raises:
            ApiError: the name would become too long.
        """
        name, method = route.repository, request.method
        if not name:
            return None
        space = request.query.get("ns")
        if space is not None and space != _own_name(request, self._config):
            mirror = self._names.of_space(space)
            if mirror is None:
                return _refused(route, f"{space[:100]} is not mirrored here")
            return self._errand(mirror, name, route)
        prefixed = self._names.of_prefix(name)
        if prefixed is not None:
            return self._errand(*prefixed, route)
        default = self._names.default
        # A push asks by HEAD which blobs it can spare; the upstream's would not be in the local repository.
        if (
            default is None
            or method not in _READING
            or (method == "HEAD" and route.resource is Resource.BLOB)
        ):
            return None
        if route.resource is Resource.UPLOAD or not is_allowed(place_of(default, name)):
            return None
        if await self._is_local(route):
            return None
        return self._errand(default, name, route)

    def _errand(self, mirror: Mirror, name: str, route: Route) -> Errand | Refusal:
        place = place_of(mirror, name)
        check_repository(place.repository)
        if not is_allowed(place):
            return _refused(route, f"{name} of {mirror.prefix} is not mirrored here")
        kept = Route(route.resource, place.repository, route.argument)
        return Errand(site=self._sites[mirror.prefix], place=place, route=kept, asked=route)

    async def _is_local(self, route: Route) -> bool:
        """Whether the repository is one of this registry's own."""
        state, name = cast("ServerState", self._state), route.repository
        if route.resource is Resource.MANIFEST and state.metadata.known_manifest(name, route.argument):
            return True
        return await state.in_thread(state.store.tags.names, name, "", 1) is not None

    async def answer(self, call: Call, errand: Errand | Refusal, handler: Handler) -> web.StreamResponse:
        """
        Answer a request of somebody who may send it.

        Args:
            call: with the route of the name under which the content is kept.
            errand: what the request means.
            handler: answers from what is here.
        """
        if isinstance(errand, Refusal):
            raise errand.problem
        mirror, resource = errand.place.mirror, call.route.resource
        if call.request.method not in _READING:
            changes = call.request.method != "DELETE" or resource is Resource.UPLOAD
            if changes and not mirror.push:
                raise Denied(
                    {"name": errand.route.repository},
                    message=f"{mirror.prefix} is mirrored from {mirror.origin}; push there instead",
                )
            return await handler(call)
        if resource is Resource.MANIFEST:
            return await self._manifest(call, errand, handler)
        if resource is Resource.BLOB:
            return await self._blob(call, errand, handler)
        lists = cast("Lists", self._lists)
        if resource is Resource.TAGS:
            return await lists.tags(call, errand.site, errand.place, errand.asked.repository)
        if resource is Resource.REFERRERS:
            return await lists.referrers(call, errand.site, errand.place)
        return await handler(call)

    async def _manifest(self, call: Call, errand: Errand, handler: Handler) -> web.StreamResponse:
        manifests, site, place = cast("Manifests", self._manifests), errand.site, errand.place
        reference = read_reference(call.route.argument)
        if isinstance(reference, Digest):
            answer = await _if_here(call, handler)
            if answer is None:
                await manifests.fetch(site, place, reference)
                return await handler(call)
            site.answered("hit")
            return answer
        freshness = await manifests.check_tag(site, place, reference)
        answer = await _if_here(call, handler)
        if answer is None:  # it was removed, or found to be damaged, meanwhile
            manifests.forget(place.repository, reference)
            freshness = await manifests.check_tag(site, place, reference)
            answer = await handler(call)
        if freshness.problem is not None:
            warn(answer, freshness.problem, freshness.age)
        return answer

    async def _blob(self, call: Call, errand: Errand, handler: Handler) -> web.StreamResponse:
        manifests, blobs = cast("Manifests", self._manifests), cast("Blobs", self._blobs)
        digest = read_digest(call.route.argument)
        answer = await _if_here(call, handler)
        if answer is not None:
            errand.site.answered("hit")
            return answer
        site, place = errand.site, errand.place
        known = manifests.size_of(place.repository, digest)
        if call.request.method == "GET":
            delivered = await blobs.deliver(call, site, place, digest, known)
            return await handler(call) if delivered is None else delivered
        if place.mirror.push:  # a push may not rely on what is not here
            return await handler(call)
        size = await blobs.size(site, place, digest, known)
        if is_unchanged(call.request, digest):
            return web.Response(status=304, headers=blob_headers(digest))
        return web.Response(headers=blob_headers(digest) | {"Content-Length": str(size)})

    def _damaged(self, digest: Digest) -> None:
        self._repairs.begin(digest, lambda: self._repair(digest))

    async def _repair(self, digest: Digest) -> bool:
        """Get something that was put aside from an upstream again; False if none has it."""
        state, blobs = cast("ServerState", self._state), cast("Blobs", self._blobs)
        if not isinstance(state.store, IndexedStore):
            return False
        for repository in await state.in_thread(state.store.index.holders, digest):
            found = self._names.of_prefix(repository)
            if found is None or not is_allowed(place := place_of(*found)):
                continue
            if await blobs.repair(self._sites[place.mirror.prefix], place, digest):
                _LOG.info("%s was repaired from the upstream of %s", digest, place.mirror.prefix)
                return True
        return False

    def origin_of(self, repository: str) -> str:
        """Where the content of a repository comes from, for people; empty for one that is only here."""
        found = self._names.of_prefix(repository)
        return "" if found is None else f"{found[0].origin}/{place_of(*found).remote}"


def _refused(route: Route, message: str) -> Refusal:
    problem = ApiError(ErrorCode.NAME_UNKNOWN, {"name": route.repository}, message=message)
    return Refusal(route=route, problem=problem)


async def _if_here(call: Call, handler: Handler) -> web.StreamResponse | None:
    """The answer from what is here; None when it is not."""
    try:
        return await handler(call)
    except ApiError as problem:
        if problem.code in (ErrorCode.BLOB_UNKNOWN, ErrorCode.MANIFEST_UNKNOWN):
            return None
        raise


def _own_name(request: web.Request, config: RegistryConfig) -> str:
    """Host and port of this registry as the client sees it."""
    return forwarded.origin(request, trusted=config.trust_proxy).partition("://")[2]


def _directory(state: ServerState) -> tuple[str, str]:
    """Where blobs arrive, and what is to be removed at the end."""
    if isinstance(state.store, FilesystemStore):
        return state.store.layout.temporary, ""
    if not state.config.directory:
        directory = tempfile.mkdtemp(prefix="pybuild-mirror-")
    else:  # beside a bucket: there may be little room elsewhere
        directory = f"{state.config.directory}/mirror-arriving"
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
    return directory, directory


def _records_path(config: RegistryConfig) -> str:
    return f"{config.directory}/mirror.db" if config.directory else ":memory:"
