"""
The merged view of a stack of layers, from their indexes alone.

Nothing is unpacked and nothing merged beforehand: a lookup asks the layers from the top down until one has
the path or hides it. So making a tree costs next to nothing, and a lookup a few microseconds per layer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

from ..errors import ImageError, NotFound
from .entry import Entry, Kind
from .index import LayerIndex
from .pathsafe import ancestors, parent_of, shown

MAX_LINKS = 255
_NOTHING: frozenset[str] = frozenset()


class LayerTree:
    """
    What a sandbox on these layers would see. Paths are relative to the root; "" is the root.

    Unless said otherwise, symlinks in the parents of a path are followed inside the root, as the kernel would
    after chroot, and its last component is not.

    Args:
        indexes: of the layers, base first.
        open_payload: returns ``size`` bytes at ``offset`` of the uncompressed archive of the numbered layer.
    """

    def __init__(
        self, indexes: Sequence[LayerIndex], open_payload: Callable[[int, int, int], bytes] | None = None
    ) -> None:
        self._layers = [_Layer(number, index) for number, index in enumerate(indexes)][::-1]
        self._open_payload = open_payload
        self._directories = {"": ""}

    def lookup(self, path: str) -> Entry | None:
        """The entry of a path; None where there is nothing."""
        place = self.where(path)
        return place[1] if place is not None else None

    def exists(self, path: str) -> bool:
        """Whether there is anything at the path, be it a symlink that leads nowhere."""
        return self.where(path) is not None

    def where(self, path: str) -> tuple[int, Entry, int] | None:
        """
        The number of the layer that a path comes from, its entry and the offset of its content; None for
        nothing.

        Names of the same inode have the same number and offset. A directory without an entry has the number
        -1.
        """
        real = self._real(path, follow_last=False)
        return None if real is None else self._find(real)

    def resolve(self, path: str, *, follow_last: bool = True) -> str:
        """
        The path without symlinks; what is not there is taken as it stands.

        Raises:
            ImageError: the links go in a circle, or a parent is no directory.
        """
        return self._walk(path, follow_last=follow_last, lenient=True)

    def listdir(self, path: str) -> list[str]:
        """
        The names in a directory, sorted.

        Raises:
            NotFound: there is no such directory.
        """
        real = self._real(path, follow_last=True)
        found = None if real is None else self._find(real)
        if real is None or found is None or found[1].kind is not Kind.DIRECTORY:
            raise NotFound(f"the image has no directory /{shown(path)}")
        return self._names(real)

    def walk(self, path: str = "") -> Iterator[Entry]:
        """
        The entry of a path and of everything below, parents before children, siblings sorted.

        Raises:
            NotFound: there is nothing at the path.
        """
        real = self._real(path, follow_last=False)
        start = None if real is None else self._find(real)
        if real is None or start is None:
            raise NotFound(f"the image has no /{shown(path)}")
        todo = [start[1]]
        while todo:
            entry = todo.pop()
            yield entry
            if entry.kind is Kind.DIRECTORY:
                prefix = entry.path + "/" if entry.path else ""
                below = [self._find(prefix + name) for name in reversed(self._names(entry.path))]
                todo += [found[1] for found in below if found is not None]

    def read(self, path: str, limit: int) -> bytes:
        """
        The content of a file, symlinks followed.

        Raises:
            NotFound: there is no such file.
            ImageError: it has more bytes than the limit.
        """
        real = self._real(path, follow_last=True)
        found = None if real is None else self._find(real)
        if found is None or found[1].kind is not Kind.FILE:
            raise NotFound(f"the image has no file /{shown(path)}")
        number, entry, offset = found
        if entry.size > limit:
            raise ImageError(
                f"/{shown(path)} has {entry.size} bytes, more than the {limit} that are read here"
            )
        if not entry.size:
            return b""
        if self._open_payload is None:
            raise ImageError("this view of the image has no access to the content of files")
        return self._open_payload(number, offset, entry.size)

    def _real(self, path: str, *, follow_last: bool) -> str | None:
        """Like `resolve`; None if there can be nothing at the path."""
        parent, _, name = path.rpartition("/")
        if follow_last or name in ("", ".", ".."):
            try:
                return self._walk(path, follow_last=follow_last, lenient=False)
            except ImageError:
                return None
        directory = self._directories.get(parent)
        if directory is None:
            directory = self._real(parent, follow_last=True)
            if directory is None:
                return None
            found = self._find(directory)
            if found is None or found[1].kind is not Kind.DIRECTORY:
                return None
            self._directories[parent] = directory
        return f"{directory}/{name}" if directory else name

    def _walk(self, path: str, *, follow_last: bool, lenient: bool) -> str:
        here = ""
        links = 0
        todo = _parts(path)
        while todo:
            part = todo.pop()
            if part == "..":
                here = parent_of(here)
                continue
            step = f"{here}/{part}" if here else part
            if not todo and not follow_last:
                return step
            found = self._find(step)
            if found is None:
                if todo and not lenient:
                    raise NotFound(f"the image has no /{shown(step)}")
            elif found[1].kind is Kind.SYMLINK:
                links += 1
                if links > MAX_LINKS:
                    raise ImageError(f"/{shown(path)}: too many symlinks on the way to it")
                target = found[1].link
                if target.startswith("/"):
                    here = ""
                todo += _parts(target)
                continue
            elif todo and found[1].kind is not Kind.DIRECTORY:
                raise ImageError(f"/{shown(path)}: /{shown(step)} is not a directory")
            here = step
        return here

    def _find(self, real: str) -> tuple[int, Entry, int] | None:
        """What there is at a path without symlinks in its parents."""
        above = ancestors(real)
        implied = False
        for layer in self._layers:
            row = layer.rows.get(real)
            if row is not None and (not implied or layer.index.is_directory(row)):
                return layer.number, layer.index.entry(row), layer.index.offset(row)
            implied = implied or real in layer.index.implied
            if row is not None or layer.hides(real, above):
                break
        if implied or not real:
            return -1, Entry(real, Kind.DIRECTORY, 0o755), 0
        return None

    def _names(self, real: str) -> list[str]:
        """The names in a directory that is there."""
        above = ancestors(real)
        names: set[str] = set()
        gone: set[str] = set()
        for layer in self._layers:
            names |= layer.children.get(real, _NOTHING) - gone
            gone |= layer.gone.get(real, _NOTHING)
            row = layer.rows.get(real)
            if layer.hides(real, above) or (row is not None and not layer.index.is_directory(row)):
                break
        return sorted(names)


class _Layer:
    """One index, arranged for lookups; what only listings need is made when one is asked for."""

    def __init__(self, number: int, index: LayerIndex) -> None:
        self.number = number
        self.index = index
        self.rows = dict(zip(index.paths, range(len(index.paths)), strict=True))

    @functools.cached_property
    def children(self) -> dict[str, set[str]]:
        """The names that the layer has in each directory."""
        children: dict[str, set[str]] = {}
        for paths in (self.index.paths, self.index.implied):
            for path in paths:
                parent, _, name = path.rpartition("/")
                if name:
                    children.setdefault(parent, set()).add(name)
        return children

    @functools.cached_property
    def gone(self) -> dict[str, set[str]]:
        """The names that the layer hides in each directory."""
        gone: dict[str, set[str]] = {}
        for path in self.index.hidden:
            parent, _, name = path.rpartition("/")
            gone.setdefault(parent, set()).add(name)
        return gone

    def hides(self, path: str, above: list[str]) -> bool:
        """Whether nothing of lower layers is seen at the path."""
        hidden = self.index.hidden
        if path in hidden:
            return True
        for directory in above:
            if directory in hidden:
                return True
            row = self.rows.get(directory)
            if row is not None and not self.index.is_directory(row):
                return True
        return False


def _parts(path: str) -> list[str]:
    """The components, last first."""
    return [part for part in path.split("/") if part not in ("", ".")][::-1]
