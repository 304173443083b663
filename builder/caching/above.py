"""A cache index above another one: what those have in common that change how records are found and stored."""

from __future__ import annotations

from collections.abc import Iterator

from oci_image.digest import Digest

from .records import CacheIndex, CacheRecord


class IndexAbove:
    """Passes on to the index below what is no question of looking up and storing."""

    def __init__(self, inner: CacheIndex) -> None:
        self._inner = inner

    def preimage(self, key: Digest) -> bytes | None:
        """The bytes that a key is the digest of."""
        return self._inner.preimage(key)

    def items(self) -> Iterator[tuple[Digest, CacheRecord, float]]:
        """What the index below holds, with the time of its last use."""
        return self._inner.items()

    def forget(self, key: Digest) -> bool:
        """Remove a key from the index below."""
        return self._inner.forget(key)

    def close(self) -> None:
        """Close the index below, and nothing else."""
        self._inner.close()
