"""
Tar streams from anywhere, read with limits.

Understood: v7, ustar, pax, star and GNU headers (long names and links, base-256 numbers). The content of
members that have no content of their own (links, directories, devices) is taken as empty whatever their size
field says, and global pax headers are checked but not applied: both as Go's archive/tar does it, so that an
image means the same here and under Docker. Sparse, multi-volume and unknown members are refused by name.

Governing source: POSIX.1-2017, pax; GNU tar manual, "Basic Tar Format".
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import UnsafeLayer
from .entry import Entry, Kind
from .fields import (
    BrokenField,
    Records,
    cached_number,
    decimal,
    mode_and_owner,
    name_of,
    number,
    parse_records,
    terminated,
    text,
    xattrs,
)
from .header import BLOCK
from .pathsafe import MAX_PATH, clean, shown
from .source import Payload, Readable, Source

_ZERO_BLOCK = bytes(BLOCK)
_MAX_EXTENSION = 1 << 20
_NO_ID = 0xFFFFFFFF
_KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"1": Kind.HARDLINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER,
    b"4": Kind.BLOCK,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}
_REFUSED = {
    b"S": "sparse members are not supported; create the archive without --sparse",
    b"M": "archives in several volumes are not supported",
    b"D": "incremental archives are not supported",
    b"V": "volume labels are not supported",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much an archive may make us do."""

    members: int = 10_000_000
    content: int | None = None
    """Bytes of content in all; None for as many as the stream has."""


def is_tar(start: bytes) -> bool:
    """Whether the first 512 bytes of something are a tar header with a right checksum."""
    if len(start) < BLOCK or start[:BLOCK] == _ZERO_BLOCK:
        return False
    try:
        _check(start[:BLOCK])
    except BrokenField:
        return False
    return True


class LayerReader:
    """
    Iterates over the members of a tar stream as (entry, payload).

    The payload is good until the next step of the iteration; what is not read of it is skipped, by seeking if
    the stream can. `clean` has been over every path and hardlink target. The stream is not closed.

    Raises (while iterating):
        UnsafeLayer: the archive is broken or truncated, exceeds a limit, or holds a name that leaves the
        root.
    """

    def __init__(self, stream: Readable, *, limits: Limits | None = None) -> None:
        self._source = Source(stream)
        self._limits = limits or Limits()

    def __iter__(self) -> Iterator[tuple[Entry, Payload]]:
        source = self._source
        limits = self._limits
        content_left = limits.content
        local: Records = {}
        extensions = 0
        count = 0
        payload = Payload(source)
        while (block := self._next_block()) is not None:
            kind = block[156:157]
            if kind in b"xXgLK":
                extensions += 1
                if extensions > 8:
                    raise UnsafeLayer(f"at byte {source.position}: too many extension headers in a row")
                self._extension(block, kind, local)
                continue
            entry = _entry(block, kind, local)
            local = {}
            extensions = 0
            count += 1
            if count > limits.members:
                raise UnsafeLayer(f"the layer has more than {limits.members} members")
            if content_left is not None:
                content_left -= entry.size
                if content_left < 0:
                    raise UnsafeLayer(
                        f"{shown(entry.path)}: the layer has more than {limits.content} bytes of content"
                    )
            payload.start(entry.path, entry.size)
            yield entry, payload
            payload.skip()
        if local:
            raise UnsafeLayer("the archive ends after an extension header")

    def finish(self) -> None:
        """Read whatever follows the end of the archive, so that a verifying stream has seen every byte."""
        self._source.exhaust()

    def _next_block(self) -> bytes | None:
        """The next header, its checksum verified; None at the end of the archive."""
        source = self._source
        block = source.take_up_to(BLOCK)
        if block == _ZERO_BLOCK:
            second = source.take_up_to(BLOCK)
            if second and second != _ZERO_BLOCK:
                raise UnsafeLayer(f"at byte {source.position - BLOCK}: data follows half an end of archive")
            return None
        if not block:
            # Some programs leave the two zero blocks out.
            return None
        if len(block) < BLOCK:
            raise UnsafeLayer(f"at byte {source.position}: the archive ends within a header")
        try:
            _check(block)
        except BrokenField as problem:
            raise UnsafeLayer(f"at byte {source.position - BLOCK}: {problem}") from None
        return block

    def _extension(self, block: bytes, kind: bytes, local: Records) -> None:
        name = text(name_of(block))
        try:
            size = _extension_size(block)
            data = self._source.take(size, name)
            self._source.take(-size % BLOCK, name)
            if kind == b"L":
                local["path"] = terminated(data)
            elif kind == b"K":
                local["linkpath"] = terminated(data)
            elif kind == b"g":
                parse_records(data)
            else:
                local.update(parse_records(data))
        except BrokenField as problem:
            raise UnsafeLayer(f"{shown(name)}: {problem}") from None


