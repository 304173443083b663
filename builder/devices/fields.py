"""
The members of JSON documents, read strictly: what is not known is an error that says where it stands.

As the programs do that share these documents, a number or a truth value is taken where a text is expected,
and null for a member that is not there. Errors are `ValueError` throughout, since documents are texts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_UNUSABLE = re.compile("[\x00\ud800-\udfff]")
UINT32 = (1 << 32) - 1


def members(value: object, place: str, known: frozenset[str]) -> Mapping[str, Any]:
    """
    The members of an object that are there; an object that is missing has none.

    Raises:
        ValueError: it is no object, or has a member that is not known.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{place or 'the document'} is not an object")  # noqa: TRY004
    unknown = sorted(set(value) - known)
    if unknown:
        raise ValueError(f"{joined(place, unknown[0])} is not a known field")
    return {name: member for name, member in value.items() if member is not None}


def joined(place: str, name: str) -> str:
    """The place of a member."""
    return f"{place}.{name}" if place else name


def items(value: object, place: str) -> list[tuple[Any, str]]:
    """
    The elements of an array, each with its place.

    Raises:
        ValueError: it is no array.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{place} is not an array")  # noqa: TRY004
    return [(element, f"{place}[{number}]") for number, element in enumerate(value)]


def text(value: object, place: str) -> str:
    """
    A text, without zero bytes and lone surrogates.

    Raises:
        ValueError: it is none.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if not isinstance(value, str) or _UNUSABLE.search(value):
        raise ValueError(f"{place} is not a text")
    return value


def number(value: object, place: str, highest: int) -> int:
    """
    A whole number from 0 up to `highest`.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= highest:
        raise ValueError(f"{place} is not a number from 0 to {highest}")
    return value


def optional_number(value: object, place: str, highest: int) -> int | None:
    """The same, or None where there is none."""
    return None if value is None else number(value, place, highest)


def texts(value: object, place: str) -> tuple[str, ...]:
    """
    The texts of an array.

    Raises:
        ValueError: it is no array, or not of texts.
    """
    return tuple(text(element, where) for element, where in items(value, place))


def variables(value: object, place: str) -> tuple[str, ...]:
    """
    The ``NAME=value`` texts of an array.

    Raises:
        ValueError: it is no array of these.
    """
    found = texts(value, place)
    for variable in found:
        if variable.find("=") <= 0:
            raise ValueError(f"{place}: {variable!r} is not NAME=value")
    return found


def truth(value: object, place: str) -> bool:
    """
    A truth value, false where there is none.

    Raises:
        ValueError: it is none.
    """
    if value is None:
        return False
    if not isinstance(value, bool):
        raise ValueError(f"{place} is not true or false")  # noqa: TRY004
    return value
