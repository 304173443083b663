"""
From what a pattern matched to what its files hold: digests out of the stat cache, or of what is read.

Directories are dealt with as wholes wherever nothing is odd about them: a context may have very many files,
and a value for each of them costs more than its digest.
"""

from __future__ import annotations

from .contexts.filedigests import Batch, Digested, digest_files
from .contexts.finding import Finder
from .contexts.selection import Part, Selected
from .contexts.statcache import DIGEST_SIZE, STAMP, FolderRecord, group_digest


def complete(sources: list[Selected], finder: Finder, root: str) -> None:
    """
    Fill in the digest of every file, reading those that are not known, and what is odd about some.

    Raises:
        InvalidContext: a file cannot be read, or changes meanwhile.
    """
    incomplete = [part for source in sources for part in source.parts if part.files and not part.digests]
    if not incomplete:
        return
    batches = [batch for batch in (_unknown(part, finder) for part in incomplete) if batch.names]
    for batch, digested in zip(batches, digest_files(root, batches), strict=True) if batches else ():
        _remember(batch, digested, finder)
    for source in sources:
        first_names: dict[tuple[int, int], str] = {}
        for part in source.parts:
            if part.files and not part.digests:
                _complete_part(part, first_names, finder)


def _unknown(part: Part, finder: Finder) -> Batch:
    """The files of a part that have to be read."""
    table = finder.table
    if not table.knows(part.path):
        return Batch(part.path, part.files, part.stamps)
    unknown = [
        (name, stamp) for name, stamp in part.stamped() if table.digest(part.path, name, stamp) is None
    ]
    return Batch(part.path, [name for name, _ in unknown], b"".join(stamp for _, stamp in unknown))


def _remember(batch: Batch, digested: Digested, finder: Finder) -> None:
    """Let the stat cache have what was read: as a whole where that is all there is in a directory."""
    table = finder.table
    folder = finder.listing.listed.get(batch.directory)
    is_whole = folder is not None and batch.names is folder.files and not folder.linked
    if folder is not None and is_whole and not digested.xattrs and not table.knows(batch.directory):
        group = group_digest(folder.joined, folder.stamps, digested.digests)
        record = FolderRecord(folder.joined, folder.stamps, digested.digests, group)
        table.remember_folder(batch.directory, record, read_at=digested.read_at)
        return
    prefix = f"{batch.directory}/" if batch.directory else ""
    for number, name in enumerate(batch.names):
        stamp = batch.stamps[number * STAMP.size : (number + 1) * STAMP.size]
        digest = digested.digests[number * DIGEST_SIZE : (number + 1) * DIGEST_SIZE]
        xattrs = digested.xattrs.get(name, ())
        table.remember(prefix + name, stamp, digest, xattrs, read_at=digested.read_at)


def _complete_part(part: Part, first_names: dict[tuple[int, int], str], finder: Finder) -> None:
    table = finder.table
    folder = finder.listing.listed.get(part.path)
    record = table.folders.get(part.path)
    if folder is not None and record is not None and part.files is folder.files and not folder.linked:
        is_same = record.names == folder.joined and record.stamps == folder.stamps
        if is_same and not table.has_xattrs(part.path):
            part.digests, part.group = record.digests, record.group
            return
    digests = []
    for name, stamp in part.stamped():
        digest = table.digest(part.path, name, stamp)
        assert digest is not None  # noqa: S101 - `_complete` had it computed
        digests.append(digest)
        xattrs = table.xattrs.get(f"{part.path}/{name}" if part.path else name, ())
        same_as = None
        if folder is not None and name in folder.linked:
            own = f"{part.name}/{name}" if part.name else name
            first = first_names.setdefault(folder.linked[name], own)
            same_as = first if first != own else None
        if xattrs or same_as is not None:
            part.odd[name] = (xattrs, same_as)
    part.digests = b"".join(digests)
