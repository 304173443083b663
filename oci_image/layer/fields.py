"""
The fields of tar headers and the records of pax headers, as values.

A problem is a `BrokenField`; the reader adds the member's name and makes an `UnsafeLayer` of it.

Governing source: POSIX.1-2017, pax; GNU tar manual, "Extensions to the archive format" (base-256 numbers).
"""

from __future__ import annotations

import functools

from .header import BLOCK

Records = dict[str, bytes]

_MAX_NUMBER = 1 << 62
_XATTR = "SCHILY.xattr."


class BrokenField(ValueError):
    """A field or record does not have the form that its format demands."""


def text(field: bytes) -> str:
    """A name of any encoding, so that it can be turned back into the same bytes."""
    return field.decode("utf-8", "surrogateescape")


def terminated(field: bytes) -> bytes:
    """The bytes before the first NUL."""
    return field.partition(b"\0")[0]


def number(field: bytes) -> int:
    """An octal number between spaces and NULs, or GNU's big-endian base-256 with the top bit set."""
    digits = field[:-1]
    if field[-1] not in b"\0 " or not digits.isdigit():
        digits = field.partition(b"\0")[0].strip(b" ")
    if digits.isdigit():
        try:
            return int(digits, 8)
        except ValueError:
            raise BrokenField(f"{field!r} is no octal number") from None
    if not digits and not field[0]:
        return 0
    if field[:1] in (b"\x80", b"\xff"):
        value = int.from_bytes(field[1:], "big")
        if field[0] == 0xFF:
            value -= 1 << 8 * (len(field) - 1)
        if -_MAX_NUMBER < value < _MAX_NUMBER:
            return value
        raise BrokenField("a number is out of range")
    if not digits:
        return 0
    raise BrokenField(f"{field!r} is no octal number")


# Modes, owners and times repeat from member to member.
cached_number = functools.lru_cache(maxsize=4096)(number)


@functools.lru_cache(maxsize=4096)
def mode_and_owner(field: bytes) -> tuple[int, int, int]:
    """The three adjacent fields mode, uid and gid."""
    return number(field[:8]), number(field[8:16]), number(field[16:24])


def name_of(block: bytes) -> bytes:
    """The name in a header, with its prefix if the header's format has one."""
    name = block[:100].partition(b"\0")[0]
    # GNU's magic ("ustar  ") means that times lie where POSIX has the prefix.
    if block[345] and block[257:263] == b"ustar\0":
        end = 476 if block[508:BLOCK] == b"tar\0" else 500
        return block[345:end].partition(b"\0")[0] + b"/" + name
    return name


def decimal(records: Records, key: str, default: int) -> int:
    """A number of a pax header, its fraction cut off downwards; the default if there is no such record."""
    value = records.get(key)
    if value is None:
        return default
    whole, _, fraction = value.partition(b".")
    digits = whole.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 19 or (fraction and not fraction.isdigit()):
        raise BrokenField(f"the record {key} is no number")
    result = int(whole)
    if whole.startswith(b"-") and fraction.strip(b"0"):
        result -= 1
    if not -_MAX_NUMBER < result < _MAX_NUMBER:
        raise BrokenField(f"the record {key} is out of range")
    return result


def xattrs(records: Records) -> tuple[tuple[str, bytes], ...]:
    """The extended attributes among the records, sorted by name."""
    found = [(key.removeprefix(_XATTR), value) for key, value in records.items() if key.startswith(_XATTR)]
    for name, _ in found:
        if not name or "\0" in name or len(name) > 255:
            raise BrokenField(f"{name[:80]!r} is no name of an extended attribute")
    return tuple(sorted(found))


def parse_records(data: bytes) -> Records:
    """The records of a pax header, length, ``key=value`` and newline each; the last of a key counts."""
    records: Records = {}
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        digits = data[position:space]
        if space < 0 or not digits.isdigit():
            raise BrokenField("a record of the pax header has no length")
        end = position + int(digits)
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if end > len(data) or end <= space or data[end - 1 : end] != b"\n" or not equals or not key:
            raise BrokenField("a record of the pax header is malformed")
        records[text(key)] = value
        position = end
    return records
