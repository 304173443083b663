"""
Blobs: ``GET``, ``HEAD`` and ``DELETE /v2/<name>/blobs/<digest>``.

Governing source: OCI distribution-spec, "Pulling blobs" and "Deleting Blobs".
"""

from __future__ import annotations

from aiohttp import web

from oci_image.digest import Digest

from ..errors import ApiError
from ..protocol import headers
from ..protocol.errors import ErrorCode
from .bodies import Delivery, open_blob, send_blob, send_ranges
from .requests import Call, entity_tag, is_unchanged, read_digest

_CACHE = "max-age=31536000"


def _unknown(digest: Digest) -> ApiError:
    return ApiError(ErrorCode.BLOB_UNKNOWN, {"digest": str(digest)})


def _headers(digest: Digest) -> dict[str, str]:
    return {
        "Content-Type": "application/octet-stream",
        headers.DIGEST_HEADER: str(digest),
        "ETag": entity_tag(digest),
        "Cache-Control": _CACHE,
        "Accept-Ranges": "bytes",
    }


async def head_blob(call: Call) -> web.StreamResponse:
    """Whether the repository has the blob, and its size."""
    digest = read_digest(call.route.argument)
    state = call.state
    size = state.metadata.known_blob(call.repository, digest)
    if size is None:
        size = await state.metadata.blob(
            call.repository, digest, lambda: state.in_thread(state.store.blobs.stat, call.repository, digest)
        )
    # Touched before the client is told: from now on a collection leaves the blob alone.
    if size is None or not state.store.blobs.touch(call.repository, digest):
        raise _unknown(digest)
    if is_unchanged(call.request, digest):
        return web.Response(status=304, headers=_headers(digest))
    known = {"Content-Length": str(size)}
    return state.quick.answer(call.request, size, b"", lambda: web.Response(headers=_headers(digest) | known))


async def get_blob(call: Call) -> web.StreamResponse:
    """The blob's bytes, or the parts that ``Range`` asks for."""
    digest = read_digest(call.route.argument)
    state = call.state
    if (link := await _link(call, digest)) and not is_unchanged(call.request, digest):
        # Kept by nobody: the URL is for one caller and for a short time.
        fresh = _headers(digest) | {"Location": link, "Cache-Control": "no-store"}
        return web.Response(status=307, headers=fresh)
    if (content := _content_at_hand(call, digest)) is not None:
        found = content
        return state.quick.answer(
            call.request, digest, found, lambda: web.Response(body=found, headers=_headers(digest))
        )
    opened = await open_blob(state, call.repository, digest)
    if opened is None:
        raise _unknown(digest)
    file, size = opened
    try:
        if is_unchanged(call.request, digest):
            file.close()
            return web.Response(status=304, headers=_headers(digest))
        parts = _ranges(call.request, digest, size)
    except BaseException:
        file.close()
        raise
    blob = Delivery(
        request=call.request, state=state, digest=digest, file=file, size=size, headers=_headers(digest)
    )
    return await send_blob(blob) if parts is None else await send_ranges(blob, parts)


def _content_at_hand(call: Call, digest: Digest) -> bytes | None:
    """The whole of a small blob for a request without conditions; None to look for it on the disk."""
    state, asked = call.state, call.request.headers
    content = state.metadata.known_content(call.repository, digest)
    if content is None or "Range" in asked or "If-None-Match" in asked:
        return None
    return content if state.store.blobs.touch(call.repository, digest) else None


async def _link(call: Call, digest: Digest) -> str:
    """Where the client gets the blob from the bucket itself; empty to get it from here."""
    state, seconds = call.state, call.state.config.bucket_redirect
    if not seconds or call.request.method != "GET":
        return ""
    from .store.bucket_store import BucketStore

    store = state.store
    if not isinstance(store, BucketStore):
        return ""
    return await state.in_thread(store.blobs.link, call.repository, digest, seconds)


def _ranges(request: web.Request, digest: Digest, size: int) -> tuple[headers.ByteRange, ...] | None:
    text = request.headers.get("Range")
    condition = request.headers.get("If-Range")
    if text is None or (condition is not None and condition.strip() != entity_tag(digest)):
        return None
    try:
        return headers.parse_range(text, size)
    except headers.UnsatisfiableRange as problem:
        raise ApiError(
            ErrorCode.RANGE_INVALID,
            message=problem.message,
            headers={"Content-Range": headers.format_unsatisfied(size)},
        ) from problem


async def delete_blob(call: Call) -> web.StreamResponse:
    """Take the blob from the repository; other repositories keep it."""
    digest = read_digest(call.route.argument)
    state = call.state
    with state.metadata.change(call.repository, manifests=False, blobs=True):
        if not await state.in_thread(state.store.blobs.delete, call.repository, digest):
            raise _unknown(digest)
    return web.Response(status=202)
