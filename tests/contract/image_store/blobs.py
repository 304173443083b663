"""What the tests of blob stores put in and read back."""

from __future__ import annotations

from oci_image.digest import Digest
from oci_image.store.base import AgedBlobStore

ABC = Digest.of(b"abc")


def put(store: AgedBlobStore, data: bytes, algorithm: str = "sha256") -> Digest:
    with store.writer(algorithm) as writer:
        writer.write(data)
        return writer.commit()


def content(store: AgedBlobStore, digest: Digest, offset: int = 0, length: int | None = None) -> bytes:
    with store.open(digest, offset, length) as stream:
        return stream.read()
