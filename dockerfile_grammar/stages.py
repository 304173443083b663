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


def find_stage(stages: Sequence[Stage], reference: str, *, before: int | None = None) -> Stage | None:
    """
    Return the stage that a name or a number stands for.

    Names are compared without regard to case; of several stages with one name the latest counts. None means
    that the reference is something else, usually an image.

    Args:
        stages: the stages of a file in order.
        reference: a name or the number of a stage.
        before: only stages with a smaller index count; an instruction passes the index of its own stage.

    """
    visible = stages if before is None else stages[:before]
    name = reference.lower()
    for stage in reversed(visible):
        if stage.name == name:
            return stage
    if reference.isascii() and reference.isdecimal() and len(reference) < 9 and int(reference) < len(visible):
        return visible[int(reference)]
    return None
