"""
Files in the result of another step, read out of its layers: for ``COPY --from`` and for mounts from stages.

The rules are those of the build context: a link that is named is followed inside the root, links inside a
copied directory stay links, a wildcard matches within one component. Whiteouts are never seen. The digest
of a selection covers names, kinds, modes, owners, sizes, link targets, extended attributes, bytes and which
names are the same file; never modification times.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple, Self, cast

from dockerfile_grammar.errors import InvalidPattern
from dockerfile_grammar.ignorefile import IgnoreMatcher
from dockerfile_grammar.suggest import nearest
from dockerfile_grammar.wildcards import match_wildcard
from oci_image import jsonbytes
from oci_image.digest import Digest, Hasher
from oci_image.errors import ImageError, NotFound
from oci_image.image import Layer
from oci_image.layer.entry import Entry, Kind
from oci_image.layer.tree import LayerTree
from oci_image.layer.write import LayerWriter

from ..contexts.finding import has_magic, normalised, refuse_links, split_magic
from ..errors import BuildError, MissingSource
from ..host import LayerSource
from ..snapshots import Snapshot
from .base import checkpoint
from .items import Item, Member

_BLOCK = 1 << 20


class _Place(NamedTuple):
    """Where in the archive of a layer a file's bytes are."""

    layer: int
    offset: int
    size: int


class _Slice:
    """A part of an archive as a stream."""

    def __init__(self, contents: LayerContents, place: _Place) -> None:
        self._contents = contents
        self._layer, self._offset, self._left = place

    def read(self, size: int = -1, /) -> bytes:
        size = self._left if size < 0 else min(size, self._left)
        if not size:
            return b""
        data = self._contents.payload(self._layer, self._offset, size)
        self._offset += size
        self._left -= size
        return data

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LayerContents:
    """The bytes of files in the layers of a snapshot; the key is a place."""

    def __init__(self, stack: tuple[Layer, ...], layers: LayerSource) -> None:
        self._stack = stack
        self._layers = layers

    def payload(self, number: int, offset: int, size: int) -> bytes:
        """Bytes of the archive of a layer."""
        return self._layers.read(self._stack[number], offset, size)

    def write(self, writer: LayerWriter, entry: Entry, key: Any) -> None:
        """Add the entry."""
        if entry.size <= _BLOCK:
            writer.add(entry, self.payload(*key) if entry.size else b"")
        else:
            writer.add(entry, self.open(key))

    def open(self, key: Any) -> BinaryIO:
        """The content."""
        return cast("BinaryIO", _Slice(self, key))


def tree_of(snapshot: Snapshot, layers: LayerSource) -> LayerTree:
    """The merged view of a snapshot whose layers are in the store (blocking)."""
    contents = LayerContents(snapshot.layers, layers)
    return LayerTree([layers.index(layer) for layer in snapshot.layers], contents.payload)


