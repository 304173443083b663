"""
A registry behind a mirror, reached by the client.

Invariants: what the client raises becomes `UpstreamFailed`, with what its reader may see; everything that is
read whole is bounded; a registry that says "too often" is not asked again by the client itself.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.errors import ImageError, InvalidDigest

from .client.client import RegistryClient
from .client.credentials import Credentials
from .client.messages import Answer, Fetched, Request
from .client.retry import parse_retry_after
from .client.session import TransportOptions
from .client.transport import Transport
from .errors import (
    ApiError,
    Denied,
    InvalidConfiguration,
    InvalidCredentials,
    RegistryError,
    TransportProblem,
    Unauthorized,
)
from .protocol import headers, routes
from .protocol.challenges import repository_scope
from .server.mirror.settings import Mirror
from .server.mirror.upstream import (
    UNCHANGED,
    BlobStream,
    Failure,
    Head,
    Received,
    Unchanged,
    UpstreamFailed,
)

_ACCEPT = ", ".join((*mediatypes.ALL_MANIFESTS, "*/*;q=0.1"))
_BODY_LIMIT = 64 * 1024
_FAILURES = (408, 429, 500, 502, 503, 504)
_RENEW_SECONDS = 30.0


class ClientUpstream:
    """
    Implements `Upstream` by the client.

    Args:
        mirror: whose upstream.
        options: how it is reached.
        lookup: finds the credentials; called in a thread.
    """

    def __init__(
        self, mirror: Mirror, options: TransportOptions, lookup: Callable[[str], Credentials | None]
    ) -> None:
        self._name = mirror.prefix
        self._options = options
        self._lookup = lookup
        self._transport = Transport(options, lookup)
        self._old: list[Transport] = []
        self._renewed = time.monotonic()

    async def close(self) -> None:
        """Close all connections."""
        for transport in (self._transport, *self._old):
            await transport.__aexit__()

    async def head_manifest(self, repository: str, reference: str) -> Head | None:
        """What a tag stands for."""
        answer = await self._fetch(
            "HEAD", repository, routes.manifest(repository, reference), (200, 404, 405)
        )
        if answer.status == 405:
            return Head()
        return None if answer.status == 404 else Head(digest=_digest(answer), etag=_etag(answer))

    async def get_manifest(
        self, repository: str, reference: str, *, limit: int, etag: str = ""
    ) -> Received | Unchanged | None:
        """A manifest."""
        fields = {"If-None-Match": etag} if etag else {}
        target = routes.manifest(repository, reference)
        answer = await self._fetch("GET", repository, target, (200, 304, 404), fields=fields, limit=limit)
        if answer.status == 304:
            return UNCHANGED
        if answer.status == 404:
            return None
        media_type = answer.headers.get("Content-Type", "")
        return Received(digest=_digest(answer), etag=_etag(answer), raw=answer.body, media_type=media_type)

    async def blob_size(self, repository: str, digest: Digest) -> int | None:
        """The size of a blob."""
        answer = await self._fetch("HEAD", repository, routes.blob(repository, digest), (200, 404))
        if answer.status == 404:
            return None
        size = _length(answer)
        if size is None:
            raise UpstreamFailed(
                Failure.BROKEN, f"{self._name}: the upstream does not say the size of {digest}"
            )
        return size

    @asynccontextmanager
    async def open_blob(
        self, repository: str, digest: Digest, offset: int
    ) -> AsyncIterator[BlobStream | None]:
        """A blob from an offset on."""
        fields = {"Range": headers.format_range(offset)} if offset else {}
        accepted = (200, 206, 404) if offset else (200, 404)
        request = self._request("GET", repository, routes.blob(repository, digest), accepted, fields)
        async with AsyncExitStack() as stack:
            with self._failures():  # not around the yield: what the caller raises is the caller's
                stream = await stack.enter_async_context(self._transport.stream(self._name, request))
                self._check(stream)
                start, total = 0, _length(stream)
                if stream.status == 206:
                    part = headers.parse_content_range(stream.headers.get("Content-Range", ""))
                    start, total = part.range.start, part.total
            chunks = self._chunks(stream.chunks)
            yield None if stream.status == 404 else BlobStream(start=start, total=total, chunks=chunks)

    async def _chunks(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        with self._failures():
            async for chunk in chunks:
                yield chunk

    async def tags(self, repository: str) -> tuple[str, ...] | None:
        """All tags."""
        with self._failures():
            try:
                return await RegistryClient(self._transport, self._name).tags(repository)
            except ApiError as problem:
                if problem.status == 404:
                    return None
                raise

    async def referrers(self, repository: str, digest: Digest) -> tuple[Descriptor, ...]:
        """What refers to a manifest."""
        with self._failures():
            return await RegistryClient(self._transport, self._name).referrers(repository, digest)

    async def _fetch(
        self,
        method: str,
        repository: str,
        target: str,
        accepted: tuple[int, ...],
        *,
        fields: Mapping[str, str] | None = None,
        limit: int = _BODY_LIMIT,
    ) -> Fetched:
        request = self._request(method, repository, target, accepted, fields)
        with self._failures():
            answer = await self._transport.fetch(self._name, request, limit=max(limit, _BODY_LIMIT))
            self._check(answer)
            return answer

    def _request(
        self,
        method: str,
        repository: str,
        target: str,
        accepted: tuple[int, ...],
        fields: Mapping[str, str] | None,
    ) -> Request:
        is_manifest = "/manifests/" in target
        return Request(
            method=method,
            target=target,
            what=f"{self._name}/{repository}",
            headers={**({"Accept": _ACCEPT} if is_manifest else {}), **(fields or {})},
            scopes=(repository_scope(repository, "pull"),),
            accepted=(*accepted, *_FAILURES),
        )

    def _check(self, answer: Answer) -> None:
        """
        Tell failures from answers.

        Raises:
            UpstreamFailed: it is a failure.
        """
        if answer.status not in _FAILURES:
            return
        wait = parse_retry_after(answer.headers.get("Retry-After"), time.time())
        if answer.status == 429 or (answer.status == 503 and wait is not None):
            failure = Failure.LIMITED
        else:
            failure = Failure.BROKEN
        message = f"{self._name}: the upstream answered with HTTP {answer.status}"
        raise UpstreamFailed(failure, message, retry_after=wait)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """What the client raises, as the server knows it."""
        try:
            yield
        except UpstreamFailed:
            raise
        except (Unauthorized, Denied) as problem:
            self._renew()
            raise UpstreamFailed(Failure.REFUSED, f"the upstream refused: {problem.message}") from problem
        except (InvalidConfiguration, InvalidCredentials) as problem:
            message = f"{self._name}: the credentials for the upstream cannot be used"
            raise UpstreamFailed(Failure.REFUSED, message, detail=problem.message) from problem
        except ApiError as problem:
            failure = Failure.LIMITED if problem.status == 429 else Failure.BROKEN
            raise UpstreamFailed(failure, problem.message) from problem
        except TransportProblem as problem:
            raise UpstreamFailed(Failure.DOWN, problem.message) from problem
        except (RegistryError, ImageError) as problem:
            raise UpstreamFailed(Failure.BROKEN, problem.message) from problem

    def _renew(self) -> None:
        """Read the credentials again with the next request: they may have been replaced."""
        now = time.monotonic()
        if now - self._renewed >= _RENEW_SECONDS:
            self._renewed = now
            self._old.append(self._transport)  # others may still read from it
            self._transport = Transport(self._options, self._lookup)


def _digest(answer: Answer) -> Digest | None:
    try:
        return Digest.parse(answer.headers.get(headers.DIGEST_HEADER, ""))
    except InvalidDigest:
        return None


def _etag(answer: Answer) -> str:
    return answer.headers.get("ETag", "")[:1000]


def _length(answer: Answer) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return int(text[:18]) if text.isascii() and text.isdigit() else None
