"""
Removing the blobs that nothing refers to: mark from the roots, then sweep.

Assumptions: the roots are complete, which means all entries of the index, also those without a name, and the
artifacts whose `subject` is a live manifest; whoever relies on a blob that is already there, without
committing it anew, touches it before; whoever commits a blob makes something refer to it before it is older
than the cutoff. Invariant: a document that cannot be read is an error before anything was removed, never a
reason to remove.
Governing source: OCI image-spec (what documents refer to).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from .. import mediatypes
from ..descriptor import Descriptor
from ..digest import Digest
from ..documents import Manifest, read_config, read_manifest
from ..verify import read_document
from .base import AgedBlobStore, BlobStore


@dataclass(frozen=True, slots=True, kw_only=True)
class GcReport:
    """What a sweep removed (or would remove), and what it found missing below the roots."""

    deleted: tuple[Digest, ...]
    freed: int
    alive: int
    young: int
    missing: tuple[Digest, ...]


def sweep(
    blobs: AgedBlobStore,
    roots: Iterable[Descriptor],
    *,
    keep: Collection[Digest] = (),
    cutoff: float | None = None,
    dry_run: bool = False,
) -> GcReport:
    """
    Remove what neither the roots nor `keep` need.

    May run beside writers under the assumptions above. Safe to interrupt and to run again.

    Args:
        blobs: the store.
        roots: the manifests and indexes that are alive, with everything that they refer to.
        keep: further blobs to keep, such as the layers of the build cache.
        cutoff: blobs that are younger (seconds since 1970) stay; None spares none.
        dry_run: only report.

    Raises:
        ImageError: a document below a root cannot be read; nothing was removed.
    """
    alive, missing = mark(blobs, roots)
    alive.update(keep)
    limit = math.inf if cutoff is None else cutoff
    deleted: list[Digest] = []
    freed = kept = young = 0
    for digest in blobs.digests():
        if digest in alive:
            kept += 1
            continue
        size, modified = blobs.stat(digest), blobs.modified(digest)
        if size is None or modified is None:
            continue
        if modified > limit:
            young += 1
        elif dry_run or blobs.expire(digest, limit):
            deleted.append(digest)
            freed += size
    return GcReport(
        deleted=tuple(sorted(deleted)), freed=freed, alive=kept, young=young, missing=tuple(sorted(missing))
    )


def mark(blobs: BlobStore, roots: Iterable[Descriptor]) -> tuple[set[Digest], set[Digest]]:
    """
    Everything that the roots refer to, and which of it is not in the store.

    The diff_ids of live configurations are alive too: a layer may rest uncompressed under that digest.

    Raises:
        ImageError: a document cannot be read.
    """
    alive: set[Digest] = set()
    diff_ids: set[Digest] = set()
    missing: set[Digest] = set()
    pending = list(roots)
    # Old tools wrote entries without a media type. As a root that can only be a manifest; elsewhere it is
    # opaque.
    untyped = {root.digest for root in pending if not root.media_type}
    while pending:
        descriptor = pending.pop()
        if descriptor.digest in alive:
            continue
        alive.add(descriptor.digest)
        if blobs.stat(descriptor.digest) is None:
            missing.add(descriptor.digest)
        elif descriptor.media_type in mediatypes.ALL_MANIFESTS or descriptor.digest in untyped:
            pending.extend(_children(blobs, descriptor, diff_ids))
    return alive | diff_ids, missing


def _children(blobs: BlobStore, descriptor: Descriptor, diff_ids: set[Digest]) -> list[Descriptor]:
    where = f"manifest {descriptor.digest}"
    value = read_manifest(read_document(blobs, descriptor), descriptor.media_type, where).value
    if not isinstance(value, Manifest):
        return list(value.manifests)
    config = value.config
    if config.media_type in mediatypes.CONFIGS and blobs.stat(config.digest) is not None:
        document = read_config(read_document(blobs, config), config, f"{where}: config")
        diff_ids.update(document.value.diff_ids)
    return [config, *value.layers]
