"""
Finds what each stage of a Dockerfile is made of: base, instructions with triggers, and what it takes from.

A name in ``FROM`` or ``--from`` means the latest earlier stage of that name, then an image; a number in
``--from`` counts stages. Stages can only take from earlier ones, so nothing here can be circular.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from dockerfile_grammar import words
from dockerfile_grammar.errors import DockerfileError, UndefinedStage
from dockerfile_grammar.instructions import Copy, From, Instruction, Onbuild, Run
from dockerfile_grammar.parser import Dockerfile
from dockerfile_grammar.spans import Span
from dockerfile_grammar.stages import Stage
from dockerfile_grammar.suggest import did_you_mean
from oci_image.errors import ImageError, InvalidPlatform, InvalidReference
from oci_image.image import Image
from oci_image.platform import Platform
from oci_image.reference import Reference

from .errors import BuildError, CannotResolve, InvalidOption
from .lowering.base import triggers
from .named import NamedContext, NamedImage, NamedStage, name_of
from .stageplans import ImageNeed, StagePlan, StageSource

SCRATCH = "scratch"
"""The name of the empty filesystem; never an image."""

# What is often meant by names that nobody has.
_COMMON = ("alpine", "busybox", "centos", "debian", "fedora", "golang", "ubuntu")


class Stages:
    """
    The stages of one Dockerfile.

    Args:
        dockerfile: the file.
        global_args: what FROM lines see.
        platform: the platform of stages that ask for none.
        named: what stands in the place of names of images and stages.

    Raises:
        InvalidOption: a stage that should stand in somewhere does not exist.
    """

    def __init__(
        self,
        dockerfile: Dockerfile,
        global_args: Mapping[str, str],
        platform: Platform,
        named: Mapping[str, NamedContext] | None = None,
    ) -> None:
        self._named = named or {}
        self._dockerfile = dockerfile
        self._global_args = global_args
        self._platform = platform
        for key, value in self._named.items():
            if isinstance(value, NamedStage) and dockerfile.stage(value.name) is None:
                raise InvalidOption(
                    f"--build-context {key}=target:{value.name}: the Dockerfile has no such stage",
                    hint=did_you_mean(value.name, self._names()),
                )

    def target(self, name: str) -> Stage:
        """
        The stage to build: by name, then by number; the last one for "".

        Raises:
            UndefinedStage: there is no such stage.
        """
        return self._dockerfile.target(name or None)

    def plan(self, index: int) -> StagePlan:
        """
        A stage without triggers and sources: those need its base.

        Raises:
            DockerfileError: a variable of the FROM line cannot be expanded.
            BuildError: the name of the base cannot be used.
        """
        stages = self._dockerfile.stages
        stage = stages[index]
        base = stage.base
        plan = StagePlan(
            stage=stage,
            title=(stage.name or f"stage-{index}") if len(stages) > 1 else "",
            platform=self._stage_platform(base),
            instructions=stage.instructions,
        )
        replacement = self._standing_in(stage.name, plan.platform, index) if stage.name else None
        if replacement is not None:
            return self._based(replace(plan, instructions=(), replaced=True), replacement)
        name = self._expanded(base.image, base)
        if not name:
            raise InvalidOption(f"base name ({base.image}) should not be blank", span=base.span)
        standing_in = self._standing_in(name, plan.platform, index)
        if standing_in is not None:
            return self._based(plan, standing_in)
        parent = next((s.index for s in reversed(stages[:index]) if s.name == name.lower()), None)
        if parent is not None:
            return self._based(plan, parent)
        if name == SCRATCH:
            return replace(plan, platform=self._platform)  # nothing is for no platform of its own
        return replace(plan, image=self._image(name, plan.platform, base.span))

    def _based(self, plan: StagePlan, base: int | ImageNeed | str) -> StagePlan:
        if isinstance(base, int):
            return replace(plan, parent=base, platform=self.plan(base).platform)
        return replace(plan, context=base) if isinstance(base, str) else replace(plan, image=base)

    def with_sources(self, plan: StagePlan, image: Image | None) -> StagePlan:
        """
        The stage with what its base triggers, and with everything that its instructions take from.

        Args:
            plan: the stage.
            image: its base, where that is an image and known.

        Raises:
            DockerfileError: a trigger cannot be parsed, or a stage is taken from that comes later.
            BuildError: the name of an image cannot be used.
        """
        if plan.replaced:
            return plan
        texts: tuple[str, ...] = ()
        if image is not None:
            texts = image.config.value.config.on_build
        elif plan.parent is not None:
            parent = self._dockerfile.stages[plan.parent]
            texts = tuple(one.trigger for one in parent.instructions if isinstance(one, Onbuild))
        fired = triggers(texts, plan.stage.base)
        instructions = (*fired, *plan.stage.instructions)
        sources: dict[str, StageSource] = {}
        images: dict[ImageNeed, Span] = {}
        for name, span in _taken_from(instructions):
            source = sources[name] = self._source(name, plan.stage, span)
            if isinstance(source, ImageNeed):
                images.setdefault(source, span)
        return replace(plan, instructions=instructions, triggers=len(fired), sources=sources, images=images)

    def unresolvable(self, need: ImageNeed, problem: BuildError | ImageError, span: Span) -> BuildError:
        """The error for an image that was not found, with the place and a hint about stages."""
        name = need.reference.familiar_name
        near = did_you_mean(name, self._names())
        hint = f"{near} (a stage of this file)" if near else did_you_mean(name, _COMMON) or problem.hint
        return CannotResolve(problem.message, span=span, hint=hint)

    def _names(self) -> list[str]:
        return [stage.name for stage in self._dockerfile.stages if stage.name]

    def _stage_platform(self, base: From) -> Platform:
        if base.platform is None:
            return self._platform
        text = self._expanded(base.platform, base)
        if not text:
            names = words.expand_with_names(
                base.platform, self._global_args.get, escape=self._dockerfile.escape
            ).unset
            near = (did_you_mean(name, self._global_args) for name in names)
            raise InvalidOption(
                f"empty platform value from expression {base.platform}",
                span=base.span,
                hint=next(filter(None, near), None),
            )
        try:
            return Platform.parse(text)
        except InvalidPlatform as problem:
            raise InvalidOption(
                f"failed to parse platform {base.platform}: {problem.message}", span=base.span
            ) from problem

    def _expanded(self, word: str, base: From) -> str:
        try:
            return words.expand(word, self._global_args.get, escape=self._dockerfile.escape)
        except DockerfileError as problem:
            raise problem.located(base.span) from None

    def _image(self, name: str, platform: Platform, span: Span) -> ImageNeed:
        try:
            return ImageNeed(Reference.parse(name), platform)
        except InvalidReference as problem:
            hint = did_you_mean(name, self._names()) or problem.hint
            raise CannotResolve(problem.message, span=span, hint=hint) from problem

    def _source(self, name: str, stage: Stage, span: Span) -> StageSource:
        if "$" in name:
            raise InvalidOption(
                f"--from={name}: variable expansion is not supported for --from",
                span=span,
                hint="define a stage with FROM, using an ARG from in front of the first FROM",
            )
        standing_in = self._standing_in(name, self._platform, stage.index)
        if standing_in is not None:
            return standing_in
        found = self._dockerfile.stage(name, before=stage.index)
        if found is not None:
            return found.index
        later = self._dockerfile.stage(name)
        if later is not None and self._leads_to(later, stage.index):
            title = stage.name or f"stage-{stage.index}"
            raise UndefinedStage(f"circular dependency detected on stage: {title}", span=span)
        if later is not None:
            raise UndefinedStage(
                f"cannot take from stage {name}: it is defined later, at {later.base.span}",
                span=span,
                hint="move the stage up: stages see the ones above them only",
            )
        if re.fullmatch("[+-]?[0-9]+", name):
            raise UndefinedStage(
                f"invalid stage index {name}: the file has {len(self._dockerfile.stages)} stages, from 0 on",
                span=span,
            )
        return None if name == SCRATCH else self._image(name, self._platform, span)

    def _standing_in(self, name: str, platform: Platform, index: int) -> int | ImageNeed | str | None:
        """
        The stage, the image or the build context that was named like this, if any.

        In a stage that stands in for something, and above it, the name keeps its meaning: stages take from
        earlier ones only, and this one may start from what it stands in for.
        """
        if not self._named:
            return None
        key = name_of(name)
        value = self._named.get(key)
        if isinstance(value, NamedImage):
            return ImageNeed(value.reference, platform)
        if isinstance(value, NamedStage):
            stage = self._dockerfile.stage(value.name)
            return stage.index if stage is not None and stage.index < index else None
        return None if value is None else key

    def _leads_to(self, start: Stage, index: int) -> bool:
        """Whether a stage takes from another, directly or not, wherever they stand."""
        seen: set[int] = set()
        todo = [start]
        while todo:
            stage = todo.pop()
            if stage.index == index:
                return True
            if stage.index in seen:
                continue
            seen.add(stage.index)
            names = [stage.base.image, *(name for name, _ in _taken_from(stage.instructions))]
            todo += [found for name in names if (found := self._dockerfile.stage(name)) is not None]
        return False


def _taken_from(instructions: tuple[Instruction, ...]) -> Iterator[tuple[str, Span]]:
    """Every name that ``COPY --from`` and ``RUN --mount=from`` give, with its place."""
    for instruction in instructions:
        if isinstance(instruction, Copy) and instruction.from_ is not None:
            yield instruction.from_, instruction.span
        elif isinstance(instruction, Run):
            for mount in instruction.mounts:
                if mount.from_ is not None:
                    yield mount.from_, instruction.span
