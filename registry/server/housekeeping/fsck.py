"""
Comparing a registry's storage with itself: content, what refers to it, and the index.

Invariants: bytes are the concern of `scrub`, not of this; a repair never removes what somebody pushed; the
index follows the files.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from oci_image.digest import Digest

from ..store.durable import list_names, storage_errors
from ..store.filesystem import FilesystemStore
from ..store.indexed import IndexedStore
from ..store.layout import flatten, unflatten
from ..store.links import share
from ..store.references import read_references

_SNAPSHOTS = {
    "manifests": "SELECT repository, digest, media_type, size, subject FROM manifests",
    "tags": "SELECT repository, name, digest FROM tags",
    "references": "SELECT repository, parent, child FROM links",
    "blobs": "SELECT repository, digest, size FROM blobs",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """
    Something that is not as it should be.

    Attributes:
        place: a repository, or the index.
        problem: one clause.
        repaired: whether it is as it should be now.
    """

    place: str
    problem: str
    repaired: bool


def check(
    store: IndexedStore, *, repair: bool, is_sparse: Callable[[str], bool] = lambda _repository: False
) -> list[Finding]:
    """
    Compare everything; only for a storage that no server uses.

    Args:
        store: the open storage.
        repair: mend links and the index, and remove directories of repositories that are empty.
        is_sparse: whether manifests of a repository may refer to what is not here.
    """
    found = _index(store)
    if isinstance(store, FilesystemStore):
        found += _directories(store, repair=repair)
    else:
        found += _objects(store)
    for (repository,) in store.index.rows("SELECT name FROM repositories ORDER BY name"):
        found += _dangling(store, repository)
        found += [] if is_sparse(repository) else _missing(store, repository)
    return found


def _objects(store: IndexedStore) -> list[Finding]:
    found = []
    present = set(store.blobs.contents())
    for repository, text in store.index.rows("SELECT repository, digest FROM blobs ORDER BY 1, 2"):
        digest = Digest.parse(text)
        # Content that was collected is left out above, but may have been pushed again.
        if digest not in present and store.blobs.content_size(digest) is None:
            found.append(_gone(repository, digest))
    return found


def _gone(repository: str, digest: Digest) -> Finding:
    return Finding(repository, f"the content of {digest} is gone; push it again", repaired=False)


def _directories(store: FilesystemStore, *, repair: bool) -> list[Finding]:
    found: list[Finding] = []
    with storage_errors():
        for name in sorted(list_names(store.layout.repositories)):
            repository = unflatten(name)
            found += _links(store, repository, repair=repair)
            if not store.index.exists(repository):
                found.append(Finding(repository, "the repository is empty", repaired=repair))
                if repair:
                    _remove_empty(f"{store.layout.repositories}/{flatten(repository)}")
                    store.index.remove(repository)
    return found


def _index(store: IndexedStore) -> list[Finding]:
    before = {name: set(store.index.rows(query)) for name, query in _SNAPSHOTS.items()}
    store.rebuild()
    found = []
    for name, query in _SNAPSHOTS.items():
        after = set(store.index.rows(query))
        for word, count in (("missed", len(after - before[name])), ("made up", len(before[name] - after))):
            if count:
                found.append(Finding("index", f"it {word} {count} {name}", repaired=True))
    return found


def _links(store: FilesystemStore, repository: str, *, repair: bool) -> list[Finding]:
    found = []
    for (text,) in store.index.rows("SELECT digest FROM blobs WHERE repository = ?", repository):
        digest = Digest.parse(text)
        content, link = store.layout.blob(digest), store.layout.member(repository, "blobs", digest)
        if not os.path.lexists(content):
            found.append(_gone(repository, digest))
        elif not os.path.samefile(content, link) and os.stat(link).st_size != os.stat(content).st_size:
            found.append(Finding(repository, f"its link to {digest} leads elsewhere", repaired=repair))
            if repair:
                share(content, store.layout.temporary, os.path.dirname(link), digest.hex, replace=True)
    return found


def _dangling(store: IndexedStore, repository: str) -> list[Finding]:
    tags = store.index.rows(
        "SELECT name, digest FROM tags AS t WHERE repository = ? AND NOT EXISTS "
        "(SELECT 1 FROM manifests WHERE repository = t.repository AND digest = t.digest)",
        repository,
    )
    return [
        Finding(repository, f"the tag {tag} leads to {digest}, which is not here", repaired=False)
        for tag, digest in tags
    ]


def _missing(store: IndexedStore, repository: str) -> list[Finding]:
    parts = store.index.rows(
        "SELECT parent, child FROM links AS l WHERE repository = ? "
        "AND NOT EXISTS (SELECT 1 FROM blobs WHERE repository = l.repository AND digest = l.child) "
        "AND NOT EXISTS (SELECT 1 FROM manifests WHERE repository = l.repository AND digest = l.child)",
        repository,
    )
    foreign = {parent: _foreign(store, repository, parent) for parent in dict(parts)}
    return [
        Finding(repository, f"{parent} refers to {child}, which is not here", repaired=False)
        for parent, child in parts
        if child not in foreign[parent]
    ]


def _foreign(store: IndexedStore, repository: str, parent: str) -> frozenset[str]:
    """The layers of a manifest that its clients get elsewhere."""
    digest = Digest.parse(parent)
    manifest = store.manifests.get(repository, digest)
    return frozenset() if manifest is None else frozenset(map(str, read_references(manifest.raw).foreign))


def _remove_empty(directory: str) -> None:
    for name in ("index.json", "oci-layout"):
        with suppress(FileNotFoundError):
            os.unlink(f"{directory}/{name}")
    for path, _directories, _files in os.walk(directory, topdown=False):
        with suppress(OSError):
            os.rmdir(path)
