"""
The URLs of the distribution protocol: builders for both ends, and the matcher of the server.

Invariants: a path is decided on its *raw* form and by its suffix, so that a repository may itself be called
``a/blobs/uploads`` or ``x/tags/list``; escaped slashes never take part in routing; builders never escape the
``:`` of a digest, because clients compare and reuse what they are given.
Governing source: OCI distribution-spec, "Endpoints".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from urllib.parse import quote, unquote, urlencode

from oci_image.digest import Digest

PREFIX = "/v2"


class Resource(Enum):
    """What a URL stands for."""

    BASE = "base"
    CATALOG = "catalog"
    TAGS = "tags"
    MANIFEST = "manifest"
    BLOB = "blob"
    UPLOADS = "uploads"
    UPLOAD = "upload"
    REFERRERS = "referrers"
    REPOSITORY = "repository"


@dataclass(frozen=True, slots=True)
class Route:
    """
    A matched path. Neither part is validated yet: the handler says NAME_INVALID or DIGEST_INVALID.

    Attributes:
        resource: what is addressed.
        repository: the repository's name, empty for BASE and CATALOG.
        argument: a tag, a digest or an upload's identifier; empty for collections.
    """

    resource: Resource
    repository: str = ""
    argument: str = ""


_WITH_ARGUMENT = {
    "manifests": Resource.MANIFEST,
    "blobs": Resource.BLOB,
    "referrers": Resource.REFERRERS,
}


def match(raw_path: str) -> Route | None:
    """
    Match the undecoded path of a request (without query); None for a path outside the protocol.

    Segments are decoded after the path was split, so ``%2f`` and ``%2e%2e`` cannot make up a different path.
    """
    if raw_path in (PREFIX, PREFIX + "/"):
        return Route(Resource.BASE)
    if not raw_path.startswith(PREFIX + "/"):
        return None
    rest = raw_path[len(PREFIX) + 1 :]
    if rest == "_catalog":
        return Route(Resource.CATALOG)
    segments = [_decode(segment) for segment in rest.split("/")]
    if segments[-1] == "" and segments[-3:-1] == ["blobs", "uploads"]:
        segments.pop()
    if len(segments) < 3 or any(segment is None for segment in segments):
        return None
    return _match_suffix([segment or "" for segment in segments])


def _match_suffix(segments: list[str]) -> Route | None:
    tail = segments[-2:]
    name = "/".join(segments[:-2])
    if tail == ["tags", "list"]:
        return Route(Resource.TAGS, name)
    if tail == ["blobs", "uploads"]:
        return Route(Resource.UPLOADS, name)
    if tail == ["_pybuild", "repository"]:
        return Route(Resource.REPOSITORY, name)
    resource = _WITH_ARGUMENT.get(tail[0])
    if resource is not None and tail[1]:
        return Route(resource, name, tail[1])
    if segments[-3:-1] == ["blobs", "uploads"] and len(segments) > 3 and tail[1]:
        return Route(Resource.UPLOAD, "/".join(segments[:-3]), tail[1])
    return None


def _decode(segment: str) -> str | None:
    if "%" not in segment:
        return segment
    decoded = unquote(segment, errors="surrogateescape")
    return None if "/" in decoded or "\0" in decoded else decoded


def base() -> str:
    """The version check."""
    return PREFIX + "/"


def catalog(*, n: int | None = None, last: str = "") -> str:
    """The list of repositories."""
    return _paged(f"{PREFIX}/_catalog", n, last)


def tags(repository: str, *, n: int | None = None, last: str = "") -> str:
    """The list of a repository's tags."""
    return _paged(f"{PREFIX}/{repository}/tags/list", n, last)


def manifest(repository: str, reference: str | Digest, *, tags: Iterable[str] = ()) -> str:
    """A manifest by tag or digest; `tags` are further tags for a push by digest."""
    path = f"{PREFIX}/{repository}/manifests/{reference}"
    return with_query(path, [("tag", tag) for tag in tags])


def blob(repository: str, digest: Digest) -> str:
    """A blob."""
    return f"{PREFIX}/{repository}/blobs/{digest}"


def uploads(
    repository: str,
    *,
    digest: Digest | None = None,
    mount: Digest | None = None,
    from_repository: str = "",
    algorithm: str = "",
) -> str:
    """Where uploads start: `digest` for a single POST, `mount` (with a source repository) to avoid one."""
    query: list[tuple[str, str]] = []
    if mount is not None:
        query.append(("mount", str(mount)))
    if from_repository:
        query.append(("from", from_repository))
    if digest is not None:
        query.append(("digest", str(digest)))
    if algorithm:
        query.append(("digest-algorithm", algorithm))
    return with_query(f"{PREFIX}/{repository}/blobs/uploads/", query)


def upload(repository: str, identifier: str) -> str:
    """An upload in progress. The identifier is the last segment: the docker client reads it from there."""
    return f"{PREFIX}/{repository}/blobs/uploads/{identifier}"


def referrers(repository: str, digest: Digest, *, artifact_type: str = "") -> str:
    """The manifests whose subject is the digest."""
    query = [("artifactType", artifact_type)] if artifact_type else []
    return with_query(f"{PREFIX}/{repository}/referrers/{digest}", query)


def referrers_tag(digest: Digest) -> str:
    """The tag under which referrers are kept for registries that lack the API."""
    return f"{digest.algorithm[:32]}-{digest.hex[:64]}"


def with_query(location: str, parameters: Iterable[tuple[str, str]]) -> str:
    """Append parameters to a URL that may have a query already, which stays as it is."""
    query = urlencode(list(parameters), safe=":/", quote_via=quote)
    if not query:
        return location
    return location + ("&" if "?" in location else "?") + query


def _paged(path: str, n: int | None, last: str) -> str:
    query = [("last", last)] if last else []
    if n is not None:
        query.append(("n", str(n)))
    return with_query(path, query)
