"""
Tar headers, as bytes made from an `Entry`.

Equal entries give equal bytes: ids are numeric, times are whole seconds, there are no user names and no
access or change times. A POSIX extended header ("pax") precedes the ustar header only for what ustar cannot
hold.

Governing source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header".
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterable, Sequence

from .entry import Entry, Kind

BLOCK = 512

# name, mode to mtime, checksum, type, link, magic and version, (names of user and group), device, prefix
_LAYOUT = struct.Struct("100s48s8s1s100s8s64x16s155s12x")
_MAGIC = b"ustar\x0000"
_NO_DEVICE = b"0000000\x000000000\x00"
_TYPES = {kind: b"%d" % kind for kind in Kind}
# The checksum is taken with its own field full of spaces.
_CONSTANT_SUM = sum(_MAGIC) + 8 * 0x20

_MAX_ID = 0o7777777
_MAX_SIZE = 0o77777777777
_XATTR = b"SCHILY.xattr."


def padding(size: int) -> int:
    """How many zero bytes follow a content of the size."""
    return -size % BLOCK


def header(entry: Entry) -> bytes:
    """The header blocks of an entry: one block, or three or more when a pax header is needed."""
    path, kind, mode, uid, gid, mtime, size, link, xattrs, _, _ = entry
    if kind is Kind.DIRECTORY:
        path = path + "/" if path else "./"
    if (
        len(path) <= 100
        and path.isascii()
        and len(link) <= 100
        and link.isascii()
        and not xattrs
        and 0 <= size <= _MAX_SIZE
        and 0 <= mtime <= _MAX_SIZE
        and 0 <= uid <= _MAX_ID
        and 0 <= gid <= _MAX_ID
    ):
        name = path.encode()
        if link or kind is Kind.CHARACTER or kind is Kind.BLOCK:
            numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, uid, gid, size, mtime)
            return _block(name, numbers, _TYPES[kind], link.encode(), _device(entry))
        # The rest is the same for nearly all files of a layer.
        before, after, checksum = _around_size(mode, uid, gid, mtime, kind)
        length = b"%011o\0" % size
        checksum += sum(name) + sum(length)
        numbers = before + length + after
        return _LAYOUT.pack(name, numbers, b"%06o\0 " % checksum, _TYPES[kind], b"", _MAGIC, _NO_DEVICE, b"")
    return _extended(entry, path)


def file_headers(directory: str) -> Callable[[bytes, tuple[int, int, int, int, int]], bytes]:
    """
    What makes headers of ordinary files in a directory, the same as `header`, out of name and metadata.

    The metadata are mode, uid, gid, mtime and size, in this order.
    """
    prefix = f"{directory}/".encode("utf-8", "surrogateescape") if directory else b""
    longest = 100 - len(prefix) if prefix.isascii() else -1
    start = sum(prefix)
    pack = _LAYOUT.pack
    regular = _TYPES[Kind.FILE]

    def make(name: bytes, row: tuple[int, int, int, int, int]) -> bytes:
        mode, uid, gid, mtime, size = row
        if (
            len(name) <= longest
            and name.isascii()
            and 0 <= size <= _MAX_SIZE
            and 0 <= mtime <= _MAX_SIZE
            and 0 <= uid <= _MAX_ID
            and 0 <= gid <= _MAX_ID
        ):
            before, after, checksum = _around_size(mode, uid, gid, mtime, Kind.FILE)
            length = b"%011o\0" % size
            checksum += start + sum(name) + sum(length)
            numbers = before + length + after
            return pack(prefix + name, numbers, b"%06o\0 " % checksum, regular, b"", _MAGIC, _NO_DEVICE, b"")
        return header(Entry((prefix + name).decode("utf-8", "surrogateescape"), Kind.FILE, *row))

    return make


def are_single_blocks(directory: str, names: Iterable[bytes], rows: Iterable[Sequence[int]]) -> bool:
    """Whether the headers of such files, as `file_headers` makes them, are surely one block each."""
    _, uids, gids, mtimes, sizes = zip(*rows, strict=True)
    return (
        directory.isascii()
        and all(map(bytes.isascii, names))
        and len(directory) + 1 + max(map(len, names)) <= 100
        and 0 <= min(sizes) <= max(sizes) <= _MAX_SIZE
        and 0 <= min(mtimes) <= max(mtimes) <= _MAX_SIZE
        and 0 <= min(*uids, *gids) <= max(*uids, *gids) <= _MAX_ID
    )


def _block(  # noqa: PLR0917 - called per file, where keywords cost
    name: bytes, numbers: bytes, kind: bytes, link: bytes, device: bytes, prefix: bytes = b""
) -> bytes:
    # Summing the fields instead of the whole block spares the zero bytes, which are most of it.
    checksum = _CONSTANT_SUM + sum(name) + sum(numbers) + kind[0] + sum(link) + sum(device) + sum(prefix)
    return _LAYOUT.pack(name, numbers, b"%06o\0 " % checksum, kind, link, _MAGIC, device, prefix)


@functools.lru_cache(maxsize=1024)
def _around_size(mode: int, uid: int, gid: int, mtime: int, kind: Kind) -> tuple[bytes, bytes, int]:
    """The numbers before and after the size, and the sum of all bytes but those of name and size."""
    before, after = b"%07o\0%07o\0%07o\0" % (mode, uid, gid), b"%011o\0" % mtime
    return before, after, _CONSTANT_SUM + sum(before) + sum(after) + _TYPES[kind][0] + sum(_NO_DEVICE)


def _device(entry: Entry) -> bytes:
    if entry.kind is Kind.CHARACTER or entry.kind is Kind.BLOCK:
        return b"%07o\0%07o\0" % (entry.major & _MAX_ID, entry.minor & _MAX_ID)
    return _NO_DEVICE


def _extended(entry: Entry, path: str) -> bytes:
    """A header of which at least one value may not fit into ustar."""
    records: dict[bytes, bytes] = {}
    name = path.encode("utf-8", "surrogateescape")
    prefix = b""
    if not path.isascii() or len(name) > 100:
        split = _split(name) if path.isascii() else None
        if split is None:
            records[b"path"] = name
            name = _ascii(name)
        else:
            prefix, name = split
    link = entry.link.encode("utf-8", "surrogateescape")
    if not entry.link.isascii() or len(link) > 100:
        records[b"linkpath"] = link
        link = _ascii(link)
    size = _fitting(records, b"size", entry.size, _MAX_SIZE)
    mtime = _fitting(records, b"mtime", entry.mtime, _MAX_SIZE)
    uid = _fitting(records, b"uid", entry.uid, _MAX_ID)
    gid = _fitting(records, b"gid", entry.gid, _MAX_ID)
    for key, value in entry.xattrs:
        records[_XATTR + key.encode("utf-8", "surrogateescape")] = value
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (entry.mode, uid, gid, size, mtime)
    block = _block(name, numbers, _TYPES[entry.kind], link, _device(entry), prefix)
    return _pax(entry.path, records) + block if records else block


def _fitting(records: dict[bytes, bytes], key: bytes, value: int, limit: int) -> int:
    """The value for the ustar field; one that does not fit goes to a record."""
    if 0 <= value <= limit:
        return value
    records[key] = b"%d" % value
    return 0


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Cut a long name at a slash into the prefix and name fields, if both parts fit."""
    if len(name) > 256:
        return None
    cut = name.rfind(b"/", 0, min(156, len(name) - 1))
    if cut <= 0 or len(name) - cut - 1 > 100:
        return None
    return name[:cut], name[cut + 1 :]


def _ascii(name: bytes) -> bytes:
    """What readers that know nothing of pax get to see."""
    return bytes(byte for byte in name if byte < 0x80)[:100]


def _pax(path: str, records: dict[bytes, bytes]) -> bytes:
    body = b"".join(_record(key, records[key]) for key in sorted(records))
    last = path.rpartition("/")[2].encode("utf-8", "surrogateescape")
    name = b"PaxHeaders/" + _ascii(last)[:80]
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (0o644, 0, 0, len(body), 0)
    return _block(name, numbers, b"x", b"", _NO_DEVICE) + body + bytes(padding(len(body)))


def _record(key: bytes, value: bytes) -> bytes:
    """Length, ``key=value`` and newline, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)
