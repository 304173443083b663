"""
Whole repositories: ``GET`` and ``DELETE /v2/<name>/_pybuild/repository``.

The specification knows no such requests and leaves names that begin with an underscore to extensions.
Invariants: who may delete single manifests may delete all of them; an immutable tag keeps its repository.
Governing source: OCI distribution-spec, "extensions".
"""

from __future__ import annotations

from aiohttp import web

from oci_image import jsonbytes

from ..errors import ApiError
from ..protocol.errors import ErrorCode
from .policies import Policy, policy_of
from .requests import Call
from .store.base import RegistryStore, Totals


async def show_repository(call: Call) -> web.StreamResponse:
    """How much a repository holds."""
    found = await call.state.in_thread(_totals, call.state.store, call.repository)
    if found is None:
        raise ApiError(ErrorCode.NAME_UNKNOWN, {"name": call.repository})
    counts = {"tags": found.tags, "manifests": found.manifests, "blobs": found.blobs, "size": found.size}
    body = jsonbytes.encode({"name": call.repository, **counts})
    return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-cache"})


def _totals(store: RegistryStore, repository: str) -> Totals | None:
    return None if store.tags.names(repository, "", 1) is None else store.totals(repository)


async def delete_repository(call: Call) -> web.StreamResponse:
    """Remove the manifests, tags and blobs of a repository."""
    policy = policy_of(call.state.config.policies, call.repository)
    with call.state.metadata.change(call.repository, blobs=True):
        found = await call.state.in_thread(_remove, call.state.store, call.repository, policy)
    if not found:
        raise ApiError(ErrorCode.NAME_UNKNOWN, {"name": call.repository})
    return web.Response(status=202)


def _remove(store: RegistryStore, repository: str, policy: Policy | None) -> bool:
    if policy is not None and policy.immutable_tags:
        for tag in store.tags.names(repository) or ():
            if policy.is_immutable(tag):
                raise ApiError(ErrorCode.DENIED, message=f"the tag {tag} is immutable", status=409)
    return store.remove_repository(repository)
