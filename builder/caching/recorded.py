"""
Recorded builds: the write side. What a build depended on and came to, for `replay` to answer the next call.

A build is recorded when the next one like it would be all cached and would wait for nothing: what that one
prints is the same every time, and no registry is asked. A record is never written when something that the
build looked at is so young that a change within the granularity of the clock could hide (see `statcache`).
Records are files that appear as wholes, bounded in number; losing them costs time only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Index
from oci_image.errors import ImageError
from oci_image.image import Image
from oci_image.platform import Platform
from oci_image.reference import Reference

from ..contexts.folder import Folder, Node
from ..contexts.folderrecord import STAMP
from ..contexts.listing import Looked
from ..contexts.statcache import RACY_NS
from ..errors import BuildError
from ..local import LocalStore
from ..request import BuildResult
from . import replay

if TYPE_CHECKING:
    from ..host import Host, Resolver

MOST_RECORDS = 100


class _Unrecordable(Exception):
    """Something keeps a build from being recorded; the next one may be."""


class Watch:
    """
    Notes which base images a build uses, for its record.

    Args:
        began_ns: a time before anything was looked at, in ns since the epoch.
    """

    def __init__(self, began_ns: int) -> None:
        self.began_ns = began_ns
        self.bases: dict[tuple[Reference, Platform], Digest] = {}

    def over(self, host: Host) -> Host:
        """The same effects, watched."""
        return replace(host, resolver=_WatchedResolver(host.resolver, self))


class _WatchedResolver:
    def __init__(self, inner: Resolver, watch: Watch) -> None:
        self._inner = inner
        self._watch = watch

    def local(self, reference: Reference, platform: Platform) -> Image | None:
        image = self._inner.local(reference, platform)
        if image is not None:
            self._watch.bases[reference, platform] = image.manifest.digest
        return image

    async def resolve(self, reference: Reference, platform: Platform, *, pull: bool) -> Image:
        image = await self._inner.resolve(reference, platform, pull=pull)
        # From now on it may be a local one; whether it is, the record asks.
        self._watch.bases[reference, platform] = image.manifest.digest
        return image


def record(
    store: LocalStore,
    resolver: Resolver,
    watch: Watch,
    result: BuildResult,
    *,
    context: str,
    told: Mapping[str, Any],
    key: Callable[[], str],
) -> bool:
    """
    Record a build that an equal one would find all cached; whether it was recorded. Never an error.

    Args:
        store: where the image is.
        resolver: that of the build.
        watch: what the build used.
        result: what it came to.
        context: the directory of the build context.
        told: what the command line tells of the result.
        key: computes the key again, from the files as they are now; "" when the build is not to be recorded.
    """
    try:
        latest = watch.began_ns - RACY_NS
        looked = result.looked or Looked({}, {})
        value = {**_dependencies(store, resolver, watch, result), **told}
        value["paths"] = {path: _path(context, path, node, latest) for path, node in looked.paths.items()}
        name = key()
        if not name:
            return False
        folders = (
            (path, _folder(os.path.join(context, path), folder, latest), folder.hidden)
            for path, folder in looked.folders.items()
        )
        _write(os.path.join(store.state, replay.FOLDER), name, value, folders)
    except (_Unrecordable, OSError, ImageError, BuildError):
        return False
    return True


def last_uses(state: str) -> dict[str, float]:
    """For each step that a record stands for, when the record was last used (Unix time)."""
    uses: dict[str, float] = {}
    for path in _records(os.path.join(state, replay.FOLDER)):
        with contextlib.suppress(OSError, ValueError, KeyError):
            when = os.stat(path).st_mtime
            for digest, _, _ in replay.read(path)["steps"]:
                uses[digest] = max(when, uses.get(digest, 0.0))
    return uses


def forget(state: str) -> None:
    """Remove all records."""
    for path in _records(os.path.join(state, replay.FOLDER)):
        with contextlib.suppress(OSError):
            os.unlink(path)


def _dependencies(store: LocalStore, resolver: Resolver, watch: Watch, result: BuildResult) -> dict[str, Any]:
    if result.recalled is None:
        raise _Unrecordable
    return {
        **_names(store, resolver, watch, result),
        "files": sorted(_files(store, watch, result.image).items()),
        "steps": [
            (str(step.digest), step.origin.title, step.origin.span.start_line if step.origin.span else None)
            for step in result.recalled
        ],
    }


def _names(store: LocalStore, resolver: Resolver, watch: Watch, result: BuildResult) -> dict[str, Any]:
    """The names that have to stand for the same as now."""
    raw = _index(store)
    names = {str(tag): str(result.image.manifest.digest) for tag in result.tags}
    exact = False
    for (reference, platform), digest in watch.bases.items():
        found, image = store.named(reference), resolver.local(reference, platform)
        if found is None or image is None or image.manifest.digest != digest:
            raise _Unrecordable
        if reference.digest is None:
            names[str(reference)] = str(found.descriptor.digest)
        else:
            exact = True  # any name of the repository may be the one that brings the digest here
    for name, expected in names.items():
        descriptor = store.tags.get(name)
        if descriptor is None or str(descriptor.digest) != expected:
            raise _Unrecordable
    if _index(store) != raw:
        raise _Unrecordable
    if names and not replay.names_hold(json.loads(raw), names):
        exact = True
    return {"index": hashlib.sha256(raw).hexdigest(), "exact": exact, "names": names}


def _index(store: LocalStore) -> bytes:
    try:
        with open(os.path.join(store.root, "index.json"), "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return b""


def _files(store: LocalStore, watch: Watch, image: Image) -> dict[str, int | None]:
    """
    The blobs that have to be there with their sizes, and those that must not be (None).

    Layers of a base image may be elsewhere; one that comes or goes only costs the record.
    """
    files: dict[str, int | None] = {}
    own = (image.manifest.descriptor, image.manifest.value.config, *image.manifest.value.layers)
    for descriptor in own:
        files[_blob(descriptor)] = store.blobs.stat(descriptor.digest)
    for reference, _ in watch.bases:
        found = store.named(reference)
        if found is None:
            raise _Unrecordable
        for descriptor in _documents(store, found.descriptor):
            # Which image an index gives for a platform depends on which of its manifests are here.
            files[_blob(descriptor)] = store.blobs.stat(descriptor.digest)
    return files


def _documents(store: LocalStore, descriptor: Descriptor) -> Iterator[Descriptor]:
    """The documents from which a base image is found: manifest and configuration, of an index all of them."""
    yield descriptor
    if store.blobs.stat(descriptor.digest) is None:
        return
    value = store.document(descriptor).value
    if isinstance(value, Index):
        for child in value.manifests:
            yield from _documents(store, child)
    else:
        yield value.config


def _blob(descriptor: Descriptor) -> str:
    return f"blobs/{descriptor.digest.algorithm}/{descriptor.digest.hex}"


def _path(context: str, path: str, node: Node | None, latest: int) -> list[object] | None:
    """What `replay.look` will find if nothing changes."""
    if node is None:
        return None
    if stat.S_ISDIR(node.mode):
        return [node.mode]
    if stat.S_ISREG(node.mode):
        _check_age(node.stamp, latest)
        return [node.mode, node.stamp.hex()]
    return [node.mode, node.rdev, _link(os.path.join(context, path), node, latest)]


def _folder(path: str, folder: Folder, latest: int) -> str:
    """What `replay` will compute if nothing changes."""
    stamps = folder.stamps.read()
    _check_age(stamps, latest)
    return replay.folder_digest(
        folder.names.read(),
        stamps,
        list(folder.directories.items()),
        [
            (name, node.mode, node.rdev, _link(os.path.join(path, name), node, latest))
            for name, node in folder.others.items()
        ],
        folder.xattrs,
    )


def _link(path: str, node: Node, latest: int) -> str:
    if not stat.S_ISLNK(node.mode):
        return ""
    if os.lstat(path).st_ctime_ns > latest:
        raise _Unrecordable
    return os.readlink(path)


def _check_age(stamps: bytes, latest: int) -> None:
    for _, mtime, ctime, _, _ in STAMP.iter_unpack(stamps):
        if mtime > latest or ctime > latest:
            raise _Unrecordable


def _write(
    folder: str, name: str, record: Mapping[str, Any], folders: Iterable[tuple[str, str, Sequence[str]]]
) -> None:
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}")
    try:
        replay.write(temporary, record, folders)
        os.replace(temporary, os.path.join(folder, name))
    except (_Unrecordable, OSError, ImageError):
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _drop_oldest(folder)


def _drop_oldest(folder: str) -> None:
    paths = _records(folder)
    if len(paths) <= MOST_RECORDS:
        return
    ages: list[tuple[float, str]] = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            ages.append((os.stat(path).st_mtime, path))
    for _, path in sorted(ages)[:-MOST_RECORDS]:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _records(folder: str) -> list[str]:
    """All files of the folder, those included that a dead process left unfinished."""
    try:
        return [os.path.join(folder, name) for name in os.listdir(folder)]
    except FileNotFoundError:
        return []
