"""
Answers to requests for mirrored content.

Invariants: what is here is answered by the same handlers as everything else; an upstream is asked only for
what is not here or may have changed; nobody pushes below a prefix unless the settings allow it.
Governing source: RFC 9111.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from oci_image.digest import Digest

from ...errors import ApiError, Denied
from ...protocol.errors import ErrorCode
from ...protocol.routes import Resource
from ..requests import Call, is_unchanged, read_digest, read_reference
from .blobs import Blobs, blob_headers
from .errands import Errand, Refusal
from .lists import Lists
from .manifests import Manifests
from .site import warn

_READING = ("GET", "HEAD")
Handler = Callable[[Call], Awaitable[web.StreamResponse]]


class Answers:
    """
    Answers requests.

    Args:
        manifests: of all mirrors.
        blobs: of all mirrors.
        lists: of all mirrors.
    """

    def __init__(self, manifests: Manifests, blobs: Blobs, lists: Lists) -> None:
        self._manifests = manifests
        self._blobs = blobs
        self._lists = lists

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
        lists = self._lists
        if resource is Resource.TAGS:
            return await lists.tags(call, errand.site, errand.place, errand.asked.repository)
        if resource is Resource.REFERRERS:
            return await lists.referrers(call, errand.site, errand.place)
        return await handler(call)

    async def _manifest(self, call: Call, errand: Errand, handler: Handler) -> web.StreamResponse:
        manifests, site, place = self._manifests, errand.site, errand.place
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
        manifests, blobs = self._manifests, self._blobs
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


async def _if_here(call: Call, handler: Handler) -> web.StreamResponse | None:
    """The answer from what is here; None when it is not."""
    try:
        return await handler(call)
    except ApiError as problem:
        if problem.code in (ErrorCode.BLOB_UNKNOWN, ErrorCode.MANIFEST_UNKNOWN):
            return None
        raise
