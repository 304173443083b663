"""
Lists that come in pages: tags, repositories, referrers.

Invariants: the registry's Link is followed as it is given; a list that repeats itself or does not end is an
error, never an endless loop. Governing sources: OCI distribution-spec, "Content Discovery"; RFC 8288.
"""

from __future__ import annotations

import json

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.documents import Index, read_manifest
from oci_image.errors import InvalidDocument
from oci_image.jsonbytes import DOCUMENT_LIMIT

from ..errors import MalformedMessage
from ..protocol import headers
from ..protocol.challenges import Scope
from .endpoints import resolve_location
from .messages import Fetched, Request
from .transport import Transport

PAGES_LIMIT = 10_000
_LIST_LIMIT = 64 * 1024 * 1024


class Pages:
    """
    The pages of one list.

    Args:
        transport: where requests go.
        registry: the registry's name.
        what: what is listed, for messages.
        scopes: what a bearer token must grant.
    """

    def __init__(self, transport: Transport, registry: str, what: str, scopes: tuple[Scope, ...]) -> None:
        self._transport = transport
        self._registry = registry
        self._what = what
        self._scopes = scopes

    async def names(self, target: str, member: str) -> tuple[str, ...]:
        """
        The names in the arrays `member` of all pages, each once.

        Raises:
            MalformedMessage: a page is not such a list, or they do not end.
        """
        found: dict[str, None] = {}
        for _ in range(PAGES_LIMIT):
            answer = await self._page(target, limit=_LIST_LIMIT)
            fresh = [name for name in self._read_names(answer.body, member) if name not in found]
            found.update(dict.fromkeys(fresh))
            following = _next(answer)
            if following is None or not fresh:
                return tuple(found)
            target = following
        raise MalformedMessage(f"{self._what}: the list does not end")

    async def entries(self, target: str) -> tuple[Descriptor, ...] | None:
        """
        The entries of all indexes; None when the registry does not know the resource.

        Raises:
            InvalidDocument: a page is not an index.
            MalformedMessage: the pages do not end.
        """
        found: dict[Descriptor, None] = {}
        for _ in range(PAGES_LIMIT):
            answer = await self._page(target, limit=DOCUMENT_LIMIT, accepted=(200, 404))
            if answer.status == 404:
                return None
            document = read_manifest(answer.body, "", self._what)
            if not isinstance(document.value, Index):
                raise InvalidDocument(f"{self._what}: the answer is not an index")
            fresh = [entry for entry in document.value.manifests if entry not in found]
            found.update(dict.fromkeys(fresh))
            following = _next(answer)
            if following is None or not fresh:
                return tuple(found)
            target = following
        raise MalformedMessage(f"{self._what}: the list does not end")

    async def _page(self, target: str, *, limit: int, accepted: tuple[int, ...] = (200,)) -> Fetched:
        request = Request(
            method="GET",
            target=target,
            what=self._what,
            headers={"Accept": f"{mediatypes.OCI_INDEX}, application/json"},
            scopes=self._scopes,
            accepted=accepted,
        )
        return await self._transport.fetch(self._registry, request, limit=limit)

    def _read_names(self, body: bytes, member: str) -> list[str]:
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = None
        # The reference implementation says null for an empty page.
        names = (value.get(member) or []) if isinstance(value, dict) else None
        if not isinstance(names, list):
            raise MalformedMessage(f"{self._what}: the answer is not a list")
        return [str(name) for name in names]


def _next(answer: Fetched) -> str | None:
    link = headers.parse_next_link(answer.headers.get("Link", ""))
    return None if link is None else resolve_location(answer.url, link)
