"""
Uploads: everything below ``/v2/<name>/blobs/uploads/``.

Invariants: one request at a time works on an upload, and a second one is refused with what it needs to go on
(416 with Location and Range); a chunk that does not start where the upload ends changes nothing; a wrong
digest at the end discards the upload, because its bytes are of no use to anybody.
Governing source: OCI distribution-spec, "Pushing blobs", "Mounting a blob from another repository".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from aiohttp import web

from oci_image.digest import Digest
from oci_image.errors import InvalidDigest
from oci_image.reference import is_repository_name

from ..errors import ApiError, Denied, MalformedMessage
from ..protocol import headers, routes
from ..protocol.errors import ErrorCode
from . import forwarded, quota
from .receiving import receive
from .requests import Call, read_digest
from .store.base import Upload
from .verification import Identity, identity


async def start_upload(call: Call) -> web.StreamResponse:
    """Mount a blob, take one in a single request, or open an upload."""
    query = call.request.query
    algorithm = query.get("digest-algorithm", "sha256")
    if algorithm not in ("sha256", "sha512"):
        raise ApiError(ErrorCode.DIGEST_INVALID, message=f"unsupported digest algorithm {algorithm[:40]!r}")
    wanted = read_digest(query["digest"]) if "digest" in query else None
    if "mount" in query and (mounted := await _mount(call, query["mount"], query.get("from"))) is not None:
        return _created(call, mounted)
    state = call.state
    owner = call.caller.name or forwarded.address(call.request, trusted=state.config.trust_proxy)
    state.opened.check(owner)
    await _check_room(call)
    if wanted is not None:
        algorithm = wanted.algorithm
    upload = await state.in_thread(state.store.uploads.create, call.repository, algorithm)
    state.opened.add(owner, call.repository, upload.identifier)
    if wanted is None or "mount" in query:
        return web.Response(status=202, headers=_progress(call, upload))
    try:
        with _exclusive(call, upload):
            await _receive(call, upload)
            return await _finish(call, upload, wanted)
    except BaseException:
        # Nobody was told the name of this upload, so nobody can go on with it.
        await state.in_thread(upload.discard)
        raise


async def _mount(call: Call, text: str, source: str | None) -> Digest | None:
    """Mount the blob from the named repository, or from any that the caller may read; None if impossible."""
    state = call.state
    try:
        digest = Digest.parse(text)
    except InvalidDigest:
        return None

    def mount() -> bool:
        blobs = state.store.blobs
        candidates = blobs.holders(digest) if source is None else iter([source])
        for name in candidates:
            readable = is_repository_name(name) and call.caller.may_mount_from(name)
            size = blobs.stat(name, digest) if readable else None
            if size is None:
                continue
            with quota.taking(state.store, state.config.policies, call.repository, digest, size):
                if blobs.mount(call.repository, digest, name):
                    return True
        return False

    return digest if await state.in_thread(mount) else None


async def upload_status(call: Call) -> web.StreamResponse:
    """How many bytes the upload holds."""
    return web.Response(status=204, headers=_progress(call, _find(call)))


async def cancel_upload(call: Call) -> web.StreamResponse:
    """End the upload."""
    upload = _find(call)
    with _exclusive(call, upload):
        await call.state.in_thread(upload.discard)
    return web.Response(status=204)


async def append_chunk(call: Call) -> web.StreamResponse:
    """Append the body: a chunk with ``Content-Range``, or a stream without."""
    upload = _find(call)
    with _exclusive(call, upload):
        await _append(call, upload)
        return web.Response(status=202, headers=_progress(call, upload))


async def finish_upload(call: Call) -> web.StreamResponse:
    """Append the body, if there is one, and publish the blob under its digest."""
    upload = _find(call)
    digest = read_digest(call.request.query.get("digest"))
    with _exclusive(call, upload):
        await _append(call, upload)
        return await _finish(call, upload, digest)


async def _append(call: Call, upload: Upload) -> None:
    request = call.request
    text = request.headers.get("Content-Range")
    if text is None:
        await _receive(call, upload)
        return
    try:
        chunk = headers.parse_chunk_range(text)
    except MalformedMessage as problem:
        raise ApiError(ErrorCode.BLOB_UPLOAD_INVALID, message=problem.message) from problem
    before = upload.size
    if chunk.start != before:
        raise _out_of_order(call, upload)
    if request.content_length is not None and request.content_length != chunk.length:
        raise ApiError(ErrorCode.SIZE_INVALID, {"range": text[:50], "length": request.content_length})
    received = await _receive(call, upload, chunk.length)
    if received != chunk.length:
        await call.state.in_thread(upload.truncate, before)
        raise ApiError(ErrorCode.SIZE_INVALID, {"range": text[:50], "length": received})


async def _check_room(call: Call) -> None:
    policies = call.state.config.policies
    if policies and await call.state.in_thread(quota.room, call.state.store, policies, call.repository) == 0:
        raise quota.exceeded(policies, call.repository)


async def _receive(call: Call, upload: Upload, limit: int | None = None) -> int:
    """Take the body as far as the quota allows; the first byte over it ends the upload."""
    state, policies = call.state, call.state.config.policies
    room = None
    if policies:
        room = await state.in_thread(
            quota.room, state.store, policies, call.repository, besides=upload.identifier
        )
    if room is None:
        return await receive(call.request, upload, state, limit)
    room = max(0, room - upload.size)
    announced = call.request.content_length or 0
    received = 0
    if announced <= room:
        received = await receive(call.request, upload, state, room if limit is None else min(limit, room))
    if max(announced, received) > room:
        await state.in_thread(upload.discard)
        raise quota.exceeded(policies, call.repository)
    return received


async def _finish(call: Call, upload: Upload, digest: Digest) -> web.StreamResponse:
    state = call.state

    def publish() -> Identity | None:
        seal = state.seals.finish(upload.identifier, upload.size)
        upload.prepare(digest)  # before the quota is held
        try:
            with quota.taking(state.store, state.config.policies, call.repository, digest, upload.size):
                upload.commit(digest)
        except Denied:
            upload.discard()
            raise
        if seal is not None:
            state.seals.add(digest, seal)
        file = state.store.blobs.open(call.repository, digest)
        if file is None:
            return None
        with file:
            return identity(file)

    state.verified.add(digest, await state.in_thread(publish))
    return _created(call, digest)


def _created(call: Call, digest: Digest) -> web.Response:
    return web.Response(
        status=201,
        headers={"Location": routes.blob(call.repository, digest), headers.DIGEST_HEADER: str(digest)},
    )


def _progress(call: Call, upload: Upload) -> dict[str, str]:
    return {
        "Location": routes.upload(call.repository, upload.identifier),
        "Range": headers.format_upload_range(upload.size),
        headers.UPLOAD_HEADER: upload.identifier,
    }


def _find(call: Call) -> Upload:
    upload = call.state.store.uploads.find(call.repository, call.route.argument)
    if upload is None:
        raise ApiError(ErrorCode.BLOB_UPLOAD_UNKNOWN)
    return upload


def _out_of_order(call: Call, upload: Upload) -> ApiError:
    return ApiError(
        ErrorCode.RANGE_INVALID,
        {"size": upload.size},
        message="the chunk does not start where the upload ends",
        headers=_progress(call, upload),
    )


@contextmanager
def _exclusive(call: Call, upload: Upload) -> Iterator[None]:
    busy, claims = call.state.busy_uploads, call.state.belongings.claims
    if upload.identifier in busy or not claims.take(upload.identifier):
        raise _out_of_order(call, upload)
    busy.add(upload.identifier)
    try:
        current = _find_again(call, upload)
        if current is not upload:  # another process went on with it a moment ago
            raise _out_of_order(call, current)
        yield
    finally:
        busy.discard(upload.identifier)
        with suppress(OSError):
            upload.pause()
        claims.release(upload.identifier)


def _find_again(call: Call, upload: Upload) -> Upload:
    current = call.state.store.uploads.find(call.repository, upload.identifier)
    if current is None:
        raise ApiError(ErrorCode.BLOB_UPLOAD_UNKNOWN)
    return current
