"""
Which requests are for mirrors, and what they mean.

Invariants: whether something can be had is told after its sender was checked; a name without a prefix that is
one of this registry's own is never looked for elsewhere.
Governing sources: containerd's ``ns=``; dockerd's ``registry-mirrors``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from ...errors import ApiError
from ...protocol.errors import ErrorCode
from ...protocol.routes import Resource, Route
from .. import forwarded
from ..marks import NAMESPACE
from ..requests import check_repository
from ..state import ServerState
from .names import Names, Place, is_allowed, place_of
from .settings import Mirror
from .site import Site

_READING = ("GET", "HEAD")


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


class Errands:
    """
    Finds what requests mean.

    Args:
        state: the server.
        names: of its mirrors.
        sites: the mirrors by their prefixes.
    """

    def __init__(self, state: ServerState, names: Names, sites: Mapping[str, Site]) -> None:
        self._state = state
        self._names = names
        self._sites = sites

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
        if space is not None and space != _own_name(request, trusted=self._state.config.trust_proxy):
            mirror = self._names.of_space(space)
            if mirror is None:
                return _refused(route, f"{space[:100]} is not mirrored here")
            request[NAMESPACE] = space
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
        state, name = self._state, route.repository
        if route.resource is Resource.MANIFEST and state.metadata.known_manifest(name, route.argument):
            return True
        return await state.in_thread(state.store.tags.names, name, "", 1) is not None


def _refused(route: Route, message: str) -> Refusal:
    problem = ApiError(ErrorCode.NAME_UNKNOWN, {"name": route.repository}, message=message)
    return Refusal(route=route, problem=problem)


def _own_name(request: web.Request, *, trusted: bool) -> str:
    """Host and port of this registry as the client sees it."""
    return forwarded.origin(request, trusted=trusted).partition("://")[2]
