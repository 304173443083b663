"""
Manifests: ``/v2/<name>/manifests/<tag or digest>``.

Invariants: bytes are stored and served verbatim whatever ``Accept`` says; a manifest is accepted only when
the repository has what it refers to, in the size that it states; tags change after the manifest is durable.
Governing source: OCI distribution-spec, "Pulling manifests", "Pushing Manifests", "Deleting tags".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from aiohttp import web

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest

from ..errors import ApiError
from ..protocol import headers, routes
from ..protocol.errors import ErrorCode, ErrorEntry, entry
from . import manifest_bodies, quota
from .manifest_bodies import PushedManifest
from .policies import policy_of
from .receiving import read_document
from .requests import (
    Call,
    check_tag,
    entity_tag,
    is_unchanged,
    read_condition,
    read_reference,
)
from .store.base import ConditionFailed, RegistryStore, StoredManifest, TagCondition, TagImmutable

_TAGS_LIMIT = 100
_LARGE = 64 * 1024  # parsing more than this would hold up other requests


def _unknown(call: Call) -> ApiError:
    return ApiError(ErrorCode.MANIFEST_UNKNOWN, {"name": call.repository, "reference": call.route.argument})


async def get_manifest(call: Call) -> web.StreamResponse:
    """The manifest's bytes with the media type under which it was pushed; answers HEAD as well."""
    argument = call.route.argument
    metadata = call.state.metadata
    manifest = metadata.known_manifest(call.repository, argument)
    if manifest is None:
        reference = read_reference(argument)
        store, repository = call.state.store, call.repository
        manifest = await metadata.manifest(
            repository, argument, lambda: call.state.in_thread(_load, store, repository, reference)
        )
    if manifest is None or not call.state.store.manifests.touch(call.repository, manifest.digest):
        raise _unknown(call)
    found = manifest
    if "If-None-Match" not in call.request.headers:
        return call.state.quick.answer(
            call.request, found, found.raw, lambda: web.Response(body=found.raw, headers=_headers(found))
        )
    if is_unchanged(call.request, found.digest):
        return web.Response(status=304, headers=_headers(found))
    return web.Response(body=found.raw, headers=_headers(found))


def _headers(manifest: StoredManifest) -> dict[str, str]:
    return {
        "Content-Type": manifest.descriptor.media_type,
        headers.DIGEST_HEADER: str(manifest.digest),
        "ETag": entity_tag(manifest.digest),
    }


def _load(store: RegistryStore, repository: str, reference: Digest | str) -> StoredManifest | None:
    digest = store.tags.get(repository, reference) if isinstance(reference, str) else reference
    return None if digest is None else store.manifests.get(repository, digest)


async def put_manifest(call: Call) -> web.StreamResponse:
    """Store a manifest under its digest, with the tag of the URL and those of ``?tag=``."""
    reference = read_reference(call.route.argument)
    tags = _read_tags(call, reference)
    raw = await read_document(call.request, call.state)
    pushed = await _read(call, raw, reference)
    if not call.state.config.is_sparse(call.repository):
        await call.state.in_thread(_check_references, call.state.store, call.repository, pushed)
    condition = read_condition(call.request)
    if condition is not None and isinstance(reference, Digest):
        await _check_condition(call, reference, tags, condition)
    with call.state.metadata.change(call.repository), _immutability():
        await call.state.in_thread(_put, call, pushed.stored, tags, condition)
    digest = pushed.stored.digest
    answer = web.Response(status=201)
    answer.headers["Location"] = routes.manifest(call.repository, digest)
    answer.headers[headers.DIGEST_HEADER] = str(digest)
    if pushed.stored.subject is not None:
        answer.headers[headers.SUBJECT_HEADER] = str(pushed.stored.subject)
    for tag in call.request.query.getall("tag", []):
        answer.headers.add(headers.TAG_HEADER, tag)
    return answer


async def _check_condition(call: Call, digest: Digest, tags: Sequence[str], condition: TagCondition) -> None:
    """A condition on a digest is about the one tag that is set with it, or else about the manifest."""
    if len(tags) > 1:
        message = "If-Match and If-None-Match are about one tag: push to that tag, or with one tag="
        raise ApiError(ErrorCode.UNSUPPORTED, message=message, status=400)
    if not tags:
        store = call.state.store
        found = await call.state.in_thread(store.manifests.get, call.repository, digest)
        try:
            condition.check(None if found is None else digest)
        except ConditionFailed as problem:
            state = "is not here" if found is None else "is here already, or is not the expected one"
            raise ConditionFailed(f"the manifest {state}") from problem


