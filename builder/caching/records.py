"""
Cache records: what the cache index holds, and what an index guarantees.

A record only names layers; it is worth something while the layers that the builder itself made are still in
the store.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from oci_image.digest import Digest
from oci_image.image import Layer
from oci_image.store.base import BlobStore

from ..snapshots import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRecord:
    """
    The result of a step.

    `layers` is the whole stack, base first, and `content` the content key; `created` is in Unix seconds;
    `layer_size` counts the bytes of the step's own layer and `duration` the seconds that it took.
    """

    layers: tuple[Layer, ...]
    content: Digest
    created: float
    layer_size: int
    duration: float

    @classmethod
    def of(cls, snapshot: Snapshot, content: Digest, *, size: int, seconds: float) -> CacheRecord:
        """The record of a result that was just made."""
        return cls(
            layers=snapshot.layers, content=content, created=time.time(), layer_size=size, duration=seconds
        )

    @property
    def snapshot(self) -> Snapshot:
        """The result as a snapshot."""
        return Snapshot(self.layers)


class CacheIndex(Protocol):
    """Records by key. Several processes and threads may use one index at once; each change is atomic."""

    def lookup(self, key: Digest) -> CacheRecord | None:
        """The record under a key, or None; remembers that it was of use."""
        ...

    def store(self, keys: Sequence[tuple[Digest, bytes]], record: CacheRecord) -> None:
        """Store the record under each key, given with its preimage; later ones replace earlier ones."""
        ...

    def preimage(self, key: Digest) -> bytes | None:
        """The bytes that a key is the digest of."""
        ...

    def items(self) -> Iterator[tuple[Digest, CacheRecord, float]]:
        """Every key with its record and the Unix time of its last use, least recently used first."""
        ...

    def forget(self, key: Digest) -> bool:
        """Remove a key; False when it was not there."""
        ...

    def close(self) -> None:
        """Write what is only in memory; the index is not used afterwards. Idempotent."""
        ...


def nowhere(blob: Digest) -> bool:
    """No blob can be had but those that are stored."""
    del blob
    return False


def is_complete(
    record: CacheRecord, blobs: BlobStore, given: int, reachable: Callable[[Digest], bool] = nowhere
) -> bool:
    """
    Whether all layers but the first `given` (those of a base image, which can be fetched) can be had.

    Args:
        record: what an index holds.
        blobs: the local store.
        given: how many layers do not matter.
        reachable: whether a blob that is not in the store can be fetched when it is needed.
    """
    return all(
        blobs.stat(layer.descriptor.digest) is not None or reachable(layer.descriptor.digest)
        for layer in record.layers[given:]
    )


class MemoryCacheIndex:
    """An index that ends with the process."""

    def __init__(self) -> None:
        self._records: dict[Digest, CacheRecord] = {}
        self._preimages: dict[Digest, bytes] = {}
        self._used: dict[Digest, float] = {}

    def lookup(self, key: Digest) -> CacheRecord | None:
        """The record under a key, or None."""
        record = self._records.get(key)
        if record is not None:
            self._used[key] = time.time()
        return record

    def store(self, keys: Sequence[tuple[Digest, bytes]], record: CacheRecord) -> None:
        """Store the record under each key."""
        for key, preimage in keys:
            self._records[key] = record
            self._preimages[key] = preimage
            self._used[key] = record.created

    def preimage(self, key: Digest) -> bytes | None:
        """The bytes that a key is the digest of."""
        return self._preimages.get(key)

    def items(self) -> Iterator[tuple[Digest, CacheRecord, float]]:
        """Every key with its record and the time of its last use."""
        for key in sorted(self._records, key=lambda key: self._used[key]):
            yield key, self._records[key], self._used[key]

    def forget(self, key: Digest) -> bool:
        """Remove a key."""
        self._preimages.pop(key, None)
        self._used.pop(key, None)
        return self._records.pop(key, None) is not None

    def close(self) -> None:
        """Nothing to write."""
