"""
From what a pattern matched to what its files hold: digests out of the stat cache, or of what is read.

Directories are dealt with as wholes wherever nothing is odd about them: a context may have very many files,
and a value for each of them costs more than its digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from .contexts.filedigests import Batch, Digested, digest_files
from .contexts.finding import Finder
from .contexts.folderrecord import DIGEST_SIZE, STAMP, FolderRecord, Xattrs, group_digest, join_names
from .contexts.parts import Part

_FilesByInode = dict[tuple[int, int], str]
_AT_ONCE = 4096
"""So many files, or those of one directory, are in memory at a time."""
_PARTS_AT_ONCE = 512
Source = TypeVar("Source")


def completed(
    parts: Iterable[tuple[Source, Part]], finder: Finder, root: str
) -> Iterator[tuple[Source, Part]]:
    """
    The same with the digest of every file, reading those that are not known, and what is odd about some.

    Args:
        parts: with the source that each belongs to, one source after the other.
        finder: made them.
        root: of the context.

    Raises:
        InvalidContext: a file cannot be read, or changes meanwhile.
    """
    # What a source shares about files of several names.
    first_names: _FilesByInode = {}
    latest: Source | None = None
    for chunk in _chunks(parts):
        todo = [part for _, part in chunk if part.lacks_digests]
        batches = [(part, batch) for part in todo if (batch := _unknown(part, finder)).names]
        if batches:
            read = digest_files(root, [batch for _, batch in batches])
            for (part, batch), digested in zip(batches, read, strict=True):
                _remember(part, batch, digested, finder)
        for source, part in chunk:
            if source is not latest:
                first_names, latest = {}, source
            if part.lacks_digests:
                _complete_part(part, first_names, finder)
            yield source, part


def _chunks(parts: Iterable[tuple[Source, Part]]) -> Iterator[list[tuple[Source, Part]]]:
    chunk: list[tuple[Source, Part]] = []
    files = 0
    for pair in parts:
        chunk.append(pair)
        files += pair[1].count if pair[1].lacks_digests else 0
        if files >= _AT_ONCE or len(chunk) >= _PARTS_AT_ONCE:
            yield chunk
            chunk, files = [], 0
    if chunk:
        yield chunk


def _unknown(part: Part, finder: Finder) -> Batch:
    """The files of a part that have to be read."""
    table = finder.table
    record = table.folders.get(part.path)
    if not table.knows(part.path):
        return Batch(part.path, part.files(), part.stamps.read())
    if record is not None and record.is_of(part.names, part.stamps):
        return Batch(part.path, (), b"")
    unknown = [
        (name, stamp) for name, stamp in part.stamped() if table.digest(part.path, name, stamp) is None
    ]
    return Batch(part.path, [name for name, _ in unknown], b"".join(stamp for _, stamp in unknown))


def _remember(part: Part, batch: Batch, digested: Digested, finder: Finder) -> None:
    """Let the stat cache have what was read: as a whole where that is all there is in a directory."""
    table = finder.table
    is_whole = part.is_whole and len(batch.names) == part.count
    if is_whole and not digested.xattrs and not table.knows(batch.directory):
        group = group_digest(join_names(batch.names), batch.stamps, digested.digests)
        digests = table.spool.keep(digested.digests)
        record = FolderRecord(part.names, part.stamps, digests, group)
        table.remember_folder(batch.directory, record, read_at=digested.read_at)
        return
    prefix = f"{batch.directory}/" if batch.directory else ""
    for number, name in enumerate(batch.names):
        stamp = batch.stamps[number * STAMP.size : (number + 1) * STAMP.size]
        digest = digested.digests[number * DIGEST_SIZE : (number + 1) * DIGEST_SIZE]
        xattrs = digested.xattrs.get(name, ())
        table.remember(prefix + name, stamp, digest, xattrs, read_at=digested.read_at)


def _complete_part(part: Part, first_names: _FilesByInode, finder: Finder) -> None:
    table = finder.table
    linked = part.linked
    record = table.folders.get(part.path)
    is_known = record is not None and not linked and record.is_of(part.names, part.stamps)
    if record is not None and is_known and not table.has_xattrs(part.path):
        part.digests, part.group = record.digests, record.group
        return
    digests: list[bytes] = []
    odd: dict[str, tuple[Xattrs, str | None]] = {}
    for name, stamp in part.stamped():
        digest = table.digest(part.path, name, stamp)
        assert digest is not None  # noqa: S101 - `_complete` had it computed
        digests.append(digest)
        xattrs = table.xattrs.get(f"{part.path}/{name}" if part.path else name, ())
        same_as = None
        if name in linked:
            own = f"{part.name}/{name}" if part.name else name
            first = first_names.setdefault(linked[name], own)
            same_as = first if first != own else None
        if xattrs or same_as is not None:
            odd[name] = (xattrs, same_as)
    if odd:
        part.odd = odd
    part.digests = table.spool.keep(b"".join(digests))
    if record is not None:
        record.forget()
