"""
Owners and modes as a COPY or ADD gives them: ``--chown=user[:group]`` and ``--chmod=…``.

Names are looked up in the destination's own /etc/passwd and /etc/group, never on this machine. Governing
text: "COPY --chown --chmod" in the Dockerfile reference; chmod(1) for symbolic modes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import BuildError

_LARGEST_ID = 0xFFFFFFFE
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)")
_CHANGE = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
_SHIFTS = {"u": 6, "g": 3, "o": 0}
_SPECIAL = {"u": 0o4000, "g": 0o2000, "o": 0o1000}

ReadFile = Callable[[str], bytes]
"""Gives the bytes of a file of the destination, b"" if there is none."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A user and a group, by number."""

    uid: int
    gid: int


def find_owner(text: str, read: ReadFile) -> Owner:
    """
    The owner that ``user[:group]`` means in a root filesystem.

    A number alone stands for user and group; a name alone brings the group of its passwd entry.

    Raises:
        BuildError: a name is not known there, or a number cannot be one.
    """
    user, colon, group = text.partition(":")
    if not user or (colon and not group):
        raise BuildError(f"invalid owner {text!r}: expected user[:group]")
    uid, gid = _user(user, read)
    if colon:
        gid = _group(group, read)
    return Owner(uid, gid)


def is_numeric(text: str) -> bool:
    """Whether ``user[:group]`` is numbers only, so that no account has to be looked up."""
    return all(part.isascii() and part.isdecimal() for part in text.split(":"))


def _user(user: str, read: ReadFile) -> tuple[int, int]:
    number = _number(user)
    if number is not None:
        return number, number
    for fields in _lines(read("etc/passwd")):
        if len(fields) >= 4 and fields[0] == user and fields[2].isdecimal() and fields[3].isdecimal():
            return int(fields[2]), int(fields[3])
    raise _unknown("user", user, "/etc/passwd")


def _group(group: str, read: ReadFile) -> int:
    number = _number(group)
    if number is not None:
        return number
    for fields in _lines(read("etc/group")):
        if len(fields) >= 3 and fields[0] == group and fields[2].isdecimal():
            return int(fields[2])
    raise _unknown("group", group, "/etc/group")


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdecimal()):
        return None
    number = int(text)
    if number > _LARGEST_ID:
        raise BuildError(f"invalid owner {text!r}: numbers go up to {_LARGEST_ID}")
    return number


def _lines(content: bytes) -> list[list[str]]:
    return [line.split(":") for line in content.decode("utf-8", "surrogateescape").splitlines()]


def _unknown(what: str, name: str, file: str) -> BuildError:
    return BuildError(
        f"there is no {what} {name!r} in {file} of the image",
        hint=f"create the {what} in an earlier RUN, or give its number",
    )


ChangeMode = Callable[[int, bool], int]
"""Gives the mode bits of a copied file out of those of its source, and whether it is a directory."""


def parse_mode(text: str) -> ChangeMode | None:
    """
    What a ``--chmod`` does to modes; None for no ``--chmod``.

    Raises:
        BuildError: neither an octal mode up to 7777 nor a symbolic one.
    """
    if not text:
        return None
    if text.isascii() and text.isdigit():
        try:
            mode = int(text, 8)
        except ValueError:
            mode = -1
        if not 0 <= mode <= 0o7777:
            raise BuildError(f"invalid chmod parameter: {text!r}: it should be an octal number up to 7777")
        return lambda _mode, _is_directory: mode
    clauses = [_CLAUSE.fullmatch(clause) for clause in text.split(",")]
    changes = [
        (match[1], operator, permissions)
        for match in clauses
        if match is not None
        for operator, permissions in _CHANGE.findall(match[2])
    ]
    if None in clauses:
        raise BuildError(
            f"invalid chmod parameter: {text!r}", hint="give an octal mode such as 644, or u=rwX,go=rX"
        )

    def change(mode: int, is_directory: bool) -> int:
        for who, operator, permissions in changes:
            mode = _changed(mode, who, operator, permissions, is_directory=is_directory)
        return mode

    return change


def _changed(mode: int, who: str, operator: str, permissions: str, *, is_directory: bool) -> int:
    classes = "ugo" if not who or "a" in who else who
    bits = mask = 0
    for one in classes:
        mask |= 0o7 << _SHIFTS[one] | _SPECIAL[one]
        bits |= _permission_bits(mode, permissions, is_directory=is_directory) << _SHIFTS[one]
        if ("t" if one == "o" else "s") in permissions:
            bits |= _SPECIAL[one]
    if operator == "+":
        return mode | bits
    if operator == "-":
        return mode & ~bits
    if is_directory:
        mask &= ~0o6000  # chmod(1) lets directories keep these unless they are named
    return mode & ~mask | bits


def _permission_bits(mode: int, permissions: str, *, is_directory: bool) -> int:
    if permissions in _SHIFTS and permissions:
        return mode >> _SHIFTS[permissions] & 0o7
    bits = 0
    if "r" in permissions:
        bits |= 4
    if "w" in permissions:
        bits |= 2
    if "x" in permissions or ("X" in permissions and (is_directory or mode & 0o111)):
        bits |= 1
    return bits