def _extension_size(block: bytes) -> int:
    size = number(block[124:136])
    if not 0 <= size <= _MAX_EXTENSION:
        raise BrokenField(f"an extension header may have {_MAX_EXTENSION} bytes, this one has {size}")
    return size


def _check(block: bytes) -> None:
    """
    Verify the checksum of a header.

    Raises:
        BrokenField: it is wrong.
    """
    stored = block[148:156]
    expected = number(stored)
    # The low half of Adler-32 is one more than the sum of all bytes (modulo 65521), for a tenth of the price.
    if (zlib.adler32(block) - 1 - sum(stored) + 8 * 0x20 - expected) & 0xFFFF == 0 and expected < 0xF000:
        return
    unsigned = sum(block) - sum(stored) + 8 * 0x20
    if expected != unsigned:
        # Some old programs summed signed characters.
        high = sum(1 for byte in block if byte >= 0x80) - sum(1 for byte in stored if byte >= 0x80)
        if expected != unsigned - 256 * high:
            raise BrokenField("this is no tar header, its checksum is wrong")


def _entry(block: bytes, flag: bytes, records: Records) -> Entry:
    name = text(records["path"] if records.get("path") else name_of(block))
    kind = _KINDS.get(flag)
    if kind is None:
        reason = _REFUSED.get(flag, f"members of type {flag!r} are not supported")
        raise UnsafeLayer(f"{shown(name)}: {reason}")
    if flag == b"\0" and name.endswith("/"):
        # The only way in which v7 tells a directory.
        kind = Kind.DIRECTORY
    path = clean(name)
    try:
        entry = _plain_entry(block, kind, path)
        return _checked(_with_records(entry, records) if records else entry)
    except BrokenField as problem:
        raise UnsafeLayer(f"{shown(name)}: {problem}") from None


def _plain_entry(block: bytes, kind: Kind, path: str) -> Entry:
    """What the header alone says."""
    mode, uid, gid = mode_and_owner(block[100:124])
    size = number(block[124:136]) if kind is Kind.FILE else 0
    mtime = cached_number(block[136:148])
    link = ""
    major = minor = 0
    if kind is Kind.HARDLINK or kind is Kind.SYMLINK:
        link = text(terminated(block[157:257]))
    elif kind is Kind.CHARACTER or kind is Kind.BLOCK:
        major, minor = number(block[329:337]), number(block[337:345])
    return Entry(path, kind, mode & 0o7777, uid, gid, mtime, size, link, (), major, minor)


def _with_records(entry: Entry, records: Records) -> Entry:
    """The entry with what the extension headers say instead."""
    if any(key.startswith("GNU.sparse.") for key in records):
        raise BrokenField(_REFUSED[b"S"])
    linked = records.get("linkpath") and entry.kind in (Kind.HARDLINK, Kind.SYMLINK)
    return entry._replace(
        uid=decimal(records, "uid", entry.uid),
        gid=decimal(records, "gid", entry.gid),
        mtime=decimal(records, "mtime", entry.mtime),
        size=decimal(records, "size", entry.size) if entry.kind is Kind.FILE else 0,
        link=text(records["linkpath"]) if linked else entry.link,
        xattrs=xattrs(records),
    )


def _checked(entry: Entry) -> Entry:
    _, kind, _, uid, gid, _, size, link, _, major, minor = entry
    if size < 0 or not (0 <= uid < _NO_ID and 0 <= gid < _NO_ID):
        raise BrokenField("the size, user or group is out of range")
    if kind is Kind.FILE or kind is Kind.DIRECTORY:
        return entry
    if kind is Kind.HARDLINK:
        return entry._replace(link=clean(link))
    if kind is Kind.SYMLINK:
        if not link or "\0" in link or len(link.encode("utf-8", "surrogateescape")) > MAX_PATH:
            raise BrokenField("the target of the symlink is empty, too long or contains NUL")
    elif not (0 <= major <= 0xFFF and 0 <= minor <= 0xFFFFF):
        raise BrokenField("the device number is out of range")
    return entry
