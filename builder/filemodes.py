"""
The values of ``--chmod``: octal numbers, and symbolic modes as BSD's chmod(1) and BuildKit read them.

A symbolic mode is clauses with commas between them: whose bits (``ugoa``, everybody's where nothing is
said), then operators with permissions (``rwxXst``) or classes to copy from (``ugo``). Unlike with GNU's
chmod, ``=`` also takes the set-ID bits of directories away, and ``t`` counts unless the only class is ``o``.
Governing text: "COPY --chmod" in the Dockerfile reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

ChangeMode = Callable[[int, bool], int]
"""Gives the mode bits of a copied file out of those of its source, and whether it is a directory."""

_LARGEST = 0o7777
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=][rwxXstugo]*)+)")
_CHANGE = re.compile(r"([-+=])([rwxXstugo]*)")
_PART = re.compile(r"[ugo]|[rwxXst]+")
_SHIFTS = {"u": 6, "g": 3, "o": 0}
_SET_ID = {"u": 0o4000, "g": 0o2000, "o": 0}
_STICKY = 0o1000
_EXECUTE = 0o111


class _Change(NamedTuple):
    """One operator with permissions, or with the class from which they are copied."""

    classes: str
    operator: str
    permissions: str


def parse_mode(text: str) -> ChangeMode:
    """
    What a ``--chmod`` does to modes.

    Raises:
        ValueError: it is neither an octal number up to 7777 nor a symbolic mode.

    """
    if text[:1].isdigit():
        mode = octal_mode(text)
        if mode is None:
            raise ValueError(f"no octal number up to 7777: {text!r}")
        return lambda _mode, _is_directory: mode
    changes = list(_changes(text))

    def change(mode: int, is_directory: bool) -> int:
        executes = is_directory or bool(mode & _EXECUTE)
        for one in changes:
            mode = _changed(mode, one, executes=executes)
        return mode

    return change


def octal_mode(text: str) -> int | None:
    """The number that a mode is; None where it is none, or above 7777."""
    if not re.fullmatch("[0-7]{1,12}", text):
        return None
    mode = int(text, 8)
    return mode if mode <= _LARGEST else None


def _changes(text: str) -> Iterator[_Change]:
    for clause in text.split(","):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise ValueError(f"no symbolic mode: {text!r}")
        classes = "ugo" if not match[1] or "a" in match[1] else match[1]
        for operator, permissions in _CHANGE.findall(match[2]):
            # Each part counts by itself, so that of several after one "=" the last decides.
            for part in _PART.findall(permissions) or [""]:
                yield _Change(classes, operator, part)


def _changed(mode: int, change: _Change, *, executes: bool) -> int:
    if change.permissions in _SHIFTS:
        copied = mode >> _SHIFTS[change.permissions] & 0o7
        bits = _for_classes(copied, change.classes)
        mask = _for_classes(0o7, change.classes)
    else:
        bits = _bits(change, executes=executes)
        mask = _for_classes(0o7, change.classes) | _set_ids(change.classes) | bits & _STICKY
    if change.operator == "+":
        return mode | bits
    return mode & ~(bits if change.operator == "-" else mask) | (bits if change.operator == "=" else 0)


def _bits(change: _Change, *, executes: bool) -> int:
    permissions = change.permissions
    digit = 4 * ("r" in permissions) + 2 * ("w" in permissions)
    # Taking X away is taking x away.
    if "x" in permissions or ("X" in permissions and (executes or change.operator == "-")):
        digit += 1
    bits = _for_classes(digit, change.classes)
    if "s" in permissions:
        bits |= _set_ids(change.classes)
    if "t" in permissions and set(change.classes) != {"o"}:
        bits |= _STICKY
    return bits


def _for_classes(digit: int, classes: str) -> int:
    bits = 0
    for one in classes:
        bits |= digit << _SHIFTS[one]
    return bits


def _set_ids(classes: str) -> int:
    bits = 0
    for one in classes:
        bits |= _SET_ID[one]
    return bits
