"""
The plan: a Dockerfile and a request become a graph of steps, before anything runs.

Only stages that the target needs are lowered; those it does not need are neither resolved nor looked at
beyond their syntax. Equal steps have equal digests, whichever stage they
stand in. Governing text: the Dockerfile reference; numbering and messages follow BuildKit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.instructions import Instruction
from dockerfile_grammar.lint.linter import Linter
from dockerfile_grammar.parser import Dockerfile
from dockerfile_grammar.spans import Span
from dockerfile_grammar.stages import Stage
from oci_image.platform import Platform, local_platform

from .checks import check_options, check_plan, check_text
from .contexts.context import BuildContext
from .epochs import Epochs
from .errors import BuildError, ChecksFailed
from .graph import BuildGraph, Origin, Step, Target
from .host import Resolver
from .lowering import files, metadata, run  # noqa: F401 - they register their lowerings
from .lowering.arguments import global_arguments, unconsumed
from .lowering.base import Start, empty_state, image_state, stage_state
from .lowering.devices import Devices
from .lowering.dispatch import lower
from .lowering.state import Scope, StageState
from .named import NamedContext
from .ops import BaseImage, ContextSource, CopyFiles, Scratch
from .reach import Reach, Reached, placed
from .request import BuildRequest
from .sources.base import NotFetched, Remotes
from .stageplans import StagePlan
from .stages import Stages
from .survey import Drafts


async def plan(
    dockerfile: Dockerfile,
    request: BuildRequest,
    contexts: Mapping[str, BuildContext],
    resolver: Resolver,
    *,
    platform: Platform,
    build_platform: Platform | None = None,
    remotes: Remotes | None = None,
    devices: Devices | None = None,
    named: Mapping[str, NamedContext] | None = None,
    several: bool = False,
) -> BuildGraph:
    """
    Plan a build; reads the build context, and waits for registries only.

    Args:
        dockerfile: what to build.
        request: how.
        contexts: build contexts by name, "" for the main one.
        resolver: finds base images.
        platform: what the image is for.
        build_platform: what is built on; this machine by default.
        named: what stands in the place of names; directories are in `contexts` by the same name.
        remotes: gets what ADD takes from the network; None where that is impossible.
        devices: those that RUN may ask for; None where there are none.
        several: the image is one of those of several platforms, and titles of steps say for which.

    Raises:
        DockerfileError: something is wrong in the Dockerfile.
        BuildError: a source, base image or option cannot be used; both have the span.
        ChecksFailed: build checks are broken, and the file makes that an error.
    """
    planner = _Planner(
        dockerfile,
        request,
        contexts,
        platform,
        build_platform or local_platform(),
        devices=devices or Devices(allowed=request.devices),
        named=named or {},
        several=several,
    )
    try:
        target = planner.stages.target(request.target)
        await planner.find_epoch(remotes)
        await planner.reach(target, resolver)
        planner.check()
        graph = await planner.graph(target, remotes)
        if message := planner.linter.violation():
            raise ChecksFailed(message)
    except (DockerfileError, BuildError) as problem:
        # What was found may well explain the problem.
        problem.warnings = planner.findings  # type: ignore[union-attr]
        raise
    return graph


class _Planner:
    def __init__(
        self,
        dockerfile: Dockerfile,
        request: BuildRequest,
        contexts: Mapping[str, BuildContext],
        platform: Platform,
        build_platform: Platform,
        *,
        devices: Devices,
        named: Mapping[str, NamedContext],
        several: bool,
    ) -> None:
        target_name = request.target or dockerfile.stages[-1].name or ""
        self._dockerfile = dockerfile
        self._request = request
        self._contexts = contexts
        self._platform = platform
        self._several = several
        self._devices = devices
        self.linter = Linter(check_options(dockerfile, request.build_args))
        self._global_args = global_arguments(
            dockerfile, request.build_args, target=target_name, platform=platform, build=build_platform
        )
        check_text(dockerfile, self.linter, self._global_args, platform=platform, build=build_platform)
        self._epoch, self._epoch_given = request.effective_epoch, request.epoch is not None
        self.stages = Stages(dockerfile, self._global_args, platform, named)
        self._reached = Reached({}, {})
        self._states: dict[int, StageState] = {}
        self._steps: dict[Step, Step] = {}

    @property
    def findings(self) -> tuple[str, ...]:
        """What the build checks found so far."""
        return tuple(map(str, self.linter.findings))

    async def find_epoch(self, remotes: Remotes | None) -> None:
        """Find the time that files and images get, and let the ARGs of it have it as a number."""
        epochs = Epochs(self._dockerfile, self._request, self._global_args, self._contexts, remotes)
        self._request, self._global_args = await epochs.settled()
        self._epoch, self._epoch_given = self._request.effective_epoch, self._request.epoch is not None

    async def reach(self, target: Stage, resolver: Resolver) -> None:
        """Find the stages that the target needs, with their images."""
        self._reached = await Reach(self.stages, resolver, pull=self._request.pull).from_stage(target)

    def check(self) -> None:
        """Check the stages that were found."""
        check_plan(
            self._dockerfile,
            self._request,
            Drafts(plans=self._reached.plans, images=self._reached.images),
            self.linter,
            arguments=self._global_args,
            contexts=self._contexts,
        )

    async def graph(self, target: Stage, remotes: Remotes | None) -> BuildGraph:
        """Lower the stages in order."""
        for index in sorted(self._reached.plans):
            self._states[index] = await self._lower_stage(self._reached.plans[index], remotes)
        state = self._states[target.index]
        labels = {**state.config.config.labels, **self._request.labels}
        state = state.with_run_config(labels=labels)
        config = state.config
        if self._request.platforms:
            config = replace(config, platform=_labelled(config.platform, self._platform))
        name = target.name or (f"stage-{target.index}" if len(self._dockerfile.stages) > 1 else "")
        warnings = [*self.findings, *self._devices.notices]
        stages = {name for stage in self._dockerfile.stages for name in (stage.name, str(stage.index))}
        for name in self._request.no_cache_filter:
            if name.lower() not in stages:
                warnings.append(f"--no-cache-filter {name}: the Dockerfile has no such stage")
        unused = unconsumed(self._dockerfile, self._request.build_args)
        if unused:
            warnings.append(f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed")
        return BuildGraph(
            targets=(Target(name=name, head=state.head, config=config, platform=self._platform),),
            warnings=tuple(dict.fromkeys(warnings)),
            epoch=self._epoch if self._epoch_given else None,
        )

    async def _lower_stage(self, plan: StagePlan, remotes: Remotes | None) -> StageState:
        state = self._start(plan)
        state = replace(state, head=self._steps.setdefault(state.head, state.head))
        scope = Scope(
            request=self._request,
            escape=self._dockerfile.escape,
            epoch=self._epoch,
            epoch_given=self._epoch_given,
            global_args=self._global_args,
            contexts=self._contexts,
            step_of=lambda reference, span: self._step_of(plan, reference, span),
            devices=self._devices,
            remotes=remotes,
        )
        for number, instruction in enumerate(plan.instructions):
            after = None
            while after is None:
                try:
                    after = _lowered(instruction, state, scope, trigger=number < plan.triggers)
                except NotFetched as missing:
                    await _fetch(missing, instruction, remotes)
            if after.head is not state.head:
                # Of equal steps the first one in the file is shown.
                after = replace(after, head=self._steps.setdefault(after.head, after.head))
            state = after
        return state

    def _start(self, plan: StagePlan) -> StageState:
        start = Start(
            stage=f"{plan.platform} {plan.title}".rstrip() if self._several else plan.title,
            span=plan.stage.base.span,
            platform=plan.platform,
            epoch=self._epoch,
            total=plan.total,
            no_cache=self._request.no_cache or self._is_filtered(plan),
        )
        if plan.parent is not None:
            return stage_state(self._states[plan.parent], start)
        if plan.context is not None:
            return replace(empty_state(start), head=self._context_step(plan.context, start.span))
        if plan.image is None:
            return empty_state(start)
        image = self._reached.images[plan.image]
        found = image.config.value.platform
        if not found.serves(plan.platform):
            start = replace(start, platform=found)
        return image_state(image, str(plan.image.reference.with_digest(image.manifest.digest)), start)

    def _is_filtered(self, plan: StagePlan) -> bool:
        names = {name.lower() for name in self._request.no_cache_filter}
        return bool(names & {plan.stage.name, str(plan.stage.index)})

    def _step_of(self, plan: StagePlan, reference: str, span: Span) -> Step:
        """The result of what ``--from`` names."""
        source = plan.sources[reference]
        if isinstance(source, int):
            return self._states[source].head
        if isinstance(source, str):
            return self._context_step(source, span)
        if source is None:
            return Step(Scratch(), (), Origin(name="FROM scratch", span=span))
        image = self._reached.images[source]
        name = str(source.reference.with_digest(image.manifest.digest))
        return Step(BaseImage(image.layers), (), Origin(name=f"FROM {name}", span=span))

    def _context_step(self, name: str, span: Span) -> Step:
        """The files of a named build context as a filesystem."""
        selection = self._contexts[name].select("")
        source = ContextSource(pattern="", digest=selection.digest, context=name)
        op = CopyFiles(sources=(source,), dest="/", link=True, epoch=self._epoch)
        origin = Origin(name=f"load build context {name}", span=span)
        return Step(op, (Step(Scratch(), (), Origin(name="FROM scratch", span=span)),), origin)


def _lowered(instruction: Instruction, state: StageState, scope: Scope, *, trigger: bool) -> StageState:
    try:
        after = lower(instruction, state, scope)
    except DockerfileError as problem:
        raise problem.located(instruction.span) from None
    except BuildError as problem:
        raise placed(problem, instruction.span) from problem.__cause__
    if not trigger or after.head is state.head:
        return after
    step = after.head
    origin = replace(step.origin, name=f"ONBUILD {step.origin.name}")
    return replace(after, head=Step(step.op, step.inputs, origin))


async def _fetch(missing: NotFetched, instruction: Instruction, remotes: Remotes | None) -> None:
    assert remotes is not None  # noqa: S101 - it was what raised
    try:
        await remotes.fetch(missing.source)
    except BuildError as problem:
        raise placed(problem, instruction.span) from problem.__cause__


def _labelled(found: Platform, wanted: Platform) -> Platform:
    """
    What an image is for when that was asked for: just that, whatever its base is for.

    A base for the same processor knows more of it.
    """
    if (found.os, found.architecture) != (wanted.os, wanted.architecture):
        return wanted
    return replace(
        wanted,
        variant=wanted.variant or found.variant,
        os_version=wanted.os_version or found.os_version,
    )
