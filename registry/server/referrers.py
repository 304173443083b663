"""
Referrers: ``GET /v2/<name>/referrers/<digest>``.

Invariant: an unknown subject has an empty list, never a 404. Entries of an index that clients kept under the
fall-back tag, from before this registry had the list, are part of the answer.
Governing source: OCI distribution-spec, "Listing Referrers" and "Enabling the Referrers API".
"""

from __future__ import annotations

from aiohttp import web

from oci_image import jsonbytes, mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.errors import ImageError

from ..protocol import headers, routes
from .requests import Call, read_digest
from .store.base import RegistryStore


async def list_referrers(call: Call) -> web.StreamResponse:
    """An index of the manifests whose subject is the digest."""
    from oci_image.documents import Index, author_index  # costs a twentieth of the start

    subject = read_digest(call.route.argument)
    wanted = call.request.query.get("artifactType", "")
    found = await call.state.in_thread(collect, call.state.store, call.repository, subject)
    shown = tuple(item for item in found if not wanted or item.artifact_type == wanted)
    body = jsonbytes.encode(author_index(Index(manifests=shown)).value.to_json())
    filters = {headers.FILTERS_HEADER: "artifactType"} if wanted else {}
    return web.Response(body=body, content_type=mediatypes.OCI_INDEX, headers=filters)


def collect(store: RegistryStore, repository: str, subject: Digest) -> list[Descriptor]:
    """Everything that refers to the digest, by the list and by the fall-back tag."""
    found = {m.digest: m.descriptor for m in store.manifests.referrers(repository, subject)}
    for descriptor in _fallback(store, repository, subject):
        found.setdefault(descriptor.digest, descriptor)
    return list(found.values())


def _fallback(store: RegistryStore, repository: str, subject: Digest) -> tuple[Descriptor, ...]:
    digest = store.tags.get(repository, routes.referrers_tag(subject))
    manifest = None if digest is None else store.manifests.get(repository, digest)
    if manifest is None or manifest.descriptor.media_type != mediatypes.OCI_INDEX:
        return ()
    from oci_image.documents import Index, read_manifest

    try:
        document = read_manifest(manifest.raw, manifest.descriptor.media_type, "list of referrers")
    except ImageError:
        return ()
    return document.value.manifests if isinstance(document.value, Index) else ()
