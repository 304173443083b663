"""
Where the members of one layer belong: the rules that extraction and the merged view share.

A layer means what it would mean if it were unpacked alone into an empty directory that is then laid over the
layers below. So only its own symlinks lead its own members elsewhere (always inside the root); a symlink of a
lower layer in the place of a parent is covered by a directory. Members without an entry for their parent
imply one. Of members with the same name the last counts. A whiteout never hides what its own layer brings,
wherever it stands.
"""

from __future__ import annotations

from ..errors import UnsafeLayer
from .entry import Entry, Kind
from .pathsafe import parent_of, shown
from .whiteouts import OPAQUE, PREFIX, is_aufs_metadata, marked_path

MAX_LINKS = 40


class Placement:
    """
    Takes the members of a layer in their order and says where each goes.

    ``kinds`` has what the layer holds so far; ``implied`` the directories among it that have no entry;
    ``hidden`` the paths at and below which nothing of lower layers is seen.
    """

    def __init__(self) -> None:
        self.kinds: dict[str, Kind] = {"": Kind.DIRECTORY}
        self.implied: set[str] = {""}
        self.hidden: set[str] = set()
        self._targets: dict[str, str] = {}

    def place(self, entry: Entry) -> str | None:
        """
        The path at which to put the entry; None for a whiteout or bookkeeping, of which nothing is left to be
        put.

        Raises:
            UnsafeLayer: a parent is no directory, the links go in a circle, or the name is reserved.
        """
        path, kind, *_ = entry
        if PREFIX in path and self._is_mark(path):
            return None
        parent, _, name = path.rpartition("/")
        kinds = self.kinds
        if kinds.get(parent) is not Kind.DIRECTORY:
            parent = self._directory(parent, path)
            path = f"{parent}/{name}" if parent else name
        before = kinds.get(path)
        if before is not None:
            self._replace(path, before, kind)
        kinds[path] = kind
        if kind is Kind.SYMLINK:
            self._targets[path] = entry.link
        elif kind is Kind.CHARACTER and not entry.major and not entry.minor:
            raise UnsafeLayer(f"{shown(path)}: overlayfs takes a character device 0:0 for a removed file")
        return path

    def target(self, entry: Entry, path: str) -> str:
        """
        The path in this layer that a hardlink, which was placed at a path, stands for.

        Raises:
            UnsafeLayer: this layer does not hold it (so far), or it is a directory or the hardlink itself.
        """
        parent, slash, name = entry.link.rpartition("/")
        if self.kinds.get(parent) is not Kind.DIRECTORY:
            parent = self._directory(parent, entry.path)
            slash = "/" if parent else ""
        target = f"{parent}{slash}{name}"
        kind = self.kinds.get(target)
        if target == path:
            raise UnsafeLayer(f"{shown(path)}: a hardlink to itself")
        if kind is None or kind is Kind.DIRECTORY:
            reason = "is a directory" if kind is Kind.DIRECTORY else "is not in this layer before it"
            raise UnsafeLayer(f"{shown(entry.path)}: the hardlink's target {shown(entry.link)} {reason}")
        return target

    def _is_mark(self, path: str) -> bool:
        if is_aufs_metadata(path):
            return True
        marked = marked_path(path)
        if marked is None:
            return False
        if path.endswith(OPAQUE):
            self.hidden.add(self._directory(marked, path))
            return True
        parent = self._directory(parent_of(marked), path)
        name = marked.rpartition("/")[2]
        self.hidden.add(f"{parent}/{name}" if parent else name)
        return True

    def _replace(self, path: str, before: Kind, kind: Kind) -> None:
        if not path and kind is not Kind.DIRECTORY:
            raise UnsafeLayer("the root of a layer must be a directory")
        self.implied.discard(path)
        self._targets.pop(path, None)
        if before is Kind.DIRECTORY and kind is not Kind.DIRECTORY:
            below = path + "/"
            for other in [other for other in self.kinds if other.startswith(below)]:
                del self.kinds[other]
                self._targets.pop(other, None)
                self.implied.discard(other)
            self.hidden = {hidden for hidden in self.hidden if not hidden.startswith(below)}
        elif before is not Kind.DIRECTORY and kind is Kind.DIRECTORY:
            # What was below went away with the first of the two.
            self.hidden.add(path)

    def _directory(self, path: str, member: str) -> str:
        """Follow the layer's own links to a directory, which comes to be if it is not there."""
        here = ""
        links = 0
        todo = path.split("/")[::-1]
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                here = parent_of(here)
                continue
            step = f"{here}/{part}" if here else part
            kind = self.kinds.get(step)
            if kind is Kind.SYMLINK:
                links += 1
                if links > MAX_LINKS:
                    raise UnsafeLayer(f"{shown(member)}: too many symlinks on the way to it")
                target = self._targets[step]
                if target.startswith("/"):
                    here = ""
                todo.extend(target.split("/")[::-1])
                continue
            if kind is None:
                if part.startswith(PREFIX):
                    raise UnsafeLayer(f"{shown(member)}: a directory may not be named like a whiteout")
                self.kinds[step] = Kind.DIRECTORY
                self.implied.add(step)
            elif kind is not Kind.DIRECTORY:
                raise UnsafeLayer(f"{shown(member)}: its parent {shown(step)} is not a directory")
            here = step
        return here
