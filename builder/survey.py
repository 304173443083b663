"""
A look at the instructions of stages, each with the state in front of it, without files and without steps.

What changes the state by itself is lowered by the code that builds use; RUN, COPY and ADD leave it as it is,
so neither the build context nor a layer is read. Mistakes are collected and do not end the survey.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias

from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.instructions import Add, Copy, Instruction, Run
from dockerfile_grammar.parser import Dockerfile
from dockerfile_grammar.spans import Span
from oci_image.errors import ImageError
from oci_image.image import Image

from .errors import BuildError
from .host import Resolver
from .loop import needs_loop
from .lowering import files, metadata, run  # noqa: F401 - they register their lowerings
from .lowering.base import Start, empty_state, image_state, stage_state
from .lowering.dispatch import lower
from .lowering.state import Scope, StageState
from .request import BuildRequest
from .stageplans import ImageNeed, StagePlan
from .stages import Stages

Mistake: TypeAlias = DockerfileError | BuildError


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """An instruction and the state in front of it."""

    instruction: Instruction
    state: StageState


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSurvey:
    """
    One stage.

    `is_known` tells whether the base image was found; without it the state lacks what the image brings.
    """

    plan: StagePlan
    image: Image | None
    is_known: bool
    visits: tuple[Visit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafts:
    """Stages with what they start from, and what was wrong with others."""

    plans: Mapping[int, StagePlan]
    images: Mapping[ImageNeed, Image]
    mistakes: list[Mistake] = field(default_factory=list)


async def find_stages(
    stages: Stages, indexes: Iterable[int], resolver: Resolver, *, ask: bool, pull: bool = False
) -> Drafts:
    """
    The stages of these indexes and all that they need.

    Args:
        stages: of the file.
        indexes: where to begin.
        resolver: finds images.
        ask: whether registries are asked for images that are not here; a missing one is a mistake then.
        pull: whether they are asked for those that are here, too.
    """
    plans: dict[int, StagePlan] = {}
    images: dict[ImageNeed, Image] = {}
    mistakes: list[Mistake] = []

    async def find(need: ImageNeed, span: Span) -> Image | None:
        if need in images:
            return images[need]
        try:
            found = None if pull and ask else resolver.local(need.reference, need.platform)
            if found is None and ask:
                await needs_loop()
                found = await resolver.resolve(need.reference, need.platform, pull=pull)
        except (BuildError, ImageError) as problem:
            mistakes.append(stages.unresolvable(need, problem, span))
            return None
        if found is not None:
            images[need] = found
        return found

    todo = sorted(indexes)
    while todo:
        index = todo.pop(0)
        if index in plans:
            continue
        try:
            plan = stages.plan(index)
            image = await find(plan.image, plan.stage.base.span) if plan.image else None
            plan = stages.with_sources(plan, image)
        except (DockerfileError, BuildError) as problem:
            mistakes.append(problem)
            continue
        for need, span in plan.images.items():
            await find(need, span)
        plans[index] = plan
        todo += plan.needed
    return Drafts(plans=plans, images=images, mistakes=mistakes)


class Surveyor:
    """
    Looks at stages in order.

    Args:
        dockerfile: the file.
        request: of the build.
        global_args: what FROM lines see.
    """

    def __init__(self, dockerfile: Dockerfile, request: BuildRequest, global_args: Mapping[str, str]) -> None:
        self._request = request
        self._scope = Scope(
            request=request,
            escape=dockerfile.escape,
            epoch=0,
            epoch_given=False,
            global_args=global_args,
            contexts={},
            step_of=_no_step,
        )
        self._after: dict[int, tuple[StageState, bool]] = {}

    def survey(self, drafts: Drafts) -> list[StageSurvey]:
        """Every stage whose base is there; mistakes are added to the drafts."""
        return [
            self._stage(plan, drafts)
            for _, plan in sorted(drafts.plans.items())
            if plan.parent is None or plan.parent in self._after
        ]

    def _stage(self, plan: StagePlan, drafts: Drafts) -> StageSurvey:
        image = drafts.images.get(plan.image) if plan.image is not None else None
        state, is_known = self._start(plan, image)
        visits = []
        for instruction in plan.instructions:
            visits.append(Visit(instruction=instruction, state=state))
            try:
                state = self._next(instruction, state)
            except DockerfileError as problem:
                drafts.mistakes.append(problem.located(instruction.span))
            except BuildError as problem:
                problem.span = problem.span or instruction.span
                drafts.mistakes.append(problem)
        self._after[plan.stage.index] = state, is_known
        return StageSurvey(plan=plan, image=image, is_known=is_known, visits=tuple(visits))

    def _next(self, instruction: Instruction, state: StageState) -> StageState:
        if isinstance(instruction, Add | Copy | Run):
            return state
        return lower(instruction, state, self._scope)

    def _start(self, plan: StagePlan, image: Image | None) -> tuple[StageState, bool]:
        start = Start(
            stage=plan.title,
            span=plan.stage.base.span,
            platform=plan.platform,
            epoch=0,
            total=plan.total,
            no_cache=False,
        )
        if plan.parent is not None:
            parent, is_known = self._after[plan.parent]
            return stage_state(parent, start), is_known
        if image is None:
            return empty_state(start), plan.image is None
        return image_state(image, str(plan.image and plan.image.reference), start), True


def _no_step(reference: str, span: Span) -> NoReturn:
    raise AssertionError(f"{span}: {reference} is not looked at here")
