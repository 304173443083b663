"""
Where things are below the prefix of a registry in a bucket.

    blobs/<algorithm>/<hex>                                content, once for all repositories
    holders/<algorithm>/<hex>/<repository>                 empty: the repository has the blob
    repositories/<repository>/manifests/<algorithm>/<hex>  a line of JSON, then the manifest's bytes
    repositories/<repository>/tags/<tag>                   a digest
    trash/<random>                                         what was collected; for content, only a mark
    deletions/<random>                                     why, one JSON line for each thing
    quarantine/<algorithm>-<hex>-<random>                  content that was found to be damaged
    ready                                                  written to see whether the bucket takes writes

Invariants: a repository is one component, whose name has ``~`` for ``/``; content has one key, which is its
digest, so nothing is ever renamed.
"""

from __future__ import annotations

from dataclasses import dataclass

from oci_image.digest import Digest
from oci_image.errors import ImageError

from .layout import flatten, unflatten

BLOBS, HOLDERS, REPOSITORIES = "blobs", "holders", "repositories"
TRASH, DELETIONS, READY = "trash", "deletions", "ready"


def content(digest: Digest) -> str:
    """The key of a blob's bytes."""
    return f"{BLOBS}/{digest.algorithm}/{digest.hex}"


def holders(digest: Digest) -> str:
    """What the keys begin with that say who has a blob."""
    return f"{HOLDERS}/{digest.algorithm}/{digest.hex}"


def holder(digest: Digest, repository: str) -> str:
    """The key that says that the repository has the blob."""
    return f"{holders(digest)}/{flatten(repository)}"


def repository_prefix(repository: str) -> str:
    """What the keys of manifests and tags of a repository begin with."""
    return f"{REPOSITORIES}/{flatten(repository)}"


def manifest(repository: str, digest: Digest) -> str:
    """The key of a manifest."""
    return f"{repository_prefix(repository)}/manifests/{digest.algorithm}/{digest.hex}"


def tag(repository: str, name: str) -> str:
    """The key of a tag."""
    return f"{repository_prefix(repository)}/tags/{name}"


@dataclass(frozen=True, slots=True)
class Held:
    """What a key says: a repository has a blob or manifest (`digest`) or a tag."""

    repository: str
    kind: str
    digest: Digest | None = None
    tag: str = ""


def read_key(key: str) -> Held | None:
    """What a key of a repository, or of a holder, says; None for one that nobody here wrote."""
    parts = key.split("/")
    try:
        if parts[0] == HOLDERS and len(parts) == 4:
            return Held(unflatten(parts[3]), "blob", Digest.parse(f"{parts[1]}:{parts[2]}"))
        if parts[0] == REPOSITORIES and len(parts) == 5 and parts[2] == "manifests":
            return Held(unflatten(parts[1]), "manifest", Digest.parse(f"{parts[3]}:{parts[4]}"))
    except ImageError:
        return None
    if parts[0] == REPOSITORIES and len(parts) == 4 and parts[2] == "tags":
        return Held(unflatten(parts[1]), "tag", tag=parts[3])
    return None


def read_content_key(key: str) -> Digest | None:
    """The digest of a content's key; None for one that nobody here wrote."""
    parts = key.split("/")
    try:
        return Digest.parse(f"{parts[1]}:{parts[2]}") if len(parts) == 3 else None
    except ImageError:
        return None
