"""
The door to the network of the registry client: requests in, answers out, with retries.

Invariants: every answer that is read whole is bounded; attempts and waiting are bounded; a body is taken from
its beginning for each attempt. aiohttp is imported when the first request is sent, not before.
Governing sources: OCI distribution-spec; RFC 9110.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

from ..errors import ApiError, RegistryError, TransportProblem
from ..protocol.challenges import Scope
from ..protocol.errors import BODY_LIMIT
from .credentials import CredentialLookup, no_credentials
from .endpoints import redacted
from .messages import Answer, Fetched, Request, error_of
from .peer import Peer
from .retry import TEMPORARY_STATUSES, parse_retry_after
from .session import Session, TransportOptions

if TYPE_CHECKING:
    from aiohttp import ClientResponse

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream(Answer):
    """
    An answer whose body is still to come.

    Attributes:
        chunks: the body as it arrives, to be iterated once; a temporary TransportProblem when it breaks off.
    """

    chunks: AsyncIterator[bytes]


class Transport:
    """
    Sends requests to registries; an asynchronous context manager that closes its connections.

    Args:
        options: time limits, TLS, insecure registries and so on.
        credentials: looks up the credentials of a registry; called in a thread, once for each registry.
    """

    def __init__(
        self, options: TransportOptions | None = None, credentials: CredentialLookup = no_credentials
    ) -> None:
        self.options = options or TransportOptions()
        self._credentials = credentials
        self._session = Session(self.options)
        self._peers: dict[str, Peer] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._session.close()

    async def fetch(self, registry: str, request: Request, *, limit: int) -> Fetched:
        """
        Send a request and read the whole answer, at most `limit` bytes of body.

        Raises:
            ApiError: the registry answered with another status than the accepted ones.
            TransportProblem: no answer, a broken or an oversized one.
        """

        async def read(response: ClientResponse) -> Fetched:
            body = await self._session.read(response, limit, request.what)
            return Fetched(status=response.status, url=str(response.url), headers=response.headers, body=body)

        return await self._perform(registry, request, read)

    @asynccontextmanager
    async def stream(self, registry: str, request: Request) -> AsyncIterator[Stream]:
        """
        Send a request and hand out the answer's body while it arrives.

        Raises:
            ApiError: the registry answered with another status than the accepted ones.
            TransportProblem: no answer.
        """

        async def keep(response: ClientResponse) -> ClientResponse:
            return response

        response = await self._perform(registry, request, keep)
        try:
            yield Stream(
                status=response.status,
                url=str(response.url),
                headers=response.headers,
                chunks=self._session.chunks(response, request.what),
            )
        finally:
            response.close()

    def peer(self, registry: str) -> Peer:
        """What is known about a registry; the same object for the same name."""
        known = self._peers.get(registry)
        if known is None:
            known = self._peers[registry] = Peer(registry, self._session, self.options, self._credentials)
        return known

    async def authorize(self, registry: str, scopes: tuple[Scope, ...] = ()) -> None:
        """
        Answer the registry's challenge, if it has one, before anything is asked of it.

        Raises:
            Unauthorized: credentials are missing or were not accepted.
        """
        peer = self.peer(registry)
        await peer.reach()
        await peer.authorize(scopes)

    async def _perform(
        self, registry: str, request: Request, consume: Callable[[ClientResponse], Awaitable[ResultT]]
    ) -> ResultT:
        peer, failures = self.peer(registry), 0
        while True:
            error: RegistryError
            asked_for: float | None = None
            try:
                response = await peer.ask(request)
                if response.status in request.accepted:
                    return await consume(response)
                asked_for = parse_retry_after(response.headers.get("Retry-After"), time.time())
                error = await self._error(peer, request, response)
                if response.status not in TEMPORARY_STATUSES or not request.repeatable:
                    raise error
            except TransportProblem as problem:
                if not problem.temporary or not request.repeatable:
                    raise
                error = problem
            failures += 1
            pause = self.options.retry.delay(failures, asked_for)
            if pause is None:
                raise error
            await asyncio.sleep(pause)

    async def _error(self, peer: Peer, request: Request, response: ClientResponse) -> ApiError:
        body = b""
        with suppress(TransportProblem):
            body = await self._session.read(response, BODY_LIMIT, request.what)
        what = request.what
        if not peer.owns(str(response.url)):
            what = f"{what} (from {redacted(str(response.url))})"
        return error_of(response.status, body, what=what, known_caller=peer.credentials is not None)
