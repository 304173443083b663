"""
A layer in the making: what it will hold, seen together with the layers below.

Invariants: parents come before their children and a hardlink after its target; no path comes twice.
Directories of the layers below that get children are repeated with exactly the metadata they have, because
tools that unpack each layer by itself would otherwise make them anew with another mode and owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from oci_image.layer.entry import Entry, Kind
from oci_image.layer.whiteouts import PREFIX, opaque_mark_in
from oci_image.layer.write import LayerWriter

from ..earlier import Earlier
from ..errors import BuildError
from .groups import write_group
from .items import Contents, Group
from .names import LONGEST_OF_GROUP, SURELY_SHORT, check_name, has_marks
from .planned import Branched, Grouped, Planned

_MOST_LINKS = 40
_SET_GROUP_ID = 0o2000


class Below(Protocol):
    """What the layers below have."""

    def lookup(self, path: str) -> Entry | None:
        """The entry of a path, its last component not followed."""
        ...


class Draft:
    """
    What a step will write, path by path.

    Args:
        below: the layers below, already resolved: a tree.
        parent: makes the entry of a directory that comes to be because something is put below it.
        owned: whether `parent` gives it an owner that was asked for.
    """

    def __init__(self, below: Below, parent: Callable[[str], Entry], *, owned: bool = False) -> None:
        self._below = below
        self._parent = parent
        self._owned = owned
        self._planned: dict[str, Planned] = {}
        # The groups, each behind the entry that they follow.
        self._grouped: dict[str, Grouped] = {}
        # The branches, each behind the directory that it is below.
        self._branches: dict[str, Branched] = {}
        # The group that was searched last: its directory, and all names in it between zero bytes.
        self._searched: tuple[str | None, bytes] = (None, b"")
        self._removed: set[str] = set()
        self._settled: set[str] = {""}
        # Directories of which the layers below know nothing, so that there is nothing to look up in them.
        self._new: set[str] = set()
        self._links: dict[str, list[str]] = {}

    def look(self, path: str) -> Entry | None:
        """What is at a path, in the draft or below; links are not followed. "" is always a directory."""
        if self._grouped or self._branches:
            self._reveal(path)
        planned = self._planned.get(path)
        if planned is not None:
            return planned.entry
        if not path:
            return Entry("", Kind.DIRECTORY, 0o755)
        if path.rpartition("/")[0] in self._new:
            return None
        if self._removed and any(path.startswith(f"{removed}/") for removed in self._removed):
            return None
        return self._below.lookup(path)

    def is_directory(self, path: str) -> bool:
        """Whether there is a directory."""
        entry = self.look(path)
        return entry is not None and entry.kind is Kind.DIRECTORY

    def resolve(self, path: str, *, root: str = "") -> str:
        """
        The path with every symlink on the way and at its end followed, as a process confined to `root` would.

        Components that do not exist stay as they are.

        Raises:
            BuildError: the links go in a circle.
        """
        base = root.split("/") if root else []
        done = list(base)
        todo = [part for part in path.split("/") if part][::-1]
        links = 0
        while todo:
            part = todo.pop()
            if part == ".":
                continue
            if part == "..":
                if len(done) > len(base):
                    done.pop()
                continue
            here = "/".join((*done, part))
            entry = self.look(here)
            if entry is None or entry.kind is not Kind.SYMLINK:
                done.append(part)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise BuildError(f"too many levels of symbolic links: /{path}")
            if entry.link.startswith("/"):
                done = list(base)
            todo.extend([inner for inner in entry.link.split("/") if inner][::-1])
        return "/".join(done)

    def make_directories(self, path: str, *, owned: bool = False) -> None:
        """
        Let a directory and those above it be there; existing ones stay as they are.

        Args:
            path: of the directory, without links.
            owned: whether new ones keep the owner that `parent` gives, whatever group hands itself down.

        Raises:
            BuildError: there is something else on the way.
        """
        if path in self._settled:
            return
        here = ""
        for part in path.split("/"):
            here = f"{here}/{part}" if here else part
            if here in self._settled:
                continue
            found = self.look(here)
            if found is None:
                check_name(part, here)
                self._planned[here] = Planned(self._made(here, owned=owned))
                self._new.add(here)
            elif found.kind is not Kind.DIRECTORY:
                raise BuildError(f"cannot copy to non-directory: /{here}")
            elif here not in self._planned:
                self._planned[here] = Planned(found._replace(path=here))
            self._settled.add(here)

    def _made(self, path: str, *, owned: bool) -> Entry:
        """
        The entry of a directory that comes to be, in the directory that is there.

        As mkdir(2) has it, a set-group-ID directory hands this bit down, and its group to who asked for none.
        """
        entry = self._parent(path)
        above = self.look(path.rpartition("/")[0])
        if above is None or not above.mode & _SET_GROUP_ID:
            return entry
        entry = entry._replace(mode=entry.mode | _SET_GROUP_ID)
        return entry if self._owned or owned else entry._replace(gid=above.gid)

    def put(self, entry: Entry, contents: Contents | None = None, key: Any = None) -> None:
        """
        Put an entry where it says, over whatever was there; directories above it come to be.

        Raises:
            BuildError: its parent is no directory, or its name cannot be in a layer.
        """
        path = entry.path
        parent, _, name = path.rpartition("/")
        if parent not in self._settled:
            self.make_directories(parent)
        if len(path) > SURELY_SHORT or name.startswith(PREFIX):
            check_name(name, path)
        if entry.kind is Kind.DIRECTORY:
            self._put_directory(entry)
            return
        if self._grouped or self._branches:
            self._reveal(path)
        old = self._planned.get(path)
        if old is not None or path in self._settled:
            self._give_way(path)
        elif self.is_directory(path):
            self._removed.add(path)
        if entry.kind is Kind.HARDLINK:
            self._links.setdefault(entry.link, []).append(path)
        self._planned[path] = Planned(entry, contents, key)

    def put_group(self, directory: str, group: Group, style: Callable[[Entry], Entry]) -> bool:
        """
        Put the files of a group into a directory; whether that was possible.

        It is when the directory was just made, and no name has a meaning of its own in layers.
        """
        if not self.is_bare(directory):
            return False
        if len(directory) > LONGEST_OF_GROUP:
            return False  # names in it may be too long
        if has_marks(group.part):
            return False
        self._grouped[directory] = Grouped(directory, group, style)
        return True

    def is_bare(self, directory: str) -> bool:
        """Whether a directory was just made, so that there is nothing in it, and nothing behind it."""
        return (
            directory in self._new
            and next(reversed(self._planned)) == directory
            and directory not in self._grouped
            and directory not in self._branches
        )

    def put_branch(self, branched: Branched) -> bool:
        """
        Put everything below a directory; whether that was possible.

        It is under the conditions of `put_group`.
        """
        directory = branched.directory
        if not self.is_bare(directory) or self._removed:
            return False
        store = branched.branch.parts.store
        if store.marked or len(branched.target) + 1 + store.longest > LONGEST_OF_GROUP:
            return False
        self._branches[directory] = branched
        return True

    def planned(self, path: str) -> Entry | None:
        """What the draft itself has at a path."""
        if self._grouped or self._branches:
            self._reveal(path)
        planned = self._planned.get(path)
        return None if planned is None else planned.entry

    def write(
        self, writer: LayerWriter, checkpoint: Callable[[], None], earlier: Earlier | None = None
    ) -> None:
        """Write everything, calling `checkpoint` now and then; what an earlier layer has is not read."""
        for count, one in enumerate(self._each()):
            if isinstance(one, Grouped):
                write_group(writer, one.directory, one.group, one.style, earlier)
            elif one.contents is None:
                writer.add(one.entry)
            else:
                one.contents.write(writer, one.entry, one.key)
            if not count % 64:
                checkpoint()

    def _each(self) -> Iterator[Planned | Grouped]:
        """Everything in the order in which it is written."""
        for path, planned in self._planned.items():
            yield planned
            if path in self._grouped:
                yield self._grouped[path]
            if path in self._branches:
                yield from self._branches[path].each()

    def _reveal(self, path: str) -> None:
        """Let a path that is asked about not be hidden in a group."""
        directory, _, name = path.rpartition("/")
        above = directory if self._branches else ""
        while above:
            if above in self._branches:
                self._unfold()
                break
            above = above.rpartition("/")[0]
        grouped = self._grouped.get(directory)
        if grouped is None:
            return
        if directory != self._searched[0]:
            self._searched = directory, b"\0%s\0" % grouped.group.part.names.read()
        if b"\0%s\0" % name.encode("utf-8", "surrogateescape") in self._searched[1]:
            self._scatter()

    def _unfold(self) -> None:
        """Make branches into single directories, what is odd in them, and groups."""
        branches, self._branches = self._branches, {}
        planned, self._planned = self._planned, {}
        for path, plan in planned.items():
            self._planned[path] = plan
            for one in branches[path].each() if path in branches else ():
                if isinstance(one, Grouped):
                    self._grouped[one.directory] = one
                    continue
                entry = one.entry
                self._planned[entry.path] = one
                if entry.kind is Kind.DIRECTORY:
                    self._settled.add(entry.path)
                    self._new.add(entry.path)
                elif entry.kind is Kind.HARDLINK:
                    self._links.setdefault(entry.link, []).append(entry.path)

    def _scatter(self) -> None:
        """Make groups into single files, in the order in which they would be written."""
        grouped, self._grouped = self._grouped, {}
        self._searched = (None, b"")
        planned, self._planned = self._planned, {}
        for path, plan in planned.items():
            self._planned[path] = plan
            if path in grouped:
                self._planned.update((one.entry.path, one) for one in grouped[path].planned())

    def _put_directory(self, entry: Entry) -> None:
        path = entry.path
        old = self.look(path)
        if old is None:
            self._new.add(path)
        elif old.kind is not Kind.DIRECTORY and path in self._planned:
            self._give_way(path)
        self._planned[path] = Planned(entry)
        self._settled.add(path)
        if path in self._removed:
            # It was a directory, then something else, and is one again: nothing of the first is in it.
            mark = opaque_mark_in(path)
            self._planned[mark] = Planned(Entry(mark, Kind.FILE, 0, mtime=entry.mtime))

    def _give_way(self, path: str) -> None:
        """Remove what the draft has at and below a path; links to it keep its content."""
        if self._branches:
            self._unfold()
        if self._grouped:
            self._scatter()
        below = f"{path}/"
        gone = [path] if path in self._planned else []
        if path in self._settled:
            gone += [other for other in self._planned if other.startswith(below)]
            self._settled = {
                other for other in self._settled if other != path and not other.startswith(below)
            }
            self._removed.add(path)
        for other in gone:
            old = self._planned.pop(other)
            heirs = [heir for heir in self._links.pop(other, []) if heir in self._planned]
            if old.entry.kind is Kind.FILE and heirs:
                self._inherit(old, heirs)

    def _inherit(self, old: Planned, heirs: list[str]) -> None:
        first, *others = heirs
        self._planned.pop(first)
        self._planned[first] = old._replace(entry=old.entry._replace(path=first))
        for other in others:
            link = self._planned.pop(other)
            self._planned[other] = link._replace(entry=link.entry._replace(link=first))
        self._links[first] = others
