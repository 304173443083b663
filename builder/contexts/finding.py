"""
Finding what source paths name in a build context: wildcards, links, and everything below a directory.

Paths are relative to the context root, without ``.`` and ``..``; a path is "real" when no component of it is
a symbolic link. Links are followed inside the root only. Governing text: Go's path/filepath.Match.
"""

from __future__ import annotations

import posixpath
import re
import stat
from collections.abc import Callable, Iterator, Sequence

from dockerfile_grammar.ignorefile import IgnoreMatcher
from dockerfile_grammar.wildcards import match_wildcard

from ..errors import InvalidContext, MissingSource
from .folder import Folder, Node, is_marked
from .folderrecord import join_names
from .listing import Listing
from .parts import BLOCK, CHARACTER, DIRECTORY, FIFO, SYMLINK, Entry, Part
from .statcache import StatTable

_MOST_LINKS = 40
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


def refuse_links(path: str, followed: Callable[[str], str | None]) -> None:
    """
    Make sure that no directory above a path is a link: ``--parents`` keeps directories as they are.

    Args:
        path: something that is there.
        followed: gives the real path of a path.

    Raises:
        MissingSource: there is a link, below which nothing can be kept.
    """
    above, _, name = path.rpartition("/")
    real = followed(above)
    if real != above:
        raise MissingSource(
            f"{path} is below a symbolic link, which --parents does not follow",
            hint=f"name the real path, {real}/{name}" if real else None,
        )


class Finder:
    """
    Looks things up in a listing.

    Args:
        listing: the visible part of the context.
        table: what is known about files.
    """

    def __init__(self, listing: Listing, table: StatTable) -> None:
        self.listing = listing
        self.table = table
        self._with_xattrs = {path.rpartition("/")[0] for path in table.xattrs}

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
        folder = self.listing.folder(directory)
        last = len(components) == 1
        for name in folder.all_names() if last else folder.directories:
            if not match_wildcard(components[0], name):
                continue
            if last:
                yield name
                continue
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

    def single(self, path: str, node: Node) -> Part:
        """The part for a source that is one thing and no directory."""
        parent, _, name = path.rpartition("/")
        if stat.S_ISREG(node.mode):
            return self._few(parent, "", None, (name,), node.stamp)
        part = self._few(parent, "", None, (), b"")
        part.others = (self._other(path, "", node),)
        return part

    def below(self, directory: str, mode: int, excluded: IgnoreMatcher | None) -> Iterator[Part]:
        """
        A real directory and everything below it, parents before children, named relative to it.

        An excluded directory is there only when something below it is not excluded. Digests are filled in
        where the stat cache knows a whole directory.
        """
        folder = self.listing.folder(directory)
        yield self._part(directory, "", mode, folder, excluded)
        # Of each directory on the way those that are not visited yet, and excluded ones that may be needed.
        stack = [(directory, "", iter(folder.directories.items()))]
        waiting: list[Part] = []
        while stack:
            above, name_above, children = stack[-1]
            child, child_mode = next(children, (None, 0))
            if child is None:
                stack.pop()
                continue
            path = f"{above}/{child}" if above else child
            # The same value where both are the same.
            name = f"{name_above}/{child}" if directory and name_above else child if directory else path
            is_hidden = excluded is not None and excluded.is_ignored(name)
            if is_hidden and excluded is not None and not excluded.may_reinclude_below(name):
                continue
            folder = self.listing.folder(path)
            part = self._part(path, name, child_mode, folder, excluded)
            while waiting and not name.startswith(f"{waiting[-1].name}/"):
                waiting.pop()
            if is_hidden and not part.count and not part.others:
                waiting.append(part)
            else:
                yield from waiting
                waiting.clear()
                yield part
            stack.append((path, name, iter(folder.directories.items())))

    def _part(self, path: str, name: str, mode: int, folder: Folder, excluded: IgnoreMatcher | None) -> Part:
        top = Entry(path, name, DIRECTORY, stat.S_IMODE(mode), xattrs=folder.xattrs)
        path_prefix = f"{path}/" if path else ""
        prefix = f"{name}/" if name else ""
        others, part = folder.others, None
        if excluded is not None:
            others = {k: v for k, v in others.items() if not excluded.is_ignored(prefix + k)}
            files = [file for file in folder.files() if not excluded.is_ignored(prefix + file)]
            if len(files) < folder.count:
                part = self._few(
                    path, name, top, files, b"".join(folder.stamp(file) or b"" for file in files)
                )
                folder.forget()
        if part is None:
            part = Part(
                path=path,
                name=name,
                top=top,
                count=folder.count,
                names=folder.names,
                stamps=folder.stamps,
                is_whole=True,
                marked=folder.marked,
            )
            self._recognise(part, folder)
        part.others = tuple(self._other(path_prefix + k, prefix + k, v) for k, v in others.items())
        part.linked = folder.linked
        return part

    def _few(self, path: str, name: str, top: Entry | None, files: Sequence[str], stamps: bytes) -> Part:
        """A part of other files than all of a directory."""
        keep, joined = self.listing.spool.keep, join_names(files)
        return Part(
            path=path,
            name=name,
            top=top,
            count=len(files),
            names=keep(joined),
            stamps=keep(stamps),
            marked=is_marked(joined),
        )

    def _recognise(self, part: Part, folder: Folder) -> None:
        """Take the digests of a whole directory from the stat cache if nothing in it changed."""
        if folder.linked or part.path in self._with_xattrs:
            return
        same = self.table.folders.same(part.path, folder.names, folder.stamps)
        if same is not None:
            part.digests, part.group = same
        else:
            self.table.outdated(part.path)

    def _other(self, path: str, name: str, node: Node) -> Entry:
        """The entry of what is neither file nor directory."""
        kind = _KINDS[stat.S_IFMT(node.mode)]
        try:
            link = self.listing.directories.read_link(path) if kind == SYMLINK else ""
        except OSError as problem:
            raise InvalidContext(f"cannot read the link {path}: {problem.strerror}") from problem
        # Linux has no permissions on links; they always show 0777.
        mode = 0o777 if kind == SYMLINK else stat.S_IMODE(node.mode)
        rdev = node.rdev if kind in (CHARACTER, BLOCK) else 0
        return Entry(path, name, kind, mode, link=link, rdev=rdev)
