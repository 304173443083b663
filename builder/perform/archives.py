"""
Local archives of an ADD: recognised by their content, unpacked into the draft of a layer.

An archive's members go below the destination as if it were the root of a filesystem: links in it never lead
outside. Its own root entry does not change the destination. What is no archive, or only the compressed form
of something else, is copied as it is. Governing text: "ADD" in the Dockerfile reference.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, BinaryIO, cast

from oci_image.errors import ImageError
from oci_image.layer.compression import open_decompressed, sniff
from oci_image.layer.entry import Entry, Kind
from oci_image.layer.read import LayerReader, is_tar
from oci_image.layer.write import LayerWriter

from ..errors import BuildError
from .base import checkpoint
from .draft import Draft
from .items import Member

_BLOCK = 1 << 20
_HEADER = 512


def open_archive(member: Member, new_file: Callable[[], BinaryIO]) -> BinaryIO | None:
    """
    A seekable file with the uncompressed archive that a member is; None if it is none.

    Args:
        member: a single file.
        new_file: makes a nameless temporary file for what has to be decompressed.
    """
    if member.contents is None or member.entry.kind is not Kind.FILE:
        return None
    if not _is_archive(member):
        return None
    target = new_file()
    try:
        with open_decompressed(member.contents.open(member.key)) as stream:
            while data := stream.read(_BLOCK):
                checkpoint()
                target.write(data)
        target.flush()
        target.seek(0)
    except BaseException:
        target.close()
        raise
    return target


def _is_archive(member: Member) -> bool:
    assert member.contents is not None  # noqa: S101 - the caller looked
    with member.contents.open(member.key) as raw:
        start = raw.read(_HEADER)
    if sniff(start[:6]) == "none":
        return is_tar(start)
    try:
        with open_decompressed(member.contents.open(member.key)) as stream:
            return is_tar(stream.read(_HEADER))
    except ImageError:
        return False  # only begins like a compressed file


class ArchiveContents:
    """The key is (offset, size) in an uncompressed archive."""

    def __init__(self, archive: BinaryIO) -> None:
        self._archive = archive

    def write(self, writer: LayerWriter, entry: Entry, key: Any) -> None:
        """Add the entry."""
        offset, size = key
        if size <= _BLOCK:
            writer.add(entry, os.pread(self._archive.fileno(), size, offset))
        else:
            writer.add(entry, self.open(key))

    def open(self, key: Any) -> BinaryIO:
        """The content."""
        return cast("BinaryIO", _Part(self._archive.fileno(), *key))


class _Part:
    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._left = size

    def read(self, size: int = -1, /) -> bytes:
        size = self._left if size < 0 else min(size, self._left)
        data = os.pread(self._descriptor, size, self._offset) if size else b""
        self._offset += len(data)
        self._left -= len(data)
        return data


def unpack(archive: BinaryIO, target: str, draft: Draft, restyle: Callable[[Entry], Entry]) -> None:
    """
    Put the members of an archive below a directory of the draft.

    Args:
        archive: the seekable uncompressed archive.
        target: a directory without symlinks in its path.
        draft: the layer in the making.
        restyle: gives a member the owner and mode that were asked for.

    Raises:
        UnsafeLayer: the archive is broken, or a name in it would leave the destination.
        BuildError: a member cannot be put where it says.
    """
    contents = ArchiveContents(archive)
    for entry, payload in LayerReader(archive):
        checkpoint()
        if not entry.path:
            continue  # the archive's root is not the destination
        path = _place(entry.path, target, draft)
        draft.make_directories(path.rpartition("/")[0], owned=True)
        placed = restyle(entry._replace(path=path))
        if entry.kind is Kind.HARDLINK:
            link = _place(entry.link, target, draft)
            linked = draft.planned(link)
            if linked is None or linked.kind is Kind.DIRECTORY:
                raise BuildError(
                    f"{entry.path}: the archive links it to {entry.link}, which it does not hold"
                )
            if link != path:
                draft.put(placed._replace(link=link))
        elif entry.kind is Kind.FILE:
            draft.put(placed, contents, (payload.offset, entry.size))
        else:
            draft.put(placed)


def _place(name: str, target: str, draft: Draft) -> str:
    parent, _, last = name.rpartition("/")
    above = draft.resolve(parent, root=target) if parent else target
    return f"{above}/{last}" if above else last
