"""
Owners as a COPY or ADD gives them: ``--chown=user[:group]``.

Names are looked up in the destination's own /etc/passwd and /etc/group, never on this machine. Governing
text: "COPY --chown --chmod" in the Dockerfile reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import BuildError

_LARGEST_ID = 0xFFFFFFFE

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
