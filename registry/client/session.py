"""
One aiohttp session: connections, time limits, TLS contexts and proxies, with failures as `TransportProblem`.

Invariants: a connection that makes no progress is given up, in both directions; nothing is decompressed,
no cookie is kept, no environment variable is read.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import TransportProblem
from .endpoints import printable, redacted
from .messages import BodySource
from .proxies import proxy_for
from .retry import RetryPolicy

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

_READ_BUFFER = 1024 * 1024
_DRAIN_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportOptions:
    """
    How a transport behaves; all times in seconds.

    Attributes:
        insecure: registries (``host:port``) that may be reached without TLS or a valid certificate.
        overrides: base URLs of registries that are reached elsewhere.
        ca_file: certificates (PEM) that are trusted in addition to the system's.
        user_agent: what we call ourselves.
        connect_timeout: until a connection is there.
        stall_timeout: for which a connection may make no progress.
        connections: how many connections to one host are used at most.
        retry: when failed requests are repeated.
        proxies: URLs of proxies by scheme (``http``, ``https``).
        no_proxy: hosts and domains that are reached without a proxy; ``*`` for all.
    """

    insecure: frozenset[str] = frozenset()
    overrides: Mapping[str, str] = field(default_factory=dict)
    ca_file: str | None = None
    user_agent: str = "pybuild"
    connect_timeout: float = 30.0
    stall_timeout: float = 60.0
    connections: int = 16
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    no_proxy: tuple[str, ...] = ()


class Session:
    """Sends single requests; opens its aiohttp session when the first one is sent."""

    def __init__(self, options: TransportOptions) -> None:
        self._options = options
        self._session: ClientSession | None = None
        self._contexts: dict[bool, ssl.SSLContext] = {}

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | BodySource | None,
        *,
        verify: bool,
        what: str,
    ) -> ClientResponse:
        """
        Send one request; the caller closes the response. Redirects are not followed.

        Raises:
            TransportProblem: no answer came.
        """
        import aiohttp
        from yarl import URL

        session = self._open()
        try:
            async with asyncio.timeout(None) as watch:
                data = self._watched(body(), watch) if callable(body) else body
                return await session.request(
                    method,
                    # What the registry gave is sent as it is: its query may be signed.
                    URL(url, encoded=True),
                    headers=headers,
                    data=data,
                    allow_redirects=False,
                    ssl=self._context(verify=verify) if url.startswith("https:") else False,
                    proxy=proxy_for(url, self._options.proxies, self._options.no_proxy),
                )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as problem:
            raise _problem(problem, f"{what}: {method} {redacted(url)}") from problem

    async def read(self, response: ClientResponse, limit: int, what: str) -> bytes:
        """
        The whole body; the response is closed.

        Raises:
            TransportProblem: the connection broke, or the body is longer than `limit`.
        """
        parts, size = [], 0
        try:
            async for chunk in self.chunks(response, what):
                size += len(chunk)
                if size > limit:
                    raise TransportProblem(
                        f"{what}: the answer of {response.url.host} is larger than {limit} bytes",
                        temporary=False,
                    )
                parts.append(chunk)
        finally:
            response.close()
        return b"".join(parts)

    async def drain(self, response: ClientResponse) -> None:
        """Read a small body to its end so that the connection can be used again, else close it."""
        length = response.content_length
        try:
            if length is not None and length <= _DRAIN_LIMIT:
                await response.read()
        except Exception as problem:
            if not _is_network_problem(problem):
                raise
        finally:
            response.close()

    async def chunks(self, response: ClientResponse, what: str) -> AsyncIterator[bytes]:
        """
        The body as it arrives.

        Raises:
            TransportProblem: (temporary) the connection broke or stalled.
        """
        import aiohttp

        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            raise _problem(problem, f"{what}: reading from {redacted(str(response.url))}") from problem

    async def _watched(self, body: AsyncIterator[bytes], watch: asyncio.Timeout) -> AsyncIterator[bytes]:
        """Give up a connection that does not take the next bytes; the time to make them does not count."""
        loop = asyncio.get_running_loop()
        async for chunk in body:
            if watch.expired():
                return
            watch.reschedule(loop.time() + self._options.stall_timeout)
            yield chunk
            if not watch.expired():
                watch.reschedule(None)

    def _open(self) -> ClientSession:
        if self._session is None:
            import aiohttp

            options = self._options
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, limit_per_host=options.connections),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=options.connect_timeout, sock_read=options.stall_timeout
                ),
                headers={"User-Agent": options.user_agent, "Accept-Encoding": "identity"},
                auto_decompress=False,
                read_bufsize=_READ_BUFFER,
                trust_env=False,
            )
        return self._session

    def _context(self, *, verify: bool) -> ssl.SSLContext:
        context = self._contexts.get(verify)
        if context is None:
            context = ssl.create_default_context()
            if not verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            elif self._options.ca_file is not None:
                try:
                    context.load_verify_locations(self._options.ca_file)
                except OSError as problem:
                    raise TransportProblem(
                        f"cannot use the certificates in {self._options.ca_file}: {problem}", temporary=False
                    ) from problem
            self._contexts[verify] = context
        return context


def _is_network_problem(problem: Exception) -> bool:
    import aiohttp

    return isinstance(problem, aiohttp.ClientError | TimeoutError | OSError)


def _problem(problem: Exception, what: str) -> TransportProblem:
    import aiohttp

    if isinstance(problem, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        certificate = isinstance(problem, aiohttp.ClientConnectorCertificateError)
        hint = "name its CA certificate, or name the registry as insecure" if certificate else None
        reason = printable(str(problem.certificate_error if certificate else problem.os_error))
        return TransportProblem(f"{what}: TLS failed: {reason}", temporary=False, hint=hint)
    if isinstance(problem, TimeoutError):
        return TransportProblem(f"{what}: timed out", temporary=True)
    if isinstance(problem, aiohttp.ClientConnectorError):
        reason = problem.os_error.strerror or str(problem.os_error)
        return TransportProblem(f"{what}: cannot connect: {printable(reason)}", temporary=False)
    if isinstance(problem, aiohttp.InvalidURL | ValueError):
        return TransportProblem(f"{what}: invalid URL", temporary=False)
    if isinstance(problem, aiohttp.ClientResponseError):
        return TransportProblem(f"{what}: the answer is not HTTP", temporary=False)
    reason = printable(str(problem)) or type(problem).__name__
    return TransportProblem(f"{what}: the connection broke: {reason}", temporary=True)