class StepFiles:
    """Selects from the result of a step; blocking."""

    def __init__(self, snapshot: Snapshot, layers: LayerSource) -> None:
        self.tree = tree_of(snapshot, layers)
        self._contents = LayerContents(snapshot.layers, layers)

    def items(self, pattern: str, *, exclude: tuple[str, ...] = (), parents: bool = False) -> Iterator[Item]:
        """
        What a source path selects, in order.

        Raises:
            MissingSource: a path without wildcards that is not there.
        """
        if parents:
            yield from self._with_parents(pattern, exclude)
            return
        excluded = IgnoreMatcher(exclude) if exclude else None
        path = normalised(pattern)
        for found in self._matches(path) if has_magic(path) else [path]:
            real = self._followed(found)
            if real is None:
                raise self._missing(found)
            name = posixpath.basename(found)
            entry = self.tree.lookup(real)
            if entry is not None and entry.kind is not Kind.DIRECTORY:
                if excluded is None or not excluded.is_ignored(name):
                    yield Item(name, False, (self._member(real, "", {}),))
            else:
                yield Item(name, True, self._below(real, excluded))

    def _with_parents(self, pattern: str, exclude: tuple[str, ...]) -> Iterator[Item]:
        above, pivot, rest = pattern.partition("/./")
        if not pivot:
            above, rest = "", pattern
        rest = normalised(rest)
        if not has_magic(pattern) and self._followed(normalised(f"{above}/{rest}")) is None:
            raise self._missing(normalised(f"{above}/{rest}"))
        if not has_magic(pattern):
            start = self._followed(normalised(above)) or ""
            refuse_links(normalised(f"{start}/{rest}"), self._followed)
        excluded = IgnoreMatcher(("**", f"!{rest or '**'}", *exclude))
        above = normalised(above)
        for found in self._matches(above) if has_magic(above) else [above]:
            real = self._followed(found)
            if real is not None and self._is_directory(real):
                yield Item("", True, self._below(real, excluded))

    def _matches(self, path: str) -> list[str]:
        literal, components = split_magic(path)
        try:
            for component in components:
                match_wildcard(component, "")  # a malformed one is an error whether or not it meets a name
        except InvalidPattern as problem:
            raise BuildError(problem.message) from problem
        start = self._followed(literal)
        if start is None:
            return []
        prefix = f"{literal}/" if literal else ""
        return [prefix + found for found in self._glob(start, components)]

    def _glob(self, directory: str, components: list[str]) -> Iterator[str]:
        if not self._is_directory(directory):
            return
        for name in self.tree.listdir(directory):
            if not match_wildcard(components[0], name):
                continue
            below = f"{directory}/{name}" if directory else name
            if len(components) == 1:
                yield name
            elif self._is_directory(below):
                for found in self._glob(below, components[1:]):
                    yield f"{name}/{found}"

    def _is_directory(self, path: str) -> bool:
        entry = self.tree.lookup(path)
        return entry is not None and entry.kind is Kind.DIRECTORY

    def _followed(self, path: str) -> str | None:
        try:
            real = self.tree.resolve(path)
        except ImageError:
            return None
        return real if self.tree.exists(real) else None

    def _below(self, real: str, excluded: IgnoreMatcher | None) -> Iterator[Member]:
        """A directory and everything in it; an excluded directory only if something below it is not."""
        first_names: dict[tuple[int, int], str] = {}
        strip = len(real) + 1 if real else 0
        held_back: list[Member] = []
        for entry in self.tree.walk(real):
            name = entry.path[strip:]
            while held_back and not name.startswith(f"{held_back[-1].entry.path}/"):
                held_back.pop()
            if excluded is not None and name and excluded.is_ignored(name):
                if entry.kind is Kind.DIRECTORY and excluded.may_reinclude_below(name):
                    held_back.append(self._member(entry.path, name, first_names))
                continue
            yield from held_back
            held_back.clear()
            yield self._member(entry.path, name, first_names)

    def _member(self, path: str, name: str, first_names: dict[tuple[int, int], str]) -> Member:
        place = self.tree.where(path)
        if place is None:
            raise NotFound(f"the image has no /{path}")
        number, entry, offset = place
        entry = entry._replace(path=name)
        if entry.kind is not Kind.FILE:
            return Member(entry)
        first = first_names.setdefault((number, offset), name)
        if first != name:
            return Member(entry._replace(kind=Kind.HARDLINK, size=0, link=first))
        return Member(entry, self._contents, _Place(number, offset, entry.size))

    def _missing(self, path: str) -> MissingSource:
        parent, _, name = path.rpartition("/")
        try:
            near = nearest(name, self.tree.listdir(parent))
        except ImageError:
            near = None
        hint = f"did you mean /{posixpath.join(parent, near)}?" if near else None
        return MissingSource(f"/{path} is not in the stage or image that it is copied from", hint=hint)


def digest_items(items: Iterable[Item]) -> Digest:
    """The digest of everything selected, each part framed (blocking)."""
    hasher = Hasher()

    def frame(value: object) -> None:
        data = jsonbytes.encode_sorted(value)
        hasher.update(b"%d:" % len(data) + data)

    for item in items:
        frame([item.name, item.is_directory])
        for entry, contents, key in item.each():
            checkpoint()
            path, kind, mode, uid, gid, _, size, link, xattrs, *device = entry
            attributes = [[name, value.hex()] for name, value in xattrs]
            frame([path, int(kind), mode, uid, gid, size, link, attributes, device])
            if contents is not None:
                with contents.open(key) as stream:
                    while data := stream.read(_BLOCK):
                        hasher.update(data)
    return hasher.digest()
