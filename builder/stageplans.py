"""
What planning knows of a stage: what it starts from, its instructions with triggers, and what it takes from.

These are values; `stages.py` finds them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from dockerfile_grammar.instructions import Add, Copy, Instruction, Run, Workdir
from dockerfile_grammar.spans import Span
from dockerfile_grammar.stages import Stage
from oci_image.platform import Platform
from oci_image.reference import Reference


@dataclass(frozen=True, slots=True)
class ImageNeed:
    """An image that has to be resolved."""

    reference: Reference
    platform: Platform


StageSource: TypeAlias = int | ImageNeed | str | None
"""What ``--from`` stands for: the index of a stage, an image, a named build context, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """
    One stage, ready to be lowered.

    It starts from the stage `parent`, from `image`, from the build context `context`, or from nothing. The
    first `triggers` of its instructions are those of ONBUILD. `sources` says what each ``--from`` stands for.
    A stage that is `replaced` by a named build context is that, and its instructions do not count.
    """

    stage: Stage
    title: str
    platform: Platform
    parent: int | None = None
    image: ImageNeed | None = None
    context: str | None = None
    instructions: tuple[Instruction, ...]
    triggers: int = 0
    sources: Mapping[str, StageSource] = field(default_factory=dict)
    images: Mapping[ImageNeed, Span] = field(default_factory=dict)
    replaced: bool = False

    @property
    def needed(self) -> frozenset[int]:
        """The indexes of the stages that this one takes from."""
        indexes = [source for source in self.sources.values() if isinstance(source, int)]
        return frozenset(indexes if self.parent is None else [*indexes, self.parent])

    @property
    def total(self) -> int:
        """How many steps progress shows for the stage: the image it starts from, and each layer."""
        steps = sum(
            isinstance(instruction, Add | Copy | Run)
            or (isinstance(instruction, Workdir) and instruction.path != "/")
            for instruction in self.instructions
        )
        return steps + (self.image is not None)
