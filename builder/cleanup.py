"""
How space in the local store is given back.

Images keep what their names need, and nothing here touches it. Cached steps, what is unpacked, cache mounts
and repositories go on request: all of them, those that filters choose, or those unused for longest until the
cache is small enough. What a running build needs stays (see `leases`), and so do young blobs
while one runs: it may just have made them.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from oci_image.digest import Digest
from oci_image.layer.remove import remove_tree
from oci_image.store.gc import mark, sweep

from .accounting import BY_LAYER, account, open_cache
from .caching.recorded import forget
from .holdings import MOUNT, STEP, UNPACKED, Account, Holding
from .leases import collecting
from .local import LocalStore
from .statefiles import entries, tree_size, unless_locked

GRACE = 600.0
"""Seconds for which a blob that nothing refers to is left alone: a build that runs now may have made it."""

_MADE_AGAIN = 30.0
"""Seconds within which a build may have made once more what it did not yet put under its lease."""

Chooser = Callable[[Holding], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What a clean-up removed, or would remove; `freed` in bytes."""

    blobs: int
    records: int
    directories: int
    freed: int
    mounts: int = 0


def prune(
    store: LocalStore,
    *,
    everything: bool = False,
    unused_since: float | None = None,
    chooses: Chooser | None = None,
    keep: int | None = None,
    free: int | None = None,
    cutoff: float,
    dry_run: bool = False,
) -> Pruned:
    """
    Remove what nobody needs, and what is chosen of that which only saves time.

    Args:
        store: the local store.
        everything: choose all of it.
        unused_since: choose the cached steps that were last used before this Unix time.
        chooses: choose what this says yes to.
        keep: of what is chosen (of all, where nothing else says) only so much that the cache has at most so
            many bytes, what was unused for longest first.
        free: the same, until so many bytes of the file system are free; the smaller cache of both is meant.
        cutoff: unneeded blobs younger than this Unix time stay.
        dry_run: only report.

    Raises:
        ImageError: an image of the store cannot be read; nothing was removed then.
    """
    with collecting(store.state):
        found = account(store)
        if free is not None:
            missing = free - shutil.disk_usage(store.root).free
            enough = max(0, found.cache_size - max(0, missing))
            keep = enough if keep is None else min(keep, enough)
        if everything or (keep is not None and chooses is None and unused_since is None):
            chooses = _anything
        victims = [
            one for one in found.holdings if one.is_reclaimable and _is_chosen(one, chooses, unused_since)
        ]
        if keep is not None:
            victims = _down_to(keep, victims, found)
        return _remove(store, found, victims, everything=everything, cutoff=cutoff, dry_run=dry_run)


def _anything(one: Holding) -> bool:
    del one
    return True


def _is_chosen(one: Holding, chooses: Chooser | None, unused_since: float | None) -> bool:
    if unused_since is not None:
        return one.type == STEP and one.last_used < unused_since and (chooses is None or chooses(one))
    return chooses is not None and chooses(one)


def _down_to(keep: int, pool: Iterable[Holding], found: Account) -> list[Holding]:
    """The first of the pool, by their last use, without which the cache is small enough."""
    holders = Counter(digest for one in found.holdings for digest in one.blobs)
    total = found.cache_size
    victims = []
    # What is unpacked goes before the step that it came from, and a step before those below it.
    for one in sorted(pool, key=lambda one: (one.last_used, one.type == STEP, -len(one.layers))):
        if total <= keep:
            break
        victims.append(one)
        if one.type == STEP:
            holders.subtract(one.blobs)
            total -= sum(found.sizes[digest] for digest in one.blobs if not holders[digest])
        else:
            total -= one.size
    return victims


def _remove(
    store: LocalStore,
    found: Account,
    victims: list[Holding],
    *,
    everything: bool,
    cutoff: float,
    dry_run: bool,
) -> Pruned:
    chosen = {id(one) for one in victims}
    steps = [one for one in victims if one.type == STEP]
    kept = {
        digest
        for one in found.of(STEP)
        if id(one) not in chosen
        for layer in one.layers
        for digest in (layer.descriptor.digest, layer.diff_id)
    }
    kept |= {Digest("sha256", name) for lease in found.leases for name in lease}
    now = time.time()
    if found.leases:
        cutoff = min(cutoff, now - GRACE)
    alive, _ = mark(store.blobs, store.tags.entries())
    own = {digest for one in steps for digest in one.blobs} - alive - kept
    gone = _expire(store, own, now - _MADE_AGAIN if found.leases else now, dry_run=dry_run)
    report = sweep(store.blobs, store.tags.entries(), keep=kept | gone.keys(), cutoff=cutoff, dry_run=dry_run)
    living = {digest.hex for digest in kept} if everything else {digest.hex for digest in alive | kept}
    directories, freed = _drop(store, victims, living, dry_run=dry_run)
    if steps and not dry_run:
        # Last, because a full disk has no place for it before; a record without its layers is a miss.
        _forget(store, steps)
    return Pruned(
        blobs=len(report.deleted) + len(gone),
        records=sum(len(one.keys) for one in steps),
        directories=directories,
        freed=report.freed + sum(gone.values()) + freed,
        mounts=sum(one.type == MOUNT for one in victims),
    )


def _forget(store: LocalStore, steps: Iterable[Holding]) -> None:
    with open_cache(store) as cache:
        if cache is not None:
            for key in (key for step in steps for key in step.keys):
                cache.forget(key)
    forget(store.state)


def _expire(store: LocalStore, blobs: Iterable[Digest], limit: float, *, dry_run: bool) -> dict[Digest, int]:
    """Remove blobs that were not made after a time; their sizes."""
    gone: dict[Digest, int] = {}
    for digest in blobs:
        size, modified = store.blobs.stat(digest), store.blobs.modified(digest)
        if size is None or modified is None or modified > limit:
            continue
        if dry_run or store.blobs.expire(digest, limit):
            gone[digest] = size
    return gone


def _drop(
    store: LocalStore, victims: Iterable[Holding], living: set[str], *, dry_run: bool
) -> tuple[int, int]:
    """Remove the chosen directories, and what was made of layers that are gone; how many, and bytes."""
    paths = {path: one.type == UNPACKED and "/rootfs/" in path for one in victims for path in one.paths}
    for folder in BY_LAYER:
        for name, path in entries(store.state, folder):
            if name.partition("-")[0] not in living:
                paths[path] = folder == "rootfs"
    freed = 0
    for path in paths:
        with unless_locked(f"{path}.lock") as is_free:
            if not is_free:
                continue  # a cache mount that a build took meanwhile
            freed += tree_size(path)
            if not dry_run:
                remove_tree(path)
    return sum(paths.values()), freed
