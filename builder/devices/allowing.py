"""
What ``--allow device`` lets a build use: every device, or some by name, perhaps under another name.

The forms are those of docker buildx: ``device``, ``device=NAME`` and ``device=NAME,alias=OTHER``, where the
Dockerfile says OTHER and gets NAME. A NAME may be anything that ``RUN --device`` takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dockerfile_grammar.golang import csv_fields

from ..errors import InvalidOption

ENTITLEMENT = "device"


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedDevices:
    """What may be asked for by name, and what aliased names stand for; or `everything`."""

    everything: bool = False
    names: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = field(default_factory=dict, hash=False)


def read_allowed(texts: Iterable[str]) -> AllowedDevices | None:
    """
    Read those values of ``--allow`` that are about devices; None when there is none.

    Raises:
        InvalidOption: a value is malformed.
    """
    everything, is_given = False, False
    given: dict[str, str] = {}
    for text in texts:
        entitlement, _, value = text.partition("=")
        if entitlement != ENTITLEMENT:
            continue
        is_given = True
        if not value:
            everything = True
            continue
        name, alias = _named(text, value)
        given[alias or name] = name if alias else ""
    if not is_given:
        return None
    return AllowedDevices(
        everything=everything,
        names=frozenset(name for name, real in given.items() if not real),
        aliases={name: real for name, real in given.items() if real},
    )


def _named(text: str, value: str) -> tuple[str, str]:
    hint = "as in --allow device=vendor.com/class=name or --allow device=NAME,alias=OTHER"
    try:
        name, *options = csv_fields(value)
    except ValueError as problem:
        raise InvalidOption(f"--allow {text}: {problem}", hint=hint) from problem
    alias = ""
    for option in options:
        key, equals, word = option.partition("=")
        if not equals:
            raise InvalidOption(f"--allow {text}: {option!r} is not KEY=VALUE", hint=hint)
        if key != "alias":
            raise InvalidOption(f"--allow {text}: unexpected key {key!r}", hint=hint)
        alias = word
    if not name:
        raise InvalidOption(f"--allow {text}: the name is missing", hint=hint)
    return name, alias
