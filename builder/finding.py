"""
Finding what source paths name in a build context: wildcards, links, and everything below a directory.

Paths are relative to the context root, without ``.`` and ``..``; a path is "real" when no component of it is
a symbolic link. Links are followed inside the root only. Governing text: Go's path/filepath.Match.
"""

from __future__ import annotations

import posixpath
import re
import stat
from collections.abc import Iterator

from dockerfile_grammar.ignorefile import IgnoreMatcher
from dockerfile_grammar.wildcards import match_wildcard

from .errors import InvalidContext
from .listing import Listing, Node
from .selection import BLOCK, CHARACTER, DIRECTORY, FIFO, FILE, SYMLINK, Entry
from .statcache import StatTable

_MOST_LINKS = 40
_TYPE_BITS = 0o170000
_KINDS = {
    stat.S_IFLNK: SYMLINK,
    stat.S_IFIFO: FIFO,
    stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK,
}


def normalised(path: str) -> str:
    """A source path from the root, cleaned, without leading slash; ``..`` stops at the root."""
    return posixpath.normpath("/" + path).lstrip("/")


def has_magic(path: str) -> bool:
    """Whether a source path has to be matched, because of an unescaped ``*``, ``?`` or ``[``."""
    escaped = False
    for char in path:
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char in "*?[":
            return True
    return False


def split_magic(path: str) -> tuple[str, list[str]]:
    """The directory above the first component with a wildcard, unescaped, and the components from there."""
    components = path.split("/")
    first = next(i for i, component in enumerate(components) if has_magic(component))
    return unescaped("/".join(components[:first])), components[first:]


def unescaped(path: str) -> str:
    """A pattern without wildcards as the path that it matches."""
    return re.sub(r"\\(.)", r"\1", path, flags=re.DOTALL)


class Finder:
    """
    Looks things up in a listing.

    Args:
        listing: the visible part of the context.
        table: records of files; complete ones go into entries at once.
    """

    def __init__(self, listing: Listing, table: StatTable) -> None:
        self.listing = listing
        self.table = table

    def matches(self, path: str) -> list[str]:
        """
        The paths that a pattern with wildcards matches, in order.

        Raises:
            InvalidPattern: it is malformed, whether or not it could match something.
        """
        literal, components = split_magic(path)
        for component in components:
            match_wildcard(component, "")
        start = self.followed(literal)
        if start is None:
            return []
        prefix = f"{literal}/" if literal else ""
        return [prefix + found for found in self._glob(start, components)]

    def _glob(self, directory: str, components: list[str]) -> Iterator[str]:
        if directory:
            node = self.listing.node(directory)
            if node is None or not stat.S_ISDIR(node.mode):
                return
        for name, child in self.listing.children(directory).items():
            if not match_wildcard(components[0], name):
                continue
            if len(components) == 1:
                yield name
            elif stat.S_ISDIR(child.mode):
                below = f"{directory}/{name}" if directory else name
                for found in self._glob(below, components[1:]):
                    yield f"{name}/{found}"

    def followed(self, path: str) -> str | None:
        """The real path of what a path names; None if there is nothing (or a loop of links)."""
        todo = path.split("/")[::-1]
        real: list[str] = []
        links = 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                del real[-1:]
                continue
            here = "/".join([*real, part])
            node = self.listing.node(here)
            if node is None:
                return None
            if not stat.S_ISLNK(node.mode):
                if not stat.S_ISDIR(node.mode) and any(todo):
                    return None
                real.append(part)
                continue
            links += 1
            if links > _MOST_LINKS:
                return None
            target = self.listing.directories.read_link(here)
            if target.startswith("/"):
                real.clear()
            todo.extend(target.split("/")[::-1])
        return "/".join(real)

    def entry(self, path: str, name: str, node: Node) -> Entry:
        """The entry of one thing by itself, without digest."""
        if stat.S_ISREG(node.mode):
            return Entry(path, name, FILE, stat.S_IMODE(node.mode), node.size, stamp=node.stamp)
        if stat.S_ISDIR(node.mode):
            return self.directory_entry(path, name, stat.S_IMODE(node.mode))
        kind = _KINDS[stat.S_IFMT(node.mode)]
        try:
            link = self.listing.directories.read_link(path) if kind == SYMLINK else ""
        except OSError as problem:
            raise InvalidContext(f"cannot read the link {path}: {problem.strerror}") from problem
        # Linux has no permissions on links; they always show 0777.
        mode = 0o777 if kind == SYMLINK else stat.S_IMODE(node.mode)
        rdev = node.rdev if kind in (CHARACTER, BLOCK) else 0
        return Entry(path, name, kind, mode, link=link, rdev=rdev)

    def directory_entry(self, path: str, name: str, mode: int) -> Entry:
        """The entry of a directory, which is read for its extended attributes."""
        self.listing.children(path)
        return Entry(path, name, DIRECTORY, mode, xattrs=self.listing.directory_xattrs.get(path, ()))

    def below(self, directory: str, excluded: IgnoreMatcher | None) -> list[Entry]:
        """
        Everything below a real directory, parents before children, named relative to it.

        An excluded directory is there only when something below it is not excluded.
        """
        entries: list[Entry] = []
        self._collect(f"{directory}/" if directory else "", directory, excluded, entries)
        return entries

    def _collect(
        self, path_prefix: str, directory: str, excluded: IgnoreMatcher | None, entries: list[Entry]
    ) -> None:
        records, xattrs = self.table.records, self.table.xattrs
        make = tuple.__new__
        strip = len(path_prefix)
        stack = [(directory, iter(self.listing.children(directory).values()), -1)]
        while stack:
            above, nodes, mark = stack[-1]
            prefix = f"{above}/" if above else ""
            for node in nodes:
                base, mode, size, stamp, same, _ = node
                path = prefix + base
                name = path[strip:] if strip else path
                hidden = excluded is not None and excluded.is_ignored(name)
                if mode & _TYPE_BITS == stat.S_IFDIR:
                    if hidden and not (excluded and excluded.may_reinclude_below(name)):
                        continue
                    entries.append(self.directory_entry(path, name, stat.S_IMODE(mode)))
                    children = iter(self.listing.children(path).values())
                    stack.append((path, children, len(entries) if hidden else -1))
                    break
                if hidden:
                    continue
                if mode & _TYPE_BITS != stat.S_IFREG:
                    entries.append(self.entry(path, name, node))
                    continue
                record = records.get(path)
                # Files with attributes or several names are completed later, one by one.
                if record is not None and same is None and record.startswith(stamp) and path not in xattrs:
                    stamp = record
                entries.append(make(Entry, (path, name, FILE, mode & 0o7777, size, "", (), 0, stamp, None)))
            else:
                stack.pop()
                if mark == len(entries):  # an excluded directory that turned out to have nothing
                    entries.pop()
