"""What a draft holds for a path, for all files of a directory, or for everything below one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from oci_image.layer.entry import Entry, Kind

from ..contexts.parts import Entry as ContextEntry
from .items import Branch, Contents, ContextContents, Group, context_member


class Planned(NamedTuple):
    """An entry, and for a file where its bytes come from."""

    entry: Entry
    contents: Contents | None = None
    key: Any = None


class Grouped(NamedTuple):
    """All files that the draft has in a directory, while nothing else is asked about any of them."""

    directory: str
    group: Group
    style: Callable[[Entry], Entry]

    def planned(self) -> Iterator[Planned]:
        """The same files one by one."""
        prefix = f"{self.directory}/" if self.directory else ""
        for entry, contents, key in self.group.members():
            path = prefix + entry.path.rpartition("/")[2]
            yield Planned(self.style(entry._replace(path=path)), contents, key)


class Branched(NamedTuple):
    """
    Everything that the draft has below a directory, while nothing is asked about any of it.

    `target` is where the item goes that the branch is of, `directory` where the branch itself goes.
    """

    directory: str
    target: str
    branch: Branch
    style: Callable[[Entry], Entry]

    def each(self) -> Iterator[Planned | Grouped]:
        """The same in order, each group behind the directory that it is in."""
        prefix = f"{self.target}/" if self.target else ""
        style, branch = self.style, self.branch
        contents, is_first = ContextContents(branch.files), True
        for part in branch.parts:
            directory = prefix + part.name if part.name else self.target
            if not is_first and part.top is not None:
                top = Entry(
                    directory, Kind.DIRECTORY, part.top.mode, 0, 0, branch.epoch, 0, "", part.top.xattrs
                )
                yield Planned(style(top))
            is_first = False
            others: Iterable[ContextEntry] = part.others
            if part.odd:
                others = (*part.file_entries(), *others)
            elif part.count:
                yield Grouped(directory, Group(part.name, part, branch.epoch, branch.files), style)
            for other in others:
                entry, its_contents, key = context_member(other, branch.epoch, contents)
                link = prefix + entry.link if entry.kind is Kind.HARDLINK else entry.link
                yield Planned(style(entry._replace(path=prefix + entry.path, link=link)), its_contents, key)
