"""
The ``--name=value`` words between the keyword of an instruction and its arguments.

`FLAGS` is the one table of what each instruction takes. A flag is given once unless it is a list; a switch
may stand alone; quotes and escapes inside a flag are resolved before its value is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from .errors import InvalidFlag
from .suggest import did_you_mean


class FlagKind(Enum):
    """What a flag takes."""

    TEXT = "text"
    LIST = "list"
    SWITCH = "switch"


_COPYING = {
    "chown": FlagKind.TEXT,
    "chmod": FlagKind.TEXT,
    "link": FlagKind.SWITCH,
    "exclude": FlagKind.LIST,
}

FLAGS: Mapping[str, Mapping[str, FlagKind]] = {
    "from": {"platform": FlagKind.TEXT},
    "run": {
        "mount": FlagKind.LIST,
        "network": FlagKind.TEXT,
        "security": FlagKind.TEXT,
        "device": FlagKind.LIST,
    },
    "copy": {**_COPYING, "from": FlagKind.TEXT, "parents": FlagKind.SWITCH},
    "add": {
        **_COPYING,
        "checksum": FlagKind.TEXT,
        "keep-git-dir": FlagKind.SWITCH,
        "unpack": FlagKind.SWITCH,
    },
    "healthcheck": {
        "interval": FlagKind.TEXT,
        "timeout": FlagKind.TEXT,
        "start-period": FlagKind.TEXT,
        "start-interval": FlagKind.TEXT,
        "retries": FlagKind.TEXT,
    },
}
"""Flags by instruction and name; instructions that take none are not listed."""


@dataclass(frozen=True, slots=True)
class FlagValues:
    """The flags that were given, in order."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def used(self) -> tuple[str, ...]:
        """Names of the given flags, in order of their first use."""
        return tuple(self.values)

    def text(self, name: str) -> str | None:
        """Return the value of a flag, None when it was not given."""
        given = self.values.get(name)
        return given[-1] if given else None

    def switch(self, name: str) -> bool | None:
        """Return a switch, None when it was not given."""
        value = self.text(name)
        return None if value is None else value == "true"

    def all(self, name: str) -> tuple[str, ...]:
        """Return every value of a list flag."""
        return self.values.get(name, ())


def parse_flags(known: Mapping[str, FlagKind], arguments: Iterable[str]) -> FlagValues:
    """
    Check flags against what is known.

    Args:
        known: flag names without dashes, and what each takes.
        arguments: the flags with quotes and escapes resolved; a lone ``--`` ends them.

    Raises:
        InvalidFlag: a flag is unknown, repeated, or has no acceptable value.

    """
    values: dict[str, tuple[str, ...]] = {}
    for argument in arguments:
        if argument == "--":
            break
        written, has_value, value = argument.partition("=")
        name = written.removeprefix("--")
        if not written.startswith("--"):
            raise InvalidFlag(f"arg should start with -- : {argument}")
        if name not in known:
            raise InvalidFlag(
                f"unknown flag: {written}", hint=did_you_mean(written, (f"--{flag}" for flag in known))
            )
        if name in values and known[name] is not FlagKind.LIST:
            raise InvalidFlag(f"duplicate flag specified: {written}")
        if known[name] is FlagKind.SWITCH:
            value = _switch_value(written, value.lower(), given=bool(has_value))
        elif not has_value:
            raise InvalidFlag(f"missing a value on flag: {written}")
        values[name] = (*values.get(name, ()), value)
    return FlagValues(values)


def _switch_value(written: str, value: str, *, given: bool) -> str:
    if not given:
        return "true"
    if not value:
        raise InvalidFlag(f"missing a value on flag: {written}")
    if value not in ("true", "false"):
        raise InvalidFlag(f"expecting boolean value for flag {written}, not: {value}")
    return value


def resolve_quotes(word: str, escape: str) -> str:
    """Remove the quotes and escapes of a flag; unlike in words, both work inside either kind of quotes."""
    result: list[str] = []
    quotation = ""
    chars = iter(word)
    for char in chars:
        if char == escape:
            result.append(next(chars, ""))
        elif quotation:
            if char == quotation:
                quotation = ""
            else:
                result.append(char)
        elif char in "'\"":
            quotation = char
        else:
            result.append(char)
    return "".join(result)
