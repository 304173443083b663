"""Build stages: a FROM with the instructions up to the next one, and how a name or number finds a stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .instructions import From, Instruction
from .spans import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage; `index` counts from 0 and `name` is in lower case."""

    index: int
    name: str | None
    base: From
    instructions: tuple[Instruction, ...]
    span: Span


def stage_named(stages: Sequence[Stage], name: str, *, before: int | None = None) -> Stage | None:
    """
    Return the stage of a name, as FROM looks it up; None means that the name is an image.

    Names are compared without regard to case; of several stages with one name the latest counts.

    Args:
        stages: the stages of a file in order.
        name: a stage name, or any other text.
        before: only stages with a smaller index count; an instruction passes the index of its own stage.

    """
    name = name.lower()
    return next((stage for stage in reversed(stages[:before]) if stage.name == name), None)


def find_stage(stages: Sequence[Stage], reference: str, *, before: int | None = None) -> Stage | None:
    """Return the stage of a name or a number, as ``--from`` and ``--target`` find it; see `stage_named`."""
    # No stage name starts with a digit, so a number is always an index.
    if reference.isascii() and reference.isdecimal():
        index = int(reference[:9])
        return stages[index] if index < len(stages[:before]) else None
    return stage_named(stages, reference, before=before)
