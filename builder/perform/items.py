"""
What a COPY or ADD copies, whichever kind of source it comes from.

A source gives items: single files, and directories with everything in them. Members are named relative to
their item ("" is the item itself), parents before children; a hardlink names an earlier member of the same
item.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple, Protocol

from oci_image.layer.entry import Entry, Kind
from oci_image.layer.write import LayerWriter
from oci_image.store.base import BlobStore

from ..contexts.context import BuildContext, ContextFiles
from ..contexts.parts import BLOCK, CHARACTER, DIRECTORY, FIFO, FILE, SYMLINK, Part
from ..contexts.parts import Entry as ContextEntry
from ..contexts.partstore import Parts
from ..ops import ContextSource, CopyFiles, FetchedSource, InlineSource

_KINDS = {
    FILE: Kind.FILE,
    DIRECTORY: Kind.DIRECTORY,
    SYMLINK: Kind.SYMLINK,
    FIFO: Kind.FIFO,
    CHARACTER: Kind.CHARACTER,
    BLOCK: Kind.BLOCK,
}


class Contents(Protocol):
    """Where the bytes of files come from; a key says which file's."""

    def write(self, writer: LayerWriter, entry: Entry, key: Any) -> None:
        """Add the entry with its bytes."""
        ...

    def open(self, key: Any) -> BinaryIO:
        """The bytes as a stream, which the caller closes."""
        ...


class Member(NamedTuple):
    """One path of an item; the entry's path is the name relative to the item."""

    entry: Entry
    contents: Contents | None = None
    key: Any = None


class Group(NamedTuple):
    """
    The ordinary files of one directory of an item, which are not made into members before they are written.

    There may be very many of them, and most layers hold them as they are.
    """

    directory: str
    """Its name in the item, "" for the item itself."""
    part: Part
    epoch: int
    files: ContextFiles

    def members(self) -> Iterator[Member]:
        """The same files one by one."""
        contents = ContextContents(self.files)
        return (context_member(entry, self.epoch, contents) for entry in self.part.file_entries())


class Branch(NamedTuple):
    """
    A directory of an item from a build context with everything below it, made when it is asked for.

    There may be very many directories.
    """

    parts: Parts
    """The first one is of the directory itself."""
    epoch: int
    files: ContextFiles

    def whole(self) -> Iterator[Member | Group]:
        """The directory, and what is in it and below."""
        return (member for part in self.parts for member in self.members(part))

    def members(self, part: Part) -> Iterator[Member | Group]:
        """The members of one part, the directory itself first."""
        contents = ContextContents(self.files)
        if part.top is None or part.odd or not part.count:
            yield from (context_member(entry, self.epoch, contents) for entry in part.entries())
            return
        yield context_member(part.top, self.epoch, contents)
        yield Group(part.name, part, self.epoch, self.files)
        yield from (context_member(entry, self.epoch, contents) for entry in part.others)

    def below(self, number: int) -> Branch:
        """The branch of the directory whose part has the number."""
        name, last = self.parts[number].name, len(self.parts)
        if name:
            prefix = f"{name}/"
            below = enumerate(self.parts.behind(number), number + 1)
            last = next((other for other, part in below if not part.name.startswith(prefix)), last)
        return self._replace(parts=self.parts.some(number, last))


class Item(NamedTuple):
    """
    One thing to copy: its name, whether it is a directory, and its members, itself first.

    A directory from a build context has a `branch` of the same members, too.
    """

    name: str
    is_directory: bool
    members: Iterable[Member | Group]
    branch: Branch | None = None

    def each(self) -> Iterator[Member]:
        """The members one by one."""
        for member in self.members:
            if isinstance(member, Group):
                yield from member.members()
            else:
                yield member


class InlineContents:
    """The key is the content."""

    def write(self, writer: LayerWriter, entry: Entry, key: Any) -> None:
        """Add the entry."""
        writer.add(entry, key)

    def open(self, key: Any) -> BinaryIO:
        """The content."""
        return io.BytesIO(key)


class ContextContents:
    """The key is what was selected; fails when the file is not what it was at the parts."""

    def __init__(self, files: ContextFiles) -> None:
        self._files = files

    def write(self, writer: LayerWriter, entry: Entry, key: Any) -> None:
        """Add the entry."""
        descriptor = self._files.open(key)
        try:
            writer.add(entry, descriptor)
            self._files.check(descriptor, key)
        finally:
            os.close(descriptor)

    def open(self, key: Any) -> BinaryIO:
        """The content."""
        return os.fdopen(self._files.open(key), "rb")


class BlobContents:
    """The key is a digest."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    def write(self, writer: LayerWriter, entry: Entry, key: Any) -> None:
        """Add the entry."""
        with self._blobs.open(key) as stream:
            writer.add(entry, stream)

    def open(self, key: Any) -> BinaryIO:
        """The content."""
        return self._blobs.open(key)


def context_items(
    source: ContextSource, op: CopyFiles, context: BuildContext, files: ContextFiles
) -> Iterator[Item]:
    """
    What is selected from a build context, owned by root.

    Raises:
        MissingSource, InvalidContext: it is not there, or cannot be read.
    """
    chosen = context.select(source.pattern, exclude=op.exclude, parents=op.parents)
    for selected in chosen.sources:
        branch = Branch(selected.parts, op.epoch, files)
        yield Item(selected.name, selected.is_dir, branch.whole(), branch if selected.is_dir else None)


def context_member(selected: ContextEntry, epoch: int, contents: ContextContents) -> Member:
    """What was selected, owned by root."""
    _, name, kind, mode, size, link, xattrs, rdev, _, same_as = selected
    if kind == FILE:
        if same_as is not None:
            return Member(Entry(name, Kind.HARDLINK, mode, 0, 0, epoch, 0, same_as, xattrs))
        return Member(Entry(name, Kind.FILE, mode, 0, 0, epoch, size, "", xattrs), contents, selected)
    device = (os.major(rdev), os.minor(rdev))
    return Member(Entry(name, _KINDS[kind], mode, 0, 0, epoch, 0, link, xattrs, *device))


def inline_item(source: InlineSource, epoch: int) -> Item:
    """The file of a heredoc."""
    entry = Entry("", Kind.FILE, 0o644, mtime=epoch, size=len(source.content))
    return Item(source.name, False, (Member(entry, InlineContents(), source.content),))


def fetched_item(source: FetchedSource, epoch: int, blobs: BlobStore) -> Item:
    """A file that was fetched; readable by its owner only, as the Dockerfile reference says of ADD."""
    mtime = epoch if source.mtime is None else source.mtime
    size = blobs.stat(source.digest) or 0
    entry = Entry("", Kind.FILE, 0o600, mtime=mtime, size=size)
    return Item(source.name, False, (Member(entry, BlobContents(blobs), source.digest),))
