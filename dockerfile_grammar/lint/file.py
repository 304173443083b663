"""
The checks of a file as it is written: they need no variable, no base image and no target.

All stages are looked at, also those that no build needs. Checks of casing and stage names are about the whole
file, so comments above single instructions do not reach them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..instructions import Arg, From, Instruction, Maintainer
from ..parser import Dockerfile
from .linter import Linter
from .rules import (
    CONSISTENT_INSTRUCTION_CASING,
    DUPLICATE_STAGE_NAME,
    FROM_AS_CASING,
    INVALID_DEFINITION_DESCRIPTION,
    MAINTAINER_DEPRECATED,
    NO_EMPTY_CONTINUATION,
    RESERVED_STAGE_NAME,
    STAGE_NAME_CASING,
)

_RESERVED = ("context", "scratch")


def check_file(dockerfile: Dockerfile, linter: Linter) -> None:
    """Check a file as far as its text tells."""
    _empty_continuations(dockerfile, linter)
    for instruction in instructions_of(dockerfile):
        check_instruction(instruction, linter.above(instruction.comments))
    _stage_names(dockerfile, linter)
    _instruction_casing(dockerfile, linter)


def check_instruction(instruction: Instruction, linter: Linter) -> None:
    """Check one instruction by itself."""
    if isinstance(instruction, Maintainer):
        linter.report(MAINTAINER_DEPRECATED, instruction.span)
    elif isinstance(instruction, From):
        _stage_name_casing(instruction, linter)
        _as_casing(instruction, linter)
        if instruction.name:
            _description(instruction, (instruction.name,), linter)
    elif isinstance(instruction, Arg):
        _description(instruction, tuple(pair.name for pair in instruction.pairs), linter)


def instructions_of(dockerfile: Dockerfile) -> tuple[Instruction, ...]:
    """Everything in a file, in order."""
    return (*dockerfile.meta_args, *_of_stages(dockerfile))


def _of_stages(dockerfile: Dockerfile) -> Iterator[Instruction]:
    for stage in dockerfile.stages:
        yield stage.base
        yield from stage.instructions


def _empty_continuations(dockerfile: Dockerfile, linter: Linter) -> None:
    for warning in dockerfile.warnings:
        # The parser has no other warning; the line that counts is the last one of the instruction.
        span = replace(warning.span, start_line=warning.span.end_line)
        linter.report(NO_EMPTY_CONTINUATION, span)


def _stage_name_casing(instruction: From, linter: Linter) -> None:
    if instruction.written_name and instruction.written_name != instruction.written_name.lower():
        linter.report(STAGE_NAME_CASING, instruction.span, instruction.written_name)


def _as_casing(instruction: From, linter: Linter) -> None:
    keyword, word = instruction.keyword, instruction.as_keyword
    if word is None or not _has_one_case(keyword):
        return
    if word != (word.lower() if keyword == keyword.lower() else word.upper()):
        linter.report(FROM_AS_CASING, instruction.span, keyword, word)


def _description(instruction: From | Arg, names: tuple[str, ...], linter: Linter) -> None:
    if not instruction.comments or instruction.comments[-1].split(" ")[0] in names:
        return
    keyword = "FROM" if isinstance(instruction, From) else "ARG"
    wanted = names[0] if len(names) == 1 else "<arg_key>"
    linter.report(INVALID_DEFINITION_DESCRIPTION, instruction.span, keyword, wanted)


def _stage_names(dockerfile: Dockerfile, linter: Linter) -> None:
    seen: set[str] = set()
    for stage in dockerfile.stages:
        if not stage.name:
            continue
        if stage.name in _RESERVED:
            linter.report(RESERVED_STAGE_NAME, stage.base.span, stage.name)
        if stage.name in seen:
            linter.report(DUPLICATE_STAGE_NAME, stage.base.span, stage.name)
        seen.add(stage.name)


def _instruction_casing(dockerfile: Dockerfile, linter: Linter) -> None:
    """Every keyword should have the case of most; upper case wins a tie."""
    plain = [
        instruction.keyword for instruction in _of_stages(dockerfile) if _has_one_case(instruction.keyword)
    ]
    lower = sum(keyword == keyword.lower() for keyword in plain)
    casing = "lowercase" if lower > len(plain) - lower else "uppercase"
    for instruction in _of_stages(dockerfile):
        keyword = instruction.keyword
        if keyword != (keyword.lower() if casing == "lowercase" else keyword.upper()):
            linter.report(CONSISTENT_INSTRUCTION_CASING, instruction.span, keyword, casing)


def _has_one_case(word: str) -> bool:
    return word in (word.lower(), word.upper())
