"""
Pushing one blob: start, send, finish; and going on after a broken connection.

Invariants: the registry's Location is used as it was given, for exactly the next request; the digest that
ends an upload is that of the bytes that were read; attempts without progress are bounded.
Governing source: OCI distribution-spec, "Pushing blobs" and "Resuming a chunked upload".
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest

from ..errors import (
    ApiError,
    Denied,
    MalformedMessage,
    RegistryError,
    TransportProblem,
    Unauthorized,
    UploadProblem,
)
from ..protocol import headers, routes
from ..protocol.challenges import Scope, repository_scope
from ..protocol.errors import BODY_LIMIT, ErrorCode
from .bodies import Body
from .endpoints import resolve_location
from .messages import Fetched, Request
from .retry import TEMPORARY_STATUSES
from .transport import Transport

_OCTETS = "application/octet-stream"
_LOST = frozenset((404, 416))


class Upload:
    """
    One blob on its way into a repository.

    Args:
        transport: where requests go.
        registry: the registry's name.
        repository: the repository's name.
        report: told how many bytes of the body were handed to the network.
    """

    def __init__(
        self, transport: Transport, registry: str, repository: str, report: Callable[[int], None]
    ) -> None:
        self._transport = transport
        self._registry = registry
        self._repository = repository
        self._report = report
        self._what = f"{registry}/{repository}: upload"
        self._scopes = (repository_scope(repository, "pull", "push"),)
        self._location: str | None = None
        self._started: list[AsyncGenerator[bytes, None]] = []
        self._fault: Exception | None = None

    async def mount(self, digest: Digest, source: str) -> bool:
        """
        Ask for a blob that another repository of the registry has; True when it is there now.

        When the registry starts an upload instead, `push` goes on with that.
        """
        target = routes.uploads(self._repository, mount=digest, from_repository=source)
        scopes = (*self._scopes, repository_scope(source, "pull"))
        try:
            answer = await self._ask("POST", target, accepted=(201, 202), scopes=scopes)
        except (Denied, Unauthorized):
            return False  # the source may be somebody else's; the target's own turn comes with the upload
        except ApiError as problem:
            if problem.status in TEMPORARY_STATUSES:
                raise
            return False
        await self.cancel()  # an upload that an earlier attempt to mount began
        if answer.status == 201:
            return True
        self._follow(answer)
        return False

    async def push(self, body: Body, media_type: str) -> Descriptor:
        """
        Send the body; returns what the registry holds now.

        Raises:
            ApiError: the registry refused it.
            TransportProblem: the connection broke again and again.
            UploadProblem: it broke and the body cannot be read again, or the registry lost the upload.
        """
        failures = offset = reached = 0
        while True:
            try:
                if self._location is None:
                    self._follow(await self._ask("POST", routes.uploads(self._repository), accepted=(202,)))
                digest, size = await self._send(body, offset)
                return Descriptor(media_type=media_type, digest=digest, size=size)
            except (ApiError, TransportProblem) as problem:
                if not _is_interruption(problem, resumed=offset > 0):
                    await self.cancel()
                    raise
                if not body.restartable:
                    raise UploadProblem(f"{problem.message}; its bytes cannot be read again") from problem
                last = problem
            except Exception:
                await self.cancel()  # the body's own fault: nothing will follow
                raise
            offset = await self._resume(body)
            failures = 1 if offset > reached else failures + 1
            reached = max(reached, offset)
            pause = self._transport.options.retry.delay(failures)
            if pause is None:
                await self.cancel()
                raise last
            await asyncio.sleep(pause)

    async def cancel(self) -> None:
        """Tell the registry to forget the upload, if there is one; failures do not matter."""
        if self._location is not None:
            location, self._location = self._location, None
            with contextlib.suppress(RegistryError):
                await self._ask("DELETE", location, accepted=(200, 202, 204, 404, 405), repeatable=False)

    async def _send(self, body: Body, offset: int) -> tuple[Digest, int]:
        known = body.descriptor
        if known is not None and offset == 0:
            await self._finish(known.digest, known.size, self._counted(body, 0))
            return known.digest, known.size
        fields = {"Content-Type": _OCTETS}
        if known is not None and offset < known.size:
            fields["Content-Range"] = headers.format_chunk_range(offset, known.size - offset)
            fields["Content-Length"] = str(known.size - offset)
        if known is None or offset < known.size:
            answer = await self._ask(
                "PATCH",
                self._where(),
                fields=fields,
                body=self._counted(body, offset),
                accepted=(202, 204),
                repeatable=False,
            )
            self._follow(answer)
        digest, size = body.computed()
        await self._finish(digest, 0, None)
        return digest, size

    async def _finish(
        self, digest: Digest, length: int, body: Callable[[], AsyncIterator[bytes]] | None
    ) -> None:
        answer = await self._ask(
            "PUT",
            routes.with_query(self._where(), [("digest", str(digest))]),
            fields={"Content-Type": _OCTETS, "Content-Length": str(length)},
            body=body if length else None,
            accepted=(201, 204),
            repeatable=False,
        )
        self._location = None
        stated = answer.headers.get(headers.DIGEST_HEADER)
        if stated is not None and stated != str(digest) and stated.startswith(digest.algorithm + ":"):
            raise UploadProblem(f"{self._what} of {digest}: the registry stored it as {stated[:100]!r}")

    async def _resume(self, body: Body) -> int:
        """Where to go on: the offset in the same upload, or 0 in a new one."""
        if self._location is None:
            return 0
        try:
            answer = await self._ask("GET", self._location, accepted=(204,))
            offset = headers.parse_upload_range(answer.headers.get("Range", ""))
            self._follow(answer, required=False)
        except (RegistryError, KeyError):
            await self.cancel()
            return 0
        known = body.descriptor
        if offset == 0 or (known is not None and offset > known.size):
            # An empty upload and one of a single byte look alike: a new one has no doubt about it.
            await self.cancel()
            return 0
        return offset

    def _counted(self, body: Body, offset: int) -> Callable[[], AsyncIterator[bytes]]:
        async def blocks() -> AsyncGenerator[bytes, None]:
            sent = offset
            try:
                async with contextlib.aclosing(body.blocks(offset)) as source:
                    async for block in source:
                        yield block
                        sent += len(block)
                        self._report(sent)
            except Exception as problem:
                self._fault = problem  # else it would look like a broken connection
                raise

        def start() -> AsyncIterator[bytes]:
            started = blocks()
            self._started.append(started)
            return started

        return start

    async def _close_bodies(self) -> None:
        """Close what was not read to its end, after the connection's own task let go of it."""
        while self._started:
            with contextlib.suppress(RuntimeError):  # still in use
                await self._started[-1].aclose()
                self._started.pop()
                continue
            await asyncio.sleep(0.01)

    def _where(self) -> str:
        if self._location is None:
            raise UploadProblem(f"{self._what}: it was not started")
        return self._location

    def _follow(self, answer: Fetched, *, required: bool = True) -> None:
        location = answer.headers.get("Location")
        if location:
            self._location = resolve_location(answer.url, location)
        elif required and answer.status == 202 and self._location is None:
            raise MalformedMessage(f"{self._what}: the registry named no Location")

    async def _ask(
        self,
        method: str,
        target: str,
        *,
        accepted: tuple[int, ...],
        fields: dict[str, str] | None = None,
        body: Callable[[], AsyncIterator[bytes]] | None = None,
        scopes: tuple[Scope, ...] | None = None,
        repeatable: bool = True,
    ) -> Fetched:
        request = Request(
            method=method,
            target=target,
            what=self._what,
            headers=fields if fields is not None else ({"Content-Length": "0"} if method == "POST" else {}),
            body=body,
            scopes=self._scopes if scopes is None else scopes,
            accepted=accepted,
            repeatable=repeatable,
        )
        self._fault = None
        try:
            return await self._transport.fetch(self._registry, request, limit=BODY_LIMIT)
        except TransportProblem as problem:
            if self._fault is not None:
                raise self._fault from problem
            raise
        finally:
            await self._close_bodies()


def _is_interruption(problem: ApiError | TransportProblem, *, resumed: bool) -> bool:
    """Whether going on, or starting again, may help."""
    if isinstance(problem, TransportProblem):
        return problem.temporary
    if problem.code is ErrorCode.DIGEST_INVALID:
        return resumed  # the registry's part of a resumed upload may be the broken one
    if problem.status == 404:
        return problem.code in (
            ErrorCode.BLOB_UPLOAD_UNKNOWN,
            ErrorCode.BLOB_UPLOAD_INVALID,
            ErrorCode.UNKNOWN,
        )
    return problem.status in TEMPORARY_STATUSES or problem.status in _LOST
