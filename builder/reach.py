"""
The stages that a target needs, found from it backwards, with their base images.

Invariants: what the target does not need is neither resolved nor planned; all images that are known to be
needed are resolved together; an image that is here is not asked for, unless that is wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dockerfile_grammar.spans import Span
from dockerfile_grammar.stages import Stage
from oci_image.errors import ImageError
from oci_image.image import Image

from .errors import BuildError
from .host import Resolver
from .loop import needs_loop
from .stageplans import ImageNeed, StagePlan
from .stages import Stages


@dataclass(frozen=True, slots=True)
class Reached:
    """The stages that are needed, by index, and the images that they start or take from."""

    plans: Mapping[int, StagePlan]
    images: Mapping[ImageNeed, Image]


class Reach:
    """
    One search; used once.

    Args:
        stages: the stages of the file.
        resolver: finds images.
        pull: ask registries also for images that are here.
    """

    def __init__(self, stages: Stages, resolver: Resolver, *, pull: bool) -> None:
        self._stages = stages
        self._resolver = resolver
        self._pull = pull
        self._plans: dict[int, StagePlan] = {}
        self._images: dict[ImageNeed, Image] = {}

    async def from_stage(self, target: Stage) -> Reached:
        """
        The stages that the target needs, itself included, and the images of all of them.

        Raises:
            DockerfileError: a FROM line, a trigger or a name of a stage cannot be used.
            BuildError: an image cannot be had; it has the span.
        """
        waiting = {target.index}
        while waiting:
            drafts = self._closure(waiting)
            needs = {draft.image: draft.stage.base.span for draft in drafts if draft.image}
            for draft in drafts:
                needs.update(draft.images)
            await self._resolve(needs)
            # Triggers of the images may take from more stages and images.
            used = [
                self._stages.with_sources(draft, self._images[draft.image]) if draft.image else draft
                for draft in drafts
            ]
            self._plans.update((plan.stage.index, plan) for plan in used)
            for plan in used:
                await self._resolve(plan.images)
            waiting = {index for plan in used for index in plan.needed} - self._plans.keys()
        return Reached(self._plans, self._images)

    def _closure(self, indexes: set[int]) -> list[StagePlan]:
        """The stages, and all that they need as far as the file itself tells."""
        drafts: dict[int, StagePlan] = {}
        todo = sorted(indexes)
        while todo:
            index = todo.pop()
            if index in drafts or index in self._plans:
                continue
            drafts[index] = self._stages.with_sources(self._stages.plan(index), None)
            todo.extend(drafts[index].needed)
        return list(drafts.values())

    async def _resolve(self, needs: Mapping[ImageNeed, Span]) -> None:
        missing: list[ImageNeed] = []
        for need, span in needs.items():
            if need in self._images:
                continue
            try:
                image = None if self._pull else self._resolver.local(need.reference, need.platform)
            except BuildError as problem:
                raise placed(problem, span) from None
            if image is None:
                missing.append(need)
            else:
                self._images[need] = image
        if not missing:
            return
        await needs_loop()
        import asyncio

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._ask(need, needs[need])) for need in missing]
        except BaseExceptionGroup as problems:
            raise problems.exceptions[0] from None
        self._images.update(zip(missing, (task.result() for task in tasks), strict=True))

    async def _ask(self, need: ImageNeed, span: Span) -> Image:
        try:
            return await self._resolver.resolve(need.reference, need.platform, pull=self._pull)
        except (BuildError, ImageError) as problem:
            raise self._stages.unresolvable(need, problem, span) from problem


def placed(problem: BuildError, span: Span) -> BuildError:
    """The problem with its place in the Dockerfile, if it has none yet."""
    if problem.span is None:
        problem.span = span
    return problem
