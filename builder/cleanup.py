"""
What takes space in the local store, and how it is given back.

Images keep what their names need; the build cache keeps the layers of its records. Unpacked layers are copies
and can always be made again. Nothing that a name needs is ever removed here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from oci_image.digest import Digest
from oci_image.layer.remove import remove_tree
from oci_image.store.gc import mark, sweep

from .cache import SqliteCacheIndex
from .local import LocalStore
from .recorded import forget, last_uses


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What a clean-up removed, or would remove; `freed` in bytes."""

    blobs: int
    records: int
    directories: int
    freed: int


def prune(
    store: LocalStore, *, everything: bool, unused_since: float | None, cutoff: float, dry_run: bool
) -> Pruned:
    """
    Remove what neither a name nor a cached step needs.

    Args:
        store: the local store.
        everything: forget all cached steps and unpacked layers first.
        unused_since: forget cached steps that were last used before this Unix time first.
        cutoff: blobs younger than this Unix time stay: a build that runs now may be about to use them.
        dry_run: only report.

    Raises:
        ImageError: an image of the store cannot be read; nothing was removed then.
    """
    alive, _ = mark(store.blobs, store.tags.entries())
    forgotten, kept = _forget(store, everything=everything, unused_since=unused_since, dry_run=dry_run)
    report = sweep(store.blobs, store.tags.entries(), keep=kept, cutoff=cutoff, dry_run=dry_run)
    living = set() if everything else {digest.hex for digest in alive | kept}
    directories, freed = _drop_derived(store, living, everything=everything, dry_run=dry_run)
    return Pruned(
        blobs=len(report.deleted), records=forgotten, directories=directories, freed=report.freed + freed
    )


def _forget(
    store: LocalStore, *, everything: bool, unused_since: float | None, dry_run: bool
) -> tuple[int, set[Digest]]:
    """Forget records; returns how many, and the layers of those that stay."""
    kept: set[Digest] = set()
    forgotten = 0
    replayed = last_uses(store.state)
    with open_cache(store) as cache:
        if cache is None:
            return 0, kept
        for key, record, looked_up in list(cache.items()):
            used = max(looked_up, replayed.get(str(key), 0.0))
            if everything or (unused_since is not None and used < unused_since):
                forgotten += 1
                if not dry_run:
                    cache.forget(key)
            else:
                kept.update(layer.descriptor.digest for layer in record.layers)
                kept.update(layer.diff_id for layer in record.layers)
    if forgotten and not dry_run:
        forget(store.state)
    return forgotten, kept


_BY_LAYER = ("rootfs", "index", "tars")
"""Folders of the state directory whose entries begin with the diff_id of the layer that they were made of."""

_ON_REQUEST = ("selections", "mounts")
"""Folders that go as a whole: digests of parts of layers, and what cache mounts hold."""


def _drop_derived(store: LocalStore, living: set[str], *, everything: bool, dry_run: bool) -> tuple[int, int]:
    """Remove what was made of layers that are not in `living`; returns unpacked directories and bytes."""
    count = freed = 0
    for folder in _BY_LAYER:
        for name, path in _entries(store, folder):
            if name.partition("-")[0] in living:
                continue
            count += folder == "rootfs"
            freed += tree_size(path)
            if not dry_run:
                remove_tree(path)
    for folder in _ON_REQUEST if everything else ():
        for _, path in _entries(store, folder):
            freed += tree_size(path)
            if not dry_run:
                remove_tree(path)
    return count, freed


def _entries(store: LocalStore, name: str) -> Iterator[tuple[str, str]]:
    folder = os.path.join(store.state, name)
    for entry in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        yield entry, os.path.join(folder, entry)


def tree_size(path: str) -> int:
    """The bytes of a file, or of all files below a directory, a hard-linked one once."""
    if not os.path.isdir(path) or os.path.islink(path):
        return os.lstat(path).st_size
    seen: set[tuple[int, int]] = set()
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            found = os.lstat(os.path.join(folder, name))
            if (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                total += found.st_size
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """One line of ``pybuild du``; sizes in bytes."""

    what: str
    count: int
    size: int
    reclaimable: int


def usage(store: LocalStore) -> list[UsageRow]:
    """Who holds how much: images, cached steps, unpacked layers, and what nobody needs."""
    needed, _ = mark(store.blobs, store.tags.entries())
    sizes = {digest: store.blobs.stat(digest) or 0 for digest in store.blobs.digests()}
    cached = (cached_layers(store) & sizes.keys()) - needed
    loose = sizes.keys() - needed - cached

    def row(what: str, digests: Iterable[Digest], *, reclaimable: bool) -> UsageRow:
        found = [sizes[digest] for digest in digests if digest in sizes]
        return UsageRow(
            what=what, count=len(found), size=sum(found), reclaimable=sum(found) if reclaimable else 0
        )

    def copies(what: str, *folders: str) -> UsageRow:
        found = [tree_size(path) for folder in folders for _, path in _entries(store, folder)]
        return UsageRow(what=what, count=len(found), size=sum(found), reclaimable=sum(found))

    return [
        row("Images", needed, reclaimable=False),
        row("Build cache", cached, reclaimable=True),
        row("Unneeded", loose, reclaimable=True),
        copies("Unpacked layers", "rootfs"),
        copies("Lists of layers", "index", "tars", "selections"),
        copies("Cache mounts", "mounts"),
    ]


def cached_layers(store: LocalStore) -> set[Digest]:
    """The layers that cached steps would hand out."""
    with open_cache(store) as cache:
        if cache is None:
            return set()
        return {layer.descriptor.digest for _, record, _ in cache.items() for layer in record.layers}


@contextmanager
def open_cache(store: LocalStore) -> Iterator[SqliteCacheIndex | None]:
    """The cache index of the store; None where there is none yet."""
    path = os.path.join(store.state, "cache.db")
    if not os.path.exists(path):
        yield None
        return
    cache = SqliteCacheIndex(path)
    try:
        yield cache
    finally:
        cache.close()
