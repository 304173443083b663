"""
The names of an image layout: the entries of ``ROOT/index.json``.

Invariants: changes happen one at a time under a lock between processes and replace the file as a whole,
durably; entries and members that we do not understand are kept as they are; a name has one entry.
Governing source: OCI image-spec, image-layout.md, "index.json".
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from .. import jsonbytes, mediatypes
from ..descriptor import Descriptor
from ..digest import Digest
from ..errors import InvalidDocument, StoreProblem
from .lock import file_lock, replace_file
from .names import is_named, name_of, naming, without_names
from .prepare import prepare_layout
from .problems import store_problem

_LIMIT = 256 * 1024 * 1024
"""Largest index that is read, in bytes; some 500,000 names."""

_TICK = 50_000_000
"""Longest time between two times of the filesystem that look the same, in nanoseconds."""


class LayoutTagStore:
    """Names to descriptors in the index of an image layout; names are full references."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.path.abspath(os.fspath(root))
        self._path = f"{self.root}/index.json"
        self._seen: tuple[tuple[int, int, int], dict[str, Descriptor]] | None = None

    def get(self, name: str) -> Descriptor | None:
        """What the name stands for."""
        return self._names().get(name)

    def set(self, name: str, descriptor: Descriptor) -> None:
        """Let the name stand for the descriptor, whose entry without a name ends."""
        named = replace(descriptor, annotations=without_names(descriptor.annotations) | naming(name))
        digest, entry = str(descriptor.digest), named.to_json()

        def change(entries: list[Any]) -> list[Any]:
            kept = [old for old in entries if not _is(old, name) and not _is_untagged(old, digest)]
            return [*kept, entry]

        self._change(change)

    def delete(self, name: str) -> bool:
        """Remove the name; False when it was not there."""
        return self._change(lambda entries: [old for old in entries if not _is(old, name)])

    def items(self) -> Iterator[tuple[str, Descriptor]]:
        """Every name with its descriptor, sorted by name."""
        return iter(sorted(self._names().items(), key=lambda item: item[0]))

    def entries(self) -> tuple[Descriptor, ...]:
        """Every descriptor in the index, with a name or without: the roots of everything that is alive."""
        found = []
        for entry in self._load()[1]:
            with suppress(InvalidDocument):
                found.append(Descriptor.from_json(entry, self._path))
        return tuple(found)

    def add_untagged(self, descriptor: Descriptor) -> None:
        """List a manifest without a name, so that it stays alive; a no-op when it is in the index already."""
        plain = replace(descriptor, annotations=without_names(descriptor.annotations)).to_json()
        digest = str(descriptor.digest)

        def change(entries: list[Any]) -> list[Any]:
            listed = any(isinstance(old, dict) and old.get("digest") == digest for old in entries)
            return entries if listed else [*entries, plain]

        self._change(change)

    def remove_untagged(self, digest: Digest) -> bool:
        """Remove the entry without a name; False when there was none."""
        return self._change(lambda entries: [old for old in entries if not _is_untagged(old, str(digest))])

    def _names(self) -> dict[str, Descriptor]:
        """The parsed names, read again only when the file was replaced."""
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return {}
        except OSError as problem:
            raise store_problem(problem, self._path, "read the index") from problem
        version = (status.st_ino, status.st_mtime_ns, status.st_size)
        seen = self._seen
        if seen is None or seen[0] != version:
            seen = (version, _read_names(self._load()[1], self._path))
            # A file that is younger than the tick of the clock may be replaced by one that looks the same.
            settled = time.time_ns() - status.st_mtime_ns > _TICK
            self._seen = seen if settled else None
        return seen[1]

    def _load(self) -> tuple[dict[str, Any], list[Any]]:
        try:
            with open(self._path, "rb") as stream:
                document = jsonbytes.decode_object(stream.read(_LIMIT + 1), self._path, limit=_LIMIT)
        except FileNotFoundError:
            return {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": []}, []
        except OSError as problem:
            raise store_problem(problem, self._path, "read the index") from problem
        except InvalidDocument as problem:
            raise StoreProblem(
                problem.message, hint="restore the file, or move it away: the blobs are not lost"
            ) from problem
        entries = document.setdefault("manifests", [])
        if entries is None:  # how Go writes an empty list that was never set
            entries = document["manifests"] = []
        if not isinstance(entries, list):
            raise StoreProblem(f"{self._path}: the member 'manifests' is not a list")
        return document, entries

    def _change(self, change: Callable[[list[Any]], list[Any]]) -> bool:
        prepare_layout(self.root)
        with file_lock(f"{self.root}/pybuild/locks/index"):
            document, entries = self._load()
            changed = change(entries)
            if changed == entries:
                return False
            document["manifests"] = changed
            try:
                replace_file(
                    self._path, jsonbytes.encode(document), temporary=f"{self.root}/pybuild/index.new"
                )
            except OSError as problem:
                raise store_problem(problem, self.root, "write the index") from problem
        return True


def _read_names(entries: list[Any], where: str) -> dict[str, Descriptor]:
    names: dict[str, Descriptor] = {}
    for entry in entries:
        name = name_of(entry) if isinstance(entry, dict) else None
        if name is None:
            continue
        with suppress(InvalidDocument):
            descriptor = Descriptor.from_json(entry, where)
            names[name] = replace(descriptor, annotations=without_names(descriptor.annotations))
    return names


def _is(entry: object, name: str) -> bool:
    return isinstance(entry, dict) and name_of(entry) == name


def _is_untagged(entry: object, digest: str) -> bool:
    return isinstance(entry, dict) and entry.get("digest") == digest and not is_named(entry)
