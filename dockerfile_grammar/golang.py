"""
The rules of Go's standard library that are part of the Dockerfile language.

What a blank is, how text is quoted, how durations, booleans, sizes, paths and comma-separated values are
written: the language has no definition of its own for these, it has the behaviour of the reference
implementation. References: the Go packages unicode, strconv, time, path/filepath and encoding/csv.
"""

from __future__ import annotations

import posixpath
import re

# unicode.IsSpace; unlike str.isspace it leaves out U+001C to U+001F.
SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
# The same set for use between the brackets of a regular expression.
SPACE_CLASS = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, the micro sign
    "\u03bcs": 1_000,  # the Greek letter that looks the same
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_DURATION_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]*)")
_LARGEST = 2**63 - 1
_SIZE = re.compile(r"\+?([0-9]+\.?[0-9]*|\.[0-9]+) ?(?:b|([kmgtp])(?:i?b)?)?", re.IGNORECASE)
_SIZE_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_BOOLEANS = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "FALSE", "false", "False"), False
)
_QUOTED = {
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
    "\\": r"\\",
    '"': r"\"",
}


def quote(text: str) -> str:
    """Write a string literal as strconv.Quote does."""
    return f'"{"".join(map(_quote_character, text))}"'


def _quote_character(char: str) -> str:
    if char in _QUOTED:
        return _QUOTED[char]
    if char.isprintable():
        return char
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def parse_bool(text: str) -> bool:
    """
    Read a boolean as strconv.ParseBool does.

    Raises:
        ValueError: it is none of the twelve accepted words.

    """
    if text not in _BOOLEANS:
        raise ValueError(f"invalid boolean {quote(text)}")
    return _BOOLEANS[text]


def parse_unsigned(text: str, base: int) -> int:
    """
    Read an unsigned 32-bit number of digits only.

    Raises:
        ValueError: anything else, for example a sign or an underscore.

    """
    if not re.fullmatch("[0-7]+" if base == 8 else "[0-9]+", text) or len(text) > 16:
        raise ValueError(f"invalid number {quote(text)}")
    number = int(text, base)
    if number >= 2**32:
        raise ValueError(f"number out of range {quote(text)}")
    return number


def parse_duration(text: str) -> int:
    """
    Read a duration such as ``1m30s`` or ``1.5h`` and return nanoseconds, as time.ParseDuration does.

    Raises:
        ValueError: it is no duration, or longer than about 290 years.

    """
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    total, position = 0, 0
    while position < len(rest) or not rest:
        match = _DURATION_PART.match(rest, position)
        assert match  # noqa: S101 - every part of the pattern is optional
        whole, fraction, unit = match.group(1), match.group(2) or "", match.group(3)
        if not whole and not fraction:
            raise ValueError(f"invalid duration {quote(text)}")
        if not unit:
            raise ValueError(f"missing unit in duration {quote(text)}")
        if unit not in _NANOSECONDS:
            raise ValueError(f"unknown unit {quote(unit)} in duration {quote(text)}")
        if len(whole) > 19 or len(fraction) > 100:
            raise ValueError(f"invalid duration {quote(text)}")
        size = _NANOSECONDS[unit]
        total += int(whole or "0") * size + int(fraction or "0") * size // 10 ** len(fraction)
        position = match.end()
    if total > _LARGEST:
        raise ValueError(f"invalid duration {quote(text)}")
    return -total if text.startswith("-") else total


def parse_size(text: str) -> int:
    """
    Read a size in bytes with an optional binary suffix (``64m``, ``1.5GiB``).

    Raises:
        ValueError: it is no size.

    """
    match = _SIZE.fullmatch(text)
    if match is None or len(text) > 32:
        raise ValueError(f"invalid size {quote(text)}")
    power = _SIZE_POWERS[match.group(2).lower()] if match.group(2) else 0
    size = int(float(match.group(1)) * 1024**power)
    if size > _LARGEST:
        raise ValueError(f"invalid size {quote(text)}")
    return size


def clean_path(path: str) -> str:
    """Return the shortest equivalent of a path as filepath.Clean does; it never starts with two slashes."""
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def csv_fields(text: str) -> list[str]:
    """
    Split one line of comma-separated values; a field may be quoted, and doubles the quotes inside.

    Raises:
        ValueError: a quote in an unquoted field, or a quoted field that does not end.

    """
    fields: list[str] = []
    position = 0
    while True:
        if text.startswith('"', position):
            match = re.compile(r'"((?:[^"]|"")*)"(?=,|\Z)').match(text, position)
            if match is None:
                raise ValueError('extraneous or missing " in quoted field')
            fields.append(match.group(1).replace('""', '"'))
            position = match.end()
        else:
            end = text.find(",", position)
            end = len(text) if end < 0 else end
            if '"' in text[position:end]:
                raise ValueError('bare " in unquoted field')
            fields.append(text[position:end])
            position = end
        if position >= len(text):
            return fields
        position += 1
