"""
What the storage of a registry guarantees.

Invariants, which every implementation keeps: methods are synchronous and safe to call from several threads;
a method returns only when its effect is durable; readers see a state before or after a change, never one in
between; a tag that can be read leads to a manifest that can be read. Names, tags and digests were validated
by the caller. Every implementation passes tests/contract/test_repository_store.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest

from ...errors import RegistryError

NO_LIMIT = 2**62
"""More than any list has."""


class ConditionFailed(RegistryError):
    """A tag does not stand for what the caller expected; nothing was changed."""


class TagImmutable(ConditionFailed):
    """A tag may not be moved or removed; nothing was changed."""


@dataclass(frozen=True, slots=True)
class TagCondition:
    """
    What a tag must stand for so that it may be changed (``If-Match`` and ``If-None-Match``).

    Attributes:
        match: digests of which the tag must have one; ``*`` for any; None for no demand.
        none_match: digests of which the tag must have none; ``*`` for a tag that must not exist.
    """

    match: frozenset[str] | None = None
    none_match: frozenset[str] | None = None

    def check(self, current: Digest | None) -> None:
        """
        Compare with what the tag stands for now.

        Raises:
            ConditionFailed: the demand is not met.
        """
        held = set() if current is None else {str(current), "*"}
        if self.match is not None and not held & self.match:
            raise ConditionFailed("the tag does not stand for the expected manifest")
        if self.none_match is not None and held & self.none_match:
            raise ConditionFailed("the tag exists already" if current else "the tag was changed")


def check_immutable(current: Digest | None, wanted: Digest | None, tag: str) -> None:
    """
    Compare what an immutable tag stands for with what it is to stand for; None for nothing.

    Raises:
        TagImmutable: it would change.
    """
    if current is not None and current != wanted:
        raise TagImmutable(f"the tag {tag} is immutable and stands for {current}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredManifest:
    """
    A manifest as it was pushed, byte for byte.

    Attributes:
        descriptor: as the list of referrers shows it; annotations are only kept there.
        raw: the bytes.
        subject: what the manifest refers to, if anything; it need not exist.
    """

    descriptor: Descriptor
    raw: bytes
    subject: Digest | None = None

    @property
    def digest(self) -> Digest:
        """The digest under which it was pushed."""
        return self.descriptor.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """
    How much a repository holds.

    Attributes:
        size: bytes of its blobs and manifests.
        blobs: how many blobs.
        manifests: how many manifests.
        tags: how many tags.
    """

    size: int = 0
    blobs: int = 0
    manifests: int = 0
    tags: int = 0


class BlobAccess(Protocol):
    """Blobs, each of which belongs to the repositories that it was pushed or mounted to."""

    def stat(self, repository: str, digest: Digest) -> int | None:
        """The size in bytes, or None when the repository does not have the blob."""
        ...

    def open(self, repository: str, digest: Digest) -> BinaryIO | None:
        """A seekable reader, which the caller closes; the bytes are not verified. None as with `stat`."""
        ...

    def touch(self, repository: str, digest: Digest) -> bool:
        """Note that somebody was told of the blob; False when it is being collected. Does not block."""
        ...

    def mount(self, repository: str, digest: Digest, source: str) -> bool:
        """Give `repository` a blob of the repository `source`; False when that does not have it."""
        ...

    def holders(self, digest: Digest) -> Iterator[str]:
        """The repositories that have the blob, in no particular order."""
        ...

    def delete(self, repository: str, digest: Digest) -> bool:
        """Take the blob from the repository; False when it was not there."""
        ...

    def quarantine(self, digest: Digest) -> None:
        """Put a blob whose bytes were found to be wrong out of reach of every repository."""
        ...


class ManifestAccess(Protocol):
    """Manifests and what refers to them."""

    def get(self, repository: str, digest: Digest) -> StoredManifest | None:
        """The manifest, verified against its digest, or None."""
        ...

    def touch(self, repository: str, digest: Digest) -> bool:
        """Note that somebody pulled the manifest; False when it is being collected. Does not block."""
        ...

    def put(
        self,
        repository: str,
        manifest: StoredManifest,
        tags: Sequence[str] = (),
        condition: TagCondition | None = None,
        immutable: Collection[str] = (),
    ) -> None:
        """
        Keep a manifest and let the tags stand for it; idempotent.

        Raises:
            ConditionFailed: for the first of the tags; nothing is kept.
            TagImmutable: a tag of `immutable` stands for another manifest; nothing is kept.
        """
        ...

    def delete(
        self, repository: str, digest: Digest, *, is_immutable: Callable[[str], bool] | None = None
    ) -> bool:
        """
        Remove a manifest and every tag that stands for it; False when it was not there.

        Raises:
            TagImmutable: one of these tags may not be removed; nothing is.
        """
        ...

    def referrers(self, repository: str, subject: Digest) -> Sequence[StoredManifest]:
        """The manifests of the repository with this subject, sorted by digest."""
        ...


class TagAccess(Protocol):
    """Tags, and the list of repositories."""

    def get(self, repository: str, tag: str) -> Digest | None:
        """What the tag stands for."""
        ...

    def names(self, repository: str, after: str = "", limit: int = NO_LIMIT) -> Sequence[str] | None:
        """
        The tags after a name in the order of their bytes, perhaps none; None for an unknown repository.

        Costs what it returns.
        """
        ...

    def delete(self, repository: str, tag: str, condition: TagCondition | None = None) -> bool:
        """
        Remove the tag; False when it was not there.

        Raises:
            ConditionFailed: the tag stays.
        """
        ...

    def repositories(self, after: str = "", limit: int = NO_LIMIT) -> Sequence[str]:
        """The repositories after a name that hold a manifest, in the order of their bytes."""
        ...


class Upload(Protocol):
    """
    A blob on its way in. Used by one request at a time: the caller sees to that.

    It survives the end of the process; what a crash may cost is what was written last.
    """

    @property
    def identifier(self) -> str:
        """The name of the upload, which cannot be guessed."""
        ...

    @property
    def size(self) -> int:
        """How many bytes it holds."""
        ...

    def write(self, parts: Sequence[bytes | memoryview]) -> None:
        """
        Append bytes.

        Raises:
            StorageFull: no space is left; the upload is discarded to make room.
        """
        ...

    def truncate(self, size: int) -> None:
        """Forget everything after the first `size` bytes."""
        ...

    def pause(self) -> None:
        """Release what only a running request needs (descriptors); the upload stays."""
        ...

    def prepare(self, digest: Digest) -> None:
        """
        Do what takes long of a `commit` that follows; it may be left out.

        Raises:
            VerificationFailed, StorageFull: as with `commit`.
        """
        ...

    def commit(self, digest: Digest) -> None:
        """
        Publish the blob in the repository and end the upload.

        Raises:
            VerificationFailed: the bytes have another digest; the upload is discarded.
            StorageFull: as with `write`.
        """
        ...

    def discard(self) -> None:
        """End the upload and forget its bytes; a no-op for one that has ended."""
        ...


class UploadAccess(Protocol):
    """The uploads in progress."""

    def create(self, repository: str, algorithm: str = "sha256") -> Upload:
        """Start an upload whose digest will probably be asked for in the algorithm."""
        ...

    def find(self, repository: str, identifier: str) -> Upload | None:
        """An upload of this repository; None for an unknown one. Does not block."""
        ...

    def count(self) -> int:
        """How many uploads there are."""
        ...

    def expire(self, idle_seconds: float) -> int:
        """Discard the uploads that nobody used for so long; returns how many."""
        ...


class RegistryStore(Protocol):
    """Everything that a registry keeps."""

    @property
    def blobs(self) -> BlobAccess:
        """Blobs by repository."""
        ...

    @property
    def manifests(self) -> ManifestAccess:
        """Manifests by repository."""
        ...

    @property
    def tags(self) -> TagAccess:
        """Tags, and the repositories."""
        ...

    @property
    def uploads(self) -> UploadAccess:
        """Blobs on their way in."""
        ...

    def remove_repository(self, repository: str) -> bool:
        """Remove the manifests, tags and blobs of a repository; False when there is none of that name."""
        ...

    def totals(self, repository: str) -> Totals:
        """How much the repository holds; what other repositories have as well counts here too."""
        ...

    def usage(self) -> Totals:
        """How much all repositories hold together, what several have counted once; may take seconds."""
        ...

    def close(self) -> None:
        """Release everything; uploads in progress stay."""
        ...
