"""
What is known about one registry, and how a request gets its answer: probing, authentication, redirects.

Invariants: Authorization goes to the registry's own origin and nowhere else; the scheme is decided once; one
request for a token is made at a time. Governing sources: OCI distribution-spec; RFC 9110 sections 11 and 15.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import TransportProblem, Unauthorized
from ..protocol import routes
from ..protocol.challenges import Scope
from .auth import REPLY_LIMIT, Authenticator, TokenReply, TokenRequest
from .credentials import CredentialLookup, Credentials
from .endpoints import (
    Endpoint,
    endpoints_of,
    host_of,
    is_loopback,
    may_carry_credentials,
    origin_of,
    resolve_location,
)
from .messages import Request
from .session import Session, TransportOptions

if TYPE_CHECKING:
    from aiohttp import ClientResponse

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_REDIRECT_LIMIT = 10


class Peer:
    """
    One registry as a client sees it.

    Args:
        name: the registry as in a reference.
        session: sends single requests.
        options: insecure registries and overrides.
        lookup: finds the registry's credentials; called in a thread, once, when they are asked for.
    """

    def __init__(
        self, name: str, session: Session, options: TransportOptions, lookup: CredentialLookup
    ) -> None:
        self.name = name
        self.credentials: Credentials | None = None
        self._session = session
        self._lookup = lookup
        self._looked_up = False
        self._endpoint: Endpoint | None = None
        self._candidates = endpoints_of(name, insecure=options.insecure, overrides=options.overrides)
        self._probing = asyncio.Lock()
        self._authenticating = asyncio.Lock()
        trusted = {origin_of(endpoint.url) for endpoint in self._candidates}
        self._auth = Authenticator(name, lambda url: may_carry_credentials(url, trusted=trusted))

    def owns(self, url: str) -> bool:
        """Whether a URL belongs to the registry itself."""
        return self._endpoint is not None and origin_of(url) == origin_of(self._endpoint.url)

    async def reach(self) -> str:
        """
        Find out, once, how the registry is reached; its base URL.

        Raises:
            TransportProblem: it is not reached at all.
        """
        async with self._probing:
            if self._endpoint is None:
                self._endpoint = await self._probe()
        return self._endpoint.url

    async def ask(self, request: Request) -> ClientResponse:
        """
        Send a request with the authentication that the registry wants; the caller closes the response.

        Raises:
            Unauthorized: it wants credentials that we do not have, or refuses those that we have.
            TransportProblem: no answer came, or it leads somewhere where we do not go.
        """
        await self.reach()
        value = await self.authorize(request.scopes)
        response = await self._follow(request, value)
        if response.status != 401 or not self.owns(str(response.url)):
            return response
        self._auth.forget(value)
        challenges = response.headers.getall("WWW-Authenticate", [])
        if not challenges or (value is not None and value.startswith("Basic ")):
            return response  # nothing to answer, or the same answer would be refused again
        await self._session.drain(response)
        self._auth.learn(challenges)
        await self._load_credentials()
        return await self._follow(request, await self._answer(request.scopes))

    async def authorize(self, scopes: tuple[Scope, ...]) -> str | None:
        """
        The Authorization to begin with: known already, or found from the challenge that probing met.

        Raises:
            Unauthorized: the token endpoint gives us nothing.
        """
        if not self._auth.needs_flow(scopes, time.monotonic()):
            return self._auth.authorization(scopes, time.monotonic())
        await self._load_credentials()
        if self.credentials is None and not self._auth.offers_tokens:
            return None  # a registry with Basic may still be open for reading
        return await self._answer(scopes)

    async def _answer(self, scopes: tuple[Scope, ...]) -> str:
        async with self._authenticating:
            value = self._auth.authorization(scopes, time.monotonic())
            if value is not None:
                return value
            flow = self._auth.flow(scopes, self.credentials, time.monotonic())
            reply: TokenReply | None = None
            while True:
                try:
                    request = next(flow) if reply is None else flow.send(reply)
                except StopIteration as end:
                    return str(end.value)
                reply = await self._ask_token(request)

    async def _ask_token(self, request: TokenRequest) -> TokenReply:
        what = f"{self.name}: token endpoint"
        headers, url = dict(request.headers), request.url
        for _ in range(_REDIRECT_LIMIT):
            verify = self._verifies(url)
            response = await self._session.send(
                request.method, url, headers, request.body or None, verify=verify, what=what
            )
            location = response.headers.get("Location")
            if request.method != "GET" or response.status not in _REDIRECTS or location is None:
                body = await self._session.read(response, REPLY_LIMIT, what)
                return TokenReply(status=response.status, body=body)
            await self._session.drain(response)
            target = resolve_location(url, location)
            if origin_of(target) != origin_of(url):
                headers.pop("Authorization", None)
            url = target
        raise TransportProblem(f"{what}: too many redirects", temporary=False)

    async def _load_credentials(self) -> None:
        if not self._looked_up:
            self.credentials = await asyncio.to_thread(self._lookup, self.name)
            self._looked_up = True

    async def _follow(self, request: Request, value: str | None) -> ClientResponse:
        url = self._url(request.target)
        for _ in range(_REDIRECT_LIMIT):
            headers = dict(request.headers)
            if value is not None and self.owns(url):
                headers["Authorization"] = value
            verify = self._verifies(url)
            response = await self._session.send(
                request.method, url, headers, request.body, verify=verify, what=request.what
            )
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or response.status in request.accepted or location is None:
                return response
            if request.method not in ("GET", "HEAD") and response.status not in (307, 308):
                return response
            await self._session.drain(response)
            url = resolve_location(url, location)
        raise TransportProblem(f"{request.what}: too many redirects", temporary=False)

    def _url(self, target: str) -> str:
        return self._endpoint.url + target if target.startswith("/") and self._endpoint else target

    def _verifies(self, url: str) -> bool:
        if self._endpoint is None or self._endpoint.verify:
            return True
        return origin_of(url)[1] != origin_of(self._endpoint.url)[1]

    async def _probe(self) -> Endpoint:
        """Ask for the version of the API: it tells the scheme, and the challenge before any body is sent."""
        first: TransportProblem | None = None
        for candidate in self._candidates:
            url = candidate.url + routes.base()
            try:
                response = await self._session.send(
                    "GET", url, {}, None, verify=candidate.verify, what=self.name
                )
            except TransportProblem as problem:
                first = first or problem
                continue
            challenges = response.headers.getall("WWW-Authenticate", [])
            await self._session.drain(response)
            if response.status == 400 and candidate is not self._candidates[-1]:
                continue  # what servers say to plain HTTP on a port for TLS
            if response.status == 401:
                with suppress(Unauthorized):
                    self._auth.learn(challenges)
            return candidate
        if first is None:
            raise TransportProblem(f"{self.name} speaks neither HTTP nor HTTPS", temporary=False)
        if len(self._candidates) == 1 and not is_loopback(host_of(self.name)) and first.hint is None:
            first.hint = "check the name; a registry without TLS must be named as insecure"
        raise first
