"""Which answered requests are changes that others want to know of, and what they are told."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ..protocol import headers
from ..protocol.routes import Resource
from .events import Change
from .requests import Call

_ANNOUNCED = (Resource.MANIFEST, Resource.REPOSITORY)
_KINDS = {("PUT", 201): "push", ("DELETE", 202): "delete"}


async def announce(call: Call, answer: web.StreamResponse) -> None:
    """Keep the event of a change, before the change is answered."""
    outbox = call.state.outbox
    kind = _KINDS.get((call.request.method, answer.status))
    if outbox is None or kind is None or call.route.resource not in _ANNOUNCED:
        return
    if outbox.wants(kind, call.repository):
        change = Change(kind=kind, repository=call.repository, data=_describe(call, answer))
        await call.state.in_thread(outbox.add, change)
        outbox.announce()


def _describe(call: Call, answer: web.StreamResponse) -> dict[str, Any]:
    reference = call.route.argument
    data: dict[str, Any] = {"actor": call.caller.name}
    if call.route.resource is Resource.REPOSITORY:
        return data
    if ":" in reference:
        data["digest"] = reference
    else:
        data["tag"] = reference
    if headers.DIGEST_HEADER in answer.headers:
        data["digest"] = answer.headers[headers.DIGEST_HEADER]
        data["mediaType"] = call.request.headers.get("Content-Type", "").partition(";")[0].strip()
        data["size"] = call.request.content.total_bytes
    tags = answer.headers.getall(headers.TAG_HEADER, [])
    if tags:
        data["tags"] = list(tags)
    if headers.SUBJECT_HEADER in answer.headers:
        data["subject"] = answer.headers[headers.SUBJECT_HEADER]
    return data
