"""
Reading a registry's directory into its index, and what an older version left into today's form.

Invariants: files are the truth, the index follows; nothing is removed; what cannot be read is left out.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress

from oci_image.digest import Digest
from oci_image.errors import ImageError

from .durable import list_names, read_file, replace_file, storage_errors
from .index import Index
from .layout import Layout, unflatten
from .links import share
from .records import decode_record, decode_tag

FORMAT = b"2\n"


def open_index(path: str, clock: Callable[[], float], wall: Callable[[], float]) -> Index:
    """The index as it is on disk; an empty one in place of a file that cannot be used."""
    try:
        return Index(path, clock, wall)
    except sqlite3.DatabaseError:
        drop_index(path)
        return Index(path, clock, wall)


def drop_index(path: str) -> None:
    """Remove the files of the index."""
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(path + suffix)


def rebuild(layout: Layout, index: Index) -> None:
    """Read every repository again."""
    with storage_errors():
        present = {unflatten(name) for name in list_names(layout.repositories)}
    for (name,) in index.rows("SELECT name FROM repositories"):
        if name not in present:
            index.remove(name)
    for name in sorted(present):
        reindex(layout, index, name)


def reindex(layout: Layout, index: Index, repository: str) -> None:
    """Read one repository again; its times of pulls stay."""
    pulled = {
        row[0]: row[1:]
        for row in index.rows(
            "SELECT digest, pulled FROM manifests WHERE pulled IS NOT NULL AND repository = ?",
            repository,
        )
    }
    with storage_errors(), index.changing_many():
        index.forget(repository)
        index.add_repository(repository)
        manifests = dict(_members(layout, repository, "manifests"))
        for digest, path in manifests.items():
            data = read_file(path)
            manifest = None if data is None else decode_record(data, digest)
            if manifest is not None:
                index.put_manifest(repository, manifest, pushed=os.stat(path).st_mtime)
        sizes = {}
        for digest, path in _members(layout, repository, "blobs"):
            if os.path.lexists(layout.blob(digest)) or (
                digest not in manifests and index.is_referred(repository, digest)
            ):
                sizes[digest] = os.stat(path, follow_symlinks=False).st_size
        index.put_blobs(repository, sizes)
        directory = f"{layout.root}/{layout.tag_directory(repository)}"
        for tag in list_names(directory):
            standing_for = decode_tag(read_file(f"{directory}/{tag}"))
            if standing_for is not None:
                index.set_tag(repository, tag, standing_for, os.stat(f"{directory}/{tag}").st_mtime)
        for text, (when,) in pulled.items():
            index.set_pulled(repository, text, when)


def _members(layout: Layout, repository: str, kind: str) -> Iterator[tuple[Digest, str]]:
    for algorithm in ("sha256", "sha512"):
        directory = f"{layout.root}/{layout.member_directory(repository, kind, algorithm)}"
        for name in list_names(directory):
            with suppress(ImageError):
                yield Digest.parse(f"{algorithm}:{name}"), f"{directory}/{name}"


def migrate(layout: Layout) -> None:
    """Let the empty marks of the first version become links to the content."""
    with storage_errors():
        if read_file(f"{layout.root}/format") == FORMAT:
            return
        for directory in list_names(layout.repositories):
            for digest, path in _members(layout, unflatten(directory), "blobs"):
                _link(layout, digest, path)
        replace_file(layout.temporary, layout.root, "format", FORMAT)


def _link(layout: Layout, digest: Digest, path: str) -> None:
    content = layout.blob(digest)
    with suppress(FileNotFoundError):
        if not os.path.islink(content) and not os.path.samefile(content, path):
            share(content, layout.temporary, os.path.dirname(path), digest.hex, replace=True)
