"""
What a mirror needs of the registry behind it, and what it is told when that fails.

Invariants: the server knows this protocol only; whoever starts it gives it the client. What an upstream says
is not trusted: whoever asks verifies digests and bounds sizes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest

from ...errors import RegistryError
from .settings import Mirror


class Failure(Enum):
    """Why an upstream did not deliver."""

    DOWN = "down"
    """It cannot be reached, or does not answer."""
    BROKEN = "broken"
    """It answers with an error of its own, or with what is no answer."""
    LIMITED = "limited"
    """It was asked too often (429)."""
    REFUSED = "refused"
    """It wants other credentials (401 and 403)."""
    LIED = "lied"
    """It delivered other bytes than it promised."""
    OFFLINE = "offline"
    """The settings forbid to ask it."""


class UpstreamFailed(RegistryError):
    """
    An upstream did not deliver.

    Args:
        failure: why.
        message: one sentence without a final period; clients see it.
        retry_after: seconds after which it wants to be asked again, if it says so.
        detail: what only those should see who look after this registry; no secret either.
    """

    def __init__(
        self, failure: Failure, message: str, *, retry_after: float | None = None, detail: str = ""
    ) -> None:
        super().__init__(message)
        self.failure = failure
        self.retry_after = retry_after
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What an upstream says about a tag; parts of it may be missing."""

    digest: Digest | None = None
    etag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received(Head):
    """A manifest as it came, not verified."""

    raw: bytes
    media_type: str


class Unchanged(Enum):
    """What the caller has is what the upstream has."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobStream:
    """
    A blob that arrives.

    Attributes:
        start: where the bytes begin in the blob; not after the offset that was asked for.
        total: the size of the whole blob, if the upstream says it.
        chunks: the bytes, to be iterated once; UpstreamFailed when they break off.
    """

    start: int
    total: int | None
    chunks: AsyncIterator[bytes]


class Upstream(Protocol):
    """
    One registry behind a mirror.

    Every method raises `UpstreamFailed` when no usable answer came; None stands for what is not there.
    """

    async def head_manifest(self, repository: str, reference: str) -> Head | None:
        """What a tag stands for."""
        ...

    async def get_manifest(
        self, repository: str, reference: str, *, limit: int, etag: str = ""
    ) -> Received | Unchanged | None:
        """A manifest of at most `limit` bytes, unless it still has the ETag."""
        ...

    async def blob_size(self, repository: str, digest: Digest) -> int | None:
        """The size of a blob."""
        ...

    def open_blob(
        self, repository: str, digest: Digest, offset: int
    ) -> AbstractAsyncContextManager[BlobStream | None]:
        """A blob from an offset on."""
        ...

    async def tags(self, repository: str) -> tuple[str, ...] | None:
        """All tags of a repository."""
        ...

    async def referrers(self, repository: str, digest: Digest) -> tuple[Descriptor, ...]:
        """What refers to a manifest, also where it is kept under a tag."""
        ...


OpenUpstream = Callable[[Mirror], AbstractAsyncContextManager[Upstream]]
"""Opens the upstream of a mirror; leaving the context releases its connections."""
