"""
Filters of ``pybuild prune`` and ``pybuild du``: which holdings are meant, in the words of docker buildx.

``KEY=VALUE`` is equality, ``KEY!=VALUE`` its opposite, ``KEY~=PATTERN`` a regular expression that is found
somewhere; some keys stand alone. All filters have to hold. ``until`` and ``unused-for`` mean what nobody used
for so long. Governing text: ``--filter`` of docker buildx prune and of docker builder prune.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from .errors import InvalidOption
from .holdings import GIT, MOUNT, TYPES, Holding

_FILTER = re.compile(r"(?P<key>[a-z-]+)(?:(?P<operator>!=|~=|=)(?P<value>.*))?", re.DOTALL)
_TEXTS: dict[str, Callable[[Holding], str]] = {
    "id": lambda one: one.id,
    "type": lambda one: one.type,
    "description": lambda one: one.description,
}
_FLAGS: dict[str, Callable[[Holding], bool]] = {
    "inuse": lambda one: one.in_use,
    "shared": lambda one: one.is_shared,
    "private": lambda one: not one.is_shared,
    "mutable": lambda one: one.type in (MOUNT, GIT),
    "immutable": lambda one: one.type not in (MOUNT, GIT),
}
_AGES = ("until", "unused-for")

Condition = Callable[[Holding], bool]


def read_filters(texts: Iterable[str], now: float, seconds: Callable[[str], float]) -> Condition | None:
    """
    Whether a holding is meant; None where there is no filter.

    Args:
        texts: of each filter.
        now: in Unix seconds.
        seconds: reads a duration.

    Raises:
        InvalidOption: there is no such filter, or a value makes no sense.
    """
    conditions = [_condition(text, now, seconds) for text in texts]
    if not conditions:
        return None
    ages = [text for text in texts if text.startswith(_AGES)]
    if len(ages) > 1:
        raise InvalidOption(f"--filter {ages[1]}: a duration is given already")
    return lambda one: all(condition(one) for condition in conditions)


def _condition(text: str, now: float, seconds: Callable[[str], float]) -> Condition:
    match = _FILTER.fullmatch(text)
    key, operator, value = match.group("key", "operator", "value") if match else ("", "", "")
    if key in _FLAGS and not operator:
        return _FLAGS[key]
    if key in _FLAGS and operator != "~=" and value in ("true", "false", "1", "0"):
        flag, wanted = _FLAGS[key], (value in ("true", "1")) == (operator == "=")
        return lambda one: flag(one) == wanted
    if key in _AGES and operator == "=" and value is not None:
        limit = now - seconds(value)
        return lambda one: one.last_used < limit
    if key not in _TEXTS or not operator or value is None:
        known = ", ".join(sorted((*_AGES, *_TEXTS, *_FLAGS)))
        raise InvalidOption(f"--filter {text}: no such filter", hint=f"there are {known}")
    if key == "type" and operator != "~=" and value not in TYPES:
        raise InvalidOption(f"--filter {text}: no such type", hint=f"there are {_listed(TYPES)}")
    return _text(_TEXTS[key], operator, value, text, is_prefix=key == "id")


def _text(
    member: Callable[[Holding], str], operator: str, value: str, text: str, *, is_prefix: bool
) -> Condition:
    if operator == "~=":
        try:
            pattern = re.compile(value)
        except re.error as problem:
            raise InvalidOption(f"--filter {text}: {problem}") from problem
        return lambda one: pattern.search(member(one)) is not None
    wanted = operator == "="
    if is_prefix:  # as long a part of an ID as is shown, or as somebody has it in full
        return lambda one: (value.startswith(member(one)) or member(one).startswith(value)) == wanted
    return lambda one: (member(one) == value) == wanted


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)
