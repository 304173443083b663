"""
COPY, ADD and WORKDIR: layers written directly, without privileges, namespaces or unpacking.

Where things go is decided against the merged view of the layers below, by the rules of BuildKit: the
destination is followed through symlinks inside the root; a trailing slash, or a directory that is there,
takes files inside; a directory gives its content; what lies below an existing directory of the same name is
merged; a file never replaces a directory nor the other way round. Governing text: "COPY" and "ADD" in the
Dockerfile reference.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from typing import BinaryIO

from oci_image.errors import NotFound
from oci_image.layer.entry import Entry, Kind
from oci_image.layer.tree import LayerTree
from oci_image.layer.write import LayerWriter

from ..contexts.context import BuildContext, ContextFiles
from ..earlier import Earlier
from ..errors import BuildError, InvalidContext
from ..filemodes import parse_mode
from ..graph import Step
from ..ops import ContextSource, CopyFiles, FetchedSource, InlineSource, MakeDir, StepSource
from ..snapshots import Snapshot
from .archives import open_archive, unpack
from .base import Supplies, checkpoint, identities, in_thread, perform
from .draft import Draft
from .items import Group, Item, Member, context_items, fetched_item, inline_item
from .layers import write_copied, write_layer
from .owners import Owner, find_owner, is_numeric
from .planned import Branched
from .selections import selection_digest
from .stepfiles import StepFiles, tree_of

_ACCOUNTS_LIMIT = 16 << 20


@perform.register
async def _(op: CopyFiles, inputs: Sequence[Snapshot], step: Step, supplies: Supplies) -> Snapshot:
    del step
    for snapshot in inputs if _needs_files_below(op) else inputs[1:]:
        await supplies.host.layers.ensure(snapshot.layers)
    return await in_thread(copy_files, op, inputs, supplies)


@perform.register
async def _(op: MakeDir, inputs: Sequence[Snapshot], step: Step, supplies: Supplies) -> Snapshot:
    del step
    await supplies.host.layers.ensure(inputs[0].layers)
    return await in_thread(make_directory, op, inputs[0], supplies)


@identities.register
async def _(op: CopyFiles, inputs: Sequence[Snapshot], supplies: Supplies) -> tuple[str, ...]:
    parts = [inputs[0].chain]
    for number, snapshot in enumerate(inputs[1:], 1):
        digests = [
            str(
                await selection_digest(
                    snapshot, source.pattern, supplies.host, exclude=op.exclude, parents=op.parents
                )
            )
            for source in op.sources
            if isinstance(source, StepSource) and source.input == number
        ]
        parts.append(" ".join(digests))
    return tuple(parts)


def copy_files(op: CopyFiles, inputs: Sequence[Snapshot], supplies: Supplies) -> Snapshot:
    """
    Do a COPY or ADD (blocking; the layers of all inputs that it looks into are in the store).

    Raises:
        BuildError: a source is missing, or something cannot be put where it should go.
    """
    host = supplies.host
    tree = tree_of(inputs[0], host.layers) if _needs_files_below(op) else LayerTree([])
    with ExitStack() as resources:
        below = LayerTree([]) if op.link else tree
        copying = _Copying(op, below, _owner(op.owner, tree), lambda: _new_file(host.state, resources))

        @cache  # there may be more sources than files that may be open
        def files_of(context: BuildContext) -> ContextFiles:
            return resources.enter_context(context.files())

        for source in op.sources:
            unpack = source.unpack if isinstance(source, FetchedSource) else op.unpack
            for item in _items(source, op, inputs, supplies, files_of):
                copying.add(item, unpack=unpack)

        def fill(writer: LayerWriter, earlier: Earlier) -> None:
            copying.draft.write(writer, checkpoint, earlier)

        kind = _kind(op, supplies)
        return inputs[0].with_layer(write_copied(host.blobs, host.layers, kind, fill))


def _kind(op: CopyFiles, supplies: Supplies) -> str:
    """What layers have in common that are copied from the same places to the same."""
    sources = [
        (source.pattern, supplies.contexts[source.context].root)
        for source in op.sources
        if isinstance(source, ContextSource) and source.context in supplies.contexts
    ]
    return repr((sources, op.dest))


def _needs_files_below(op: CopyFiles) -> bool:
    """Whether it matters what its destination is, or who: not with --link and an owner given by numbers."""
    return not op.link or (bool(op.owner) and not is_numeric(op.owner))


def make_directory(op: MakeDir, snapshot: Snapshot, supplies: Supplies) -> Snapshot:
    """
    Do a WORKDIR (blocking): the directory, if it is new, belongs to the user in force.

    Raises:
        BuildError: there is something else on the way, or the user is not known.
    """
    host = supplies.host
    tree = tree_of(snapshot, host.layers)

    def parent(path: str) -> Entry:
        owner = _user_in_force(op.owner, tree)
        return Entry(path, Kind.DIRECTORY, 0o755, owner.uid, owner.gid, op.epoch)

    draft = Draft(tree, parent, owned=bool(op.owner))
    path = draft.resolve(op.path)
    if draft.look(path) is None:
        draft.make_directories(path)
    elif not draft.is_directory(path):
        raise BuildError(f"/{path} is not a directory")

    def fill(writer: LayerWriter) -> None:
        draft.write(writer, checkpoint)

    return snapshot.with_layer(write_layer(host.blobs, host.layers, fill))


def _user_in_force(text: str, tree: LayerTree) -> Owner:
    try:
        return _owner(text, tree) or Owner(0, 0)
    except BuildError:
        # USER may name somebody whom only a later RUN creates; until then the directory is root's.
        return Owner(0, 0)


def _items(
    source: object,
    op: CopyFiles,
    inputs: Sequence[Snapshot],
    supplies: Supplies,
    files_of: Callable[[BuildContext], ContextFiles],
) -> Iterator[Item]:
    if isinstance(source, ContextSource):
        context = supplies.contexts.get(source.context)
        if context is None:
            raise InvalidContext(f"this build has no context {source.context!r}".rstrip(" '"))
        yield from context_items(source, op, context, files_of(context))
    elif isinstance(source, StepSource):
        step = StepFiles(inputs[source.input], supplies.host.layers)
        yield from step.items(source.pattern, exclude=op.exclude, parents=op.parents)
    elif isinstance(source, InlineSource):
        yield inline_item(source, op.epoch)
    elif isinstance(source, FetchedSource):
        yield fetched_item(source, op.epoch, supplies.host.blobs)
    else:
        raise TypeError(f"no source: {type(source).__name__}")


def _owner(text: str, tree: LayerTree) -> Owner | None:
    def read(path: str) -> bytes:
        try:
            return tree.read(path, _ACCOUNTS_LIMIT)
        except NotFound:
            return b""

    return find_owner(text, read) if text else None


def _new_file(state: str, resources: ExitStack) -> BinaryIO:
    directory = os.path.join(state, "tmp")
    os.makedirs(directory, exist_ok=True)
    return resources.enter_context(tempfile.TemporaryFile(dir=directory))


class _Copying:
    """Puts items into the draft of a layer."""

    def __init__(
        self, op: CopyFiles, below: LayerTree, owner: Owner | None, new_file: Callable[[], BinaryIO]
    ) -> None:
        self._op = op
        self._owner = owner
        self._mode = parse_mode(op.mode) if op.mode else None
        self._parent_mode = int(op.mode, 8) if op.mode.isdigit() else 0o755
        self._new_file = new_file
        self.draft = Draft(below, self._parent, owned=owner is not None)

    def add(self, item: Item, *, unpack: bool) -> None:
        """
        Copy one item to the destination, or what is in it if it is an archive and to be unpacked.

        Raises:
            BuildError: it cannot be put there.
        """
        dest = self._op.dest.strip("/")
        members = () if item.is_directory else tuple(item.each())
        if unpack and members and self._unpacked(members, dest):
            return
        into = self._op.dest.endswith("/")
        above = dest if into else dest.rpartition("/")[0]
        self.draft.make_directories(self.draft.resolve(above))
        target = self.draft.resolve(dest)
        if item.is_directory:
            self._add_directory(item, target)
        else:
            if self.draft.is_directory(target):
                target = f"{target}/{item.name}" if target else item.name
            for entry, contents, key in members:
                self._refuse_directory(target)
                self.draft.put(self._styled(entry._replace(path=target)), contents, key)

    def _add_directory(self, item: Item, target: str) -> None:
        branch, number = item.branch, 0
        if branch is None:
            for member in item.members:
                self._add_some(member, target)
            return
        while number < len(branch.parts):
            part = branch.parts[number]
            members = branch.members(part)
            self._add_some(next(members), target)
            directory = f"{target}/{part.name}" if target and part.name else target or part.name
            if self.draft.is_bare(directory):
                below = branch.below(number)
                if self.draft.put_branch(Branched(directory, target, below, self._styled)):
                    number += len(below.parts)
                    continue
            for member in members:
                self._add_some(member, target)
            number += 1

    def _add_some(self, member: Member | Group, target: str) -> None:
        prefix = f"{target}/" if target else ""
        if not isinstance(member, Group):
            self._add_member(member, target, prefix)
            return
        directory = prefix + member.directory if member.directory else target
        if not self.draft.put_group(directory, member, self._styled):
            for single in member.members():
                self._add_member(single, target, prefix)

    def _add_member(self, member: Member, target: str, prefix: str) -> None:
        entry, contents, key = member
        path = prefix + entry.path if entry.path else target
        if entry.kind is Kind.DIRECTORY:
            there = self.draft.look(path)
            if there is not None and there.kind is not Kind.DIRECTORY:
                raise BuildError(f"cannot copy to non-directory: /{path}")
            # A destination that is there keeps its mode and owner, one that is not is made as any
            # directory on the way; only directories in it take those of the source.
            if entry.path:
                self.draft.put(self._styled(entry._replace(path=path)))
            elif there is None:
                self.draft.make_directories(path)
            return
        self._refuse_directory(path)
        link = prefix + entry.link if entry.kind is Kind.HARDLINK else entry.link
        self.draft.put(self._styled(entry._replace(path=path, link=link)), contents, key)

    def _unpacked(self, members: Sequence[Member], dest: str) -> bool:
        for member in members:
            archive = open_archive(member, self._new_file)
            if archive is None:
                return False
            # A --chmod is for what is copied as it is, not for where archives go.
            mode, self._parent_mode = self._parent_mode, 0o755
            target = self.draft.resolve(dest)
            self.draft.make_directories(target)
            unpack(archive, target, self.draft, self._owned)
            self._parent_mode = mode
        return True

    def _refuse_directory(self, path: str) -> None:
        if self.draft.is_directory(path):
            raise BuildError(f"cannot replace to directory /{path} with file")

    def _parent(self, path: str) -> Entry:
        return self._owned(Entry(path, Kind.DIRECTORY, self._parent_mode, mtime=self._op.epoch))

    def _owned(self, entry: Entry) -> Entry:
        """The entry with the owner that was asked for."""
        return entry if self._owner is None else entry._replace(uid=self._owner.uid, gid=self._owner.gid)

    def _styled(self, entry: Entry) -> Entry:
        """The entry with the owner and the mode that were asked for."""
        entry = self._owned(entry)
        if self._mode is not None and entry.kind is not Kind.SYMLINK:
            entry = entry._replace(mode=self._mode(entry.mode, entry.kind is Kind.DIRECTORY))
        return entry