def _put(call: Call, manifest: StoredManifest, tags: list[str], condition: TagCondition | None) -> None:
    policies, store = call.state.config.policies, call.state.store
    policy = policy_of(policies, call.repository)
    immutable = [] if policy is None else [tag for tag in tags if policy.is_immutable(tag)]
    with quota.taking(store, policies, call.repository, manifest.digest, len(manifest.raw)):
        store.manifests.put(call.repository, manifest, tags, condition, immutable)


@contextmanager
def _immutability() -> Iterator[None]:
    try:
        yield
    except TagImmutable as problem:
        raise ApiError(ErrorCode.DENIED, message=problem.message, status=409) from problem


def _read_tags(call: Call, reference: Digest | str) -> list[str]:
    tags = call.request.query.getall("tag", [])
    if len(tags) > _TAGS_LIMIT:
        raise ApiError(ErrorCode.TAG_INVALID, message=f"at most {_TAGS_LIMIT} tags per request", status=414)
    for tag in tags:
        check_tag(tag)
    named = [reference] if isinstance(reference, str) else []
    return list(dict.fromkeys([*named, *tags]))


async def _read(call: Call, raw: bytes, reference: Digest | str) -> PushedManifest:
    algorithm = "sha256" if isinstance(reference, str) else reference.algorithm
    digest = Digest.of(raw, algorithm)
    if reference not in (digest, call.route.argument):
        raise ApiError(ErrorCode.DIGEST_INVALID, {"expected": str(reference), "received": str(digest)})
    content_type = call.request.headers.get("Content-Type", "")
    if len(raw) > _LARGE:
        return await call.state.in_thread(manifest_bodies.read, raw, content_type, digest)
    return manifest_bodies.read(raw, content_type, digest)


def _check_references(store: RegistryStore, repository: str, pushed: PushedManifest) -> None:
    missing: dict[Digest, ErrorEntry] = {}
    for item in _unique(pushed.blobs):
        size = store.blobs.stat(repository, item.digest)
        _check_size(item, size, missing)
    for item in _unique(pushed.manifests):
        child = store.manifests.get(repository, item.digest)
        size = len(child.raw) if child is not None else store.blobs.stat(repository, item.digest)
        _check_size(item, size, missing)
    if missing:
        raise ApiError(ErrorCode.MANIFEST_BLOB_UNKNOWN, entries=list(missing.values()))


def _unique(descriptors: Iterable[Descriptor]) -> Iterable[Descriptor]:
    return {(item.digest, item.size): item for item in descriptors}.values()


def _check_size(item: Descriptor, size: int | None, missing: dict[Digest, ErrorEntry]) -> None:
    if size is None:
        missing[item.digest] = entry(ErrorCode.MANIFEST_BLOB_UNKNOWN, {"digest": str(item.digest)})
    elif size != item.size:
        raise manifest_bodies.invalid(
            f"{item.digest} has {size} bytes, not {item.size}",
            {"digest": str(item.digest), "size": size, "stated": item.size},
        )


async def delete_manifest(call: Call) -> web.StreamResponse:
    """Remove a tag, or a manifest with every tag that stands for it."""
    reference = read_reference(call.route.argument)
    store = call.state.store
    policy = policy_of(call.state.config.policies, call.repository)
    is_immutable = None if policy is None else policy.is_immutable
    with call.state.metadata.change(call.repository), _immutability():
        if isinstance(reference, str):
            if is_immutable is not None and is_immutable(reference):
                raise TagImmutable(f"the tag {reference} is immutable")
            condition = read_condition(call.request)
            found = await call.state.in_thread(store.tags.delete, call.repository, reference, condition)
        else:
            if (condition := read_condition(call.request)) is not None:
                await _check_condition(call, reference, (), condition)
            found = await call.state.in_thread(
                store.manifests.delete, call.repository, reference, is_immutable=is_immutable
            )
    if not found:
        raise _unknown(call)
    return web.Response(status=202)
