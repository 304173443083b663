"""
What handlers read from a request before they act: names, references, digests, conditions, page sizes.

Invariant: each function returns a valid value or raises the `ApiError` that the specification names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp import web

from oci_image.digest import Digest
from oci_image.errors import InvalidDigest
from oci_image.reference import is_repository_name, is_tag

from ..errors import ApiError
from ..protocol.errors import ErrorCode
from ..protocol.routes import Route
from .auth import Caller
from .state import ServerState
from .store.base import TagCondition

_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request on its way to a handler."""

    request: web.Request
    state: ServerState
    route: Route
    caller: Caller

    @property
    def repository(self) -> str:
        """The repository's name, which is valid."""
        return self.route.repository


def check_repository(name: str) -> None:
    """
    Accept a repository name of the specification.

    Raises:
        ApiError: NAME_INVALID.
    """
    if not is_repository_name(name):
        raise ApiError(ErrorCode.NAME_INVALID, {"name": name[:300]})


def read_digest(text: str | None) -> Digest:
    """
    A digest of a supported algorithm.

    Raises:
        ApiError: DIGEST_INVALID.
    """
    try:
        return Digest.parse(text or "")
    except InvalidDigest as problem:
        raise ApiError(ErrorCode.DIGEST_INVALID, message=problem.message) from problem


def read_reference(text: str) -> Digest | str:
    """
    A digest or a tag.

    Raises:
        ApiError: DIGEST_INVALID or TAG_INVALID.
    """
    if ":" in text:
        return read_digest(text)
    check_tag(text)
    return text


def check_tag(text: str) -> None:
    """
    Accept a tag of the specification.

    Raises:
        ApiError: TAG_INVALID.
    """
    if not is_tag(text):
        raise ApiError(ErrorCode.TAG_INVALID, {"tag": text[:300]})


def entity_tag(digest: Digest) -> str:
    """The ETag of content."""
    return f'"{digest}"'


def _entity_tags(header: str | None) -> frozenset[str] | None:
    if header is None:
        return None
    return frozenset(part.strip().removeprefix("W/").strip('"') for part in header.split(",") if part.strip())


def is_unchanged(request: web.Request, digest: Digest) -> bool:
    """Whether ``If-None-Match`` says that the client has this content already."""
    wanted = _entity_tags(request.headers.get("If-None-Match"))
    return wanted is not None and bool(wanted & {str(digest), "*"})


def read_condition(request: web.Request) -> TagCondition | None:
    """What a change of a tag depends on; None when the request does not say."""
    match = _entity_tags(request.headers.get("If-Match"))
    none_match = _entity_tags(request.headers.get("If-None-Match"))
    return None if match is none_match is None else TagCondition(match, none_match)


def read_page(call: Call) -> tuple[int, str]:
    """
    How many entries a page may have, and after which entry it starts.

    Raises:
        ApiError: PAGINATION_NUMBER_INVALID.
    """
    limit = call.state.config.page_limit
    if "?" not in call.request.raw_path:
        return limit, ""
    query = call.request.query
    text = query.get("n")
    if text is None:
        return limit, query.get("last", "")
    if not _NUMBER.fullmatch(text):
        raise ApiError(ErrorCode.PAGINATION_NUMBER_INVALID, {"n": text[:100]})
    return min(int(text), limit), query.get("last", "")
