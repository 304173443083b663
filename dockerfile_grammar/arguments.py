"""
The arguments of single instructions: what a value may be once the grammar has found it.

Everything raised is a `DockerfileError` without a span; `parser` adds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import InvalidFlag, SyntaxProblem
from .flags import FlagValues
from .golang import parse_duration, quote
from .instructions import CommandLine, Pair
from .suggest import did_you_mean

NETWORKS = ("default", "none", "host")
SECURITY_MODES = ("sandbox", "insecure")
_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*")
_MILLISECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Words:
    """Arguments divided by blanks."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LegacyPair:
    """``NAME value``; the value is None where it is missing."""

    name: str
    value: str | None


def doc_comment(comments: Iterable[str], name: str) -> str:
    """Return the description of `name` in the comments above an instruction, or ""."""
    return next((line[len(name) + 1 :] for line in comments if line.startswith(f"{name} ")), "")


def name_value_pairs(arguments: Words | LegacyPair, keyword: str) -> tuple[Pair, ...]:
    """
    Return the names and values of ENV or LABEL.

    Raises:
        SyntaxProblem: a value is missing.

    """
    if isinstance(arguments, LegacyPair):
        if arguments.value is None:
            raise SyntaxProblem(f"{keyword} must have two arguments")
        return (Pair(arguments.name, arguments.value),)
    for word in arguments.words:
        if "=" not in word:
            raise SyntaxProblem(
                f"Syntax error - can't find = in {quote(word)}. Must be of the form: name=value"
            )
    return tuple(Pair(name, value) for name, _, value in (word.partition("=") for word in arguments.words))


def stage_name(written: str) -> str:
    """
    Return the name of a stage in lower case.

    Raises:
        SyntaxProblem: it is no name.

    """
    name = written.lower()
    if not _STAGE_NAME.fullmatch(name):
        raise SyntaxProblem(
            f"invalid name for build stage: {quote(written)}, "
            "name can't start with a number or contain symbols"
        )
    return name


def one_of(value: str | None, allowed: tuple[str, ...], complaint: str) -> str | None:
    """
    Return a value that has to be one of a few words, or None when it was not given.

    Raises:
        InvalidFlag: it is another word.

    """
    if value is not None and value not in allowed:
        raise InvalidFlag(complaint.format(quote(value)), hint=did_you_mean(value, allowed))
    return value


def probe(kind: str, command: CommandLine) -> tuple[str, ...]:
    """
    Return the test of a HEALTHCHECK as the image config has it.

    Raises:
        SyntaxProblem: the kind is unknown or does not go with the command.

    """
    if kind == "NONE":
        if not command.is_empty:
            raise SyntaxProblem("HEALTHCHECK NONE takes no arguments")
        return ("NONE",)
    if kind != "CMD":
        raise SyntaxProblem(f"Unknown type {quote(kind)} in HEALTHCHECK (try CMD)")
    if command.is_empty:
        raise SyntaxProblem("Missing command after HEALTHCHECK CMD")
    return ("CMD-SHELL", command.text) if command.shell else ("CMD", *command.argv)


def interval(flags: FlagValues, name: str) -> int:
    """
    Return a duration of a HEALTHCHECK in nanoseconds; 0 when it was not given.

    Raises:
        InvalidFlag: it is no duration, or shorter than a millisecond.

    """
    text = flags.text(name)
    if not text:
        return 0
    try:
        duration = parse_duration(text)
    except ValueError as error:
        raise InvalidFlag(f"--{name}: {error}") from None
    if duration != 0 and duration < _MILLISECOND:
        raise InvalidFlag(f'Interval "{name}" cannot be less than 1ms')
    return duration


def retries(text: str | None) -> int:
    """
    Return the number of retries of a HEALTHCHECK; 0 when it was not given.

    Raises:
        InvalidFlag: it is no number, or negative.

    """
    if not text:
        return 0
    if not re.fullmatch(r"[+-]?[0-9]{1,10}", text) or int(text) >= 2**31:
        raise InvalidFlag(f"--retries: invalid number {quote(text)}")
    if int(text) < 0:
        raise InvalidFlag(f"--retries cannot be negative ({int(text)})")
    return int(text)
