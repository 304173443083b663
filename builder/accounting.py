"""
Accounting: reads who holds what out of the local store, without changing anything.

Each image, cached step, unpacked layer, cache mount and repository becomes one `Holding` with what
it takes and what would be free without it.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from oci_image.digest import Digest
from oci_image.store.gc import mark

from .caching.cache import CacheRecord, SqliteCacheIndex
from .caching.listings import FOLDER
from .caching.preimages import describe
from .caching.recorded import last_uses
from .holdings import GIT, IMAGE, LISTS, MOUNT, STEP, UNPACKED, Account, Holding
from .leases import living
from .local import LocalStore
from .statefiles import entries, is_locked, tree_size

BY_LAYER = ("rootfs", "index", "runs", "tars")
"""Folders of the state directory whose entries begin with the diff_id of the layer that they were made of."""

_SHORT = 12


def account(store: LocalStore) -> Account:
    """
    See who holds what.

    Raises:
        ImageError: an image of the store cannot be read.
    """
    leases = tuple(living(store.state))
    held = frozenset().union(*leases)
    images = _images(store)
    steps = _steps(store, held)
    holders = Counter(digest for one in (*images, *steps) for digest in one.blobs)
    sizes = {digest: store.blobs.stat(digest) or 0 for digest in holders}
    named = {digest for image in images for digest in image.blobs}
    out = [_sized(image, image.blobs, holders, sizes) for image in images]
    for step in steps:
        # Below its own layer are those of other steps, or of a base.
        own = step.layers[-1]
        out.append(_sized(step, step.blobs & {own.descriptor.digest, own.diff_id}, holders, sizes))
    out += _unpacked(store, held, _uses(steps), {digest.hex for digest in named})
    out += _mounts(store)
    out += _rest(store)
    return Account(holdings=tuple(out), sizes=sizes, leases=leases)


def _sized(
    one: Holding, blobs: Iterable[Digest], holders: Mapping[Digest, int], sizes: Mapping[Digest, int]
) -> Holding:
    counted = list(blobs)
    alone = sum(sizes[digest] for digest in counted if holders[digest] == 1)
    return replace(one, size=sum(sizes[digest] for digest in counted), exclusive=alone)


def _images(store: LocalStore) -> list[Holding]:
    names: dict[Digest, list[str]] = defaultdict(list)
    for name, descriptor in store.tags.items():
        names[descriptor.digest].append(name)
    out: list[Holding] = []
    for descriptor in store.tags.entries():
        alive, missing = mark(store.blobs, [descriptor])
        known = names.pop(descriptor.digest, None)
        if known is None and any(one.id == descriptor.digest.hex[:_SHORT] for one in out):
            continue
        blobs = frozenset(digest for digest in alive - missing if store.blobs.stat(digest) is not None)
        text = ", ".join(_familiar(name) for name in known or ()) or "<none>"
        out.append(Holding(id=descriptor.digest.hex[:_SHORT], type=IMAGE, description=text, blobs=blobs))
    return out


def _familiar(name: str) -> str:
    from oci_image.errors import InvalidReference
    from oci_image.reference import Reference

    try:
        return Reference.parse(name).familiar
    except InvalidReference:
        return name


def _steps(store: LocalStore, held: frozenset[str]) -> list[Holding]:
    """Cached steps, each once however many keys it has."""
    replayed = last_uses(store.state)
    found: dict[tuple[Digest, str], tuple[CacheRecord, list[Digest], float, str]] = {}
    with open_cache(store) as cache:
        if cache is None:
            return []
        for key, record, looked_up in cache.items():
            if not record.layers:
                continue
            when = max(looked_up, replayed.get(str(key), 0.0))
            place = record.content, record.layers[-1].diff_id.hex
            before = found.get(place)
            if before is None:
                text = describe(cache.preimage(key))
                found[place] = record, [key], when, text
            else:
                found[place] = record, [*before[1], key], max(before[2], when), before[3]
    latest: dict[str, float] = defaultdict(float)
    for record, _, when, _ in found.values():
        for layer in record.layers:
            latest[layer.diff_id.hex] = max(latest[layer.diff_id.hex], when)
    return [
        Holding(
            id=record.content.hex[:_SHORT],
            type=STEP,
            description=text,
            in_use=record.layers[-1].diff_id.hex in held,
            created=record.created,
            last_used=latest[record.layers[-1].diff_id.hex],
            layers=record.layers,
            keys=tuple(keys),
            blobs=_blobs(store, record),
        )
        for record, keys, _, text in found.values()
    ]


def _blobs(store: LocalStore, record: CacheRecord) -> frozenset[Digest]:
    named = {digest for one in record.layers for digest in (one.descriptor.digest, one.diff_id)}
    return frozenset(digest for digest in named if store.blobs.stat(digest) is not None)


def _uses(steps: list[Holding]) -> dict[str, float]:
    """When each layer was last used by a cached step, by the digits of its diff_id."""
    used: dict[str, float] = defaultdict(float)
    for step in steps:
        for layer in step.layers:
            used[layer.diff_id.hex] = max(used[layer.diff_id.hex], step.last_used)
    return used


def _unpacked(
    store: LocalStore, held: frozenset[str], used: Mapping[str, float], named: set[str]
) -> Iterator[Holding]:
    """What was made of each layer."""
    paths: dict[str, list[str]] = defaultdict(list)
    for folder in BY_LAYER:
        for name, path in entries(store.state, folder):
            paths[name.partition("-")[0]].append(path)
    for layer, found in sorted(paths.items()):
        size = sum(map(tree_size, found))
        of = "an image's layer" if layer in named else "a cached step's layer" if layer in used else "nothing"
        changed = max(os.lstat(path).st_mtime for path in found)
        yield Holding(
            id=layer[:_SHORT],
            type=UNPACKED,
            description=f"unpacked files and lists of {of}",
            size=size,
            exclusive=size,
            in_use=layer in held,
            created=changed,
            last_used=max(used.get(layer, 0.0), changed),
            paths=tuple(found),
        )


def _mounts(store: LocalStore) -> Iterator[Holding]:
    for name, path in entries(store.state, "mounts"):
        if not os.path.isdir(path) or "." in name:
            continue  # a lock, or a mount in the making
        size, changed = tree_size(path), _changed(path)
        yield Holding(
            id=name[:_SHORT],
            type=MOUNT,
            description=_mount_name(path),
            size=size,
            exclusive=size,
            in_use=is_locked(os.path.join(store.state, "mounts", f"{name}.lock")),
            created=os.lstat(path).st_mtime,
            last_used=changed,
            paths=(path,),
        )


def _mount_name(path: str) -> str:
    try:
        with open(os.path.join(path, "id"), encoding="utf-8", errors="surrogateescape") as file:
            return f"cache mount {file.read()}"
    except OSError:
        return "cache mount"


def _rest(store: LocalStore) -> Iterator[Holding]:
    listings = os.path.join(store.state, FOLDER)
    if os.path.isdir(listings):
        size = tree_size(listings)
        yield Holding(
            id=FOLDER,
            type=LISTS,
            description="lists of files of build contexts",
            size=size,
            exclusive=size,
            last_used=os.lstat(listings).st_mtime,
            paths=(listings,),
        )
    for folder, kind, text in (
        ("git", GIT, "objects of a git repository"),
        ("selections", LISTS, "digests of parts of results"),
    ):
        for name, path in entries(store.state, folder):
            if name.endswith(".lock"):
                continue
            size = tree_size(path)
            yield Holding(
                id=name[:_SHORT],
                type=kind,
                description=text,
                size=size,
                exclusive=size,
                in_use=kind == GIT and is_locked(f"{path}.lock"),
                created=os.lstat(path).st_mtime,
                last_used=_changed(path),
                paths=(path,),
            )


def _changed(path: str) -> float:
    """When something in a directory (or right below its only folder) last changed."""
    times = [os.lstat(path).st_mtime]
    data = os.path.join(path, "data")
    if os.path.isdir(data):
        times.append(os.lstat(data).st_mtime)
    return max(times)


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
