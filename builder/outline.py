"""
What can be asked of a Dockerfile before it is built: its targets, and the parameters that one target takes.

Nothing waits here: base images that are not in the local store count as having no variables and no triggers.
What is told is what BuildKit tells.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dockerfile_grammar import words
from dockerfile_grammar.instructions import Arg, ArgPair, Instruction, Run
from dockerfile_grammar.mounts import MountFlag, parse_mount
from dockerfile_grammar.parser import Dockerfile
from dockerfile_grammar.spans import Span
from oci_image.platform import Platform, local_platform

from .host import Resolver
from .lowering.arguments import global_arguments
from .lowering.state import StageState
from .named import read_named
from .request import BuildRequest
from .stages import Stages
from .survey import StageSurvey, Surveyor, find_stages


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """An ARG that has an influence on the target, with its value in this build."""

    name: str
    description: str
    value: str
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A secret or an agent that a RUN asks for."""

    name: str
    required: bool
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What a target takes, in the order of the file."""

    name: str
    description: str
    args: tuple[Parameter, ...]
    secrets: tuple[Credential, ...]
    ssh: tuple[Credential, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetInfo:
    """A stage that can be built."""

    name: str
    description: str
    base: str
    platform: str
    is_default: bool
    span: Span


def list_targets(dockerfile: Dockerfile) -> tuple[TargetInfo, ...]:
    """Every stage; the last one is the default."""
    return tuple(
        TargetInfo(
            name=stage.name or "",
            description=stage.base.doc,
            base=stage.base.image,
            platform=stage.base.platform or "",
            is_default=stage is dockerfile.stages[-1],
            span=stage.base.span,
        )
        for stage in dockerfile.stages
    )


async def outline(
    dockerfile: Dockerfile,
    request: BuildRequest,
    resolver: Resolver,
    *,
    platform: Platform,
    build_platform: Platform | None = None,
) -> Outline:
    """
    The parameters of the target of a request, and of all stages that it is made from.

    Raises:
        DockerfileError: a variable cannot be expanded, or a stage that is needed is malformed.
        BuildError: the same for names of images.
    """
    target = dockerfile.target(request.target or None)
    here = build_platform or local_platform()
    arguments = global_arguments(
        dockerfile, request.build_args, target=target.name or "", platform=platform, build=here
    )
    drafts = await find_stages(
        Stages(dockerfile, arguments, platform, read_named(request.build_contexts)),
        [target.index],
        resolver,
        ask=False,
    )
    surveys = Surveyor(dockerfile, request, arguments).survey(drafts)
    if drafts.mistakes:
        raise drafts.mistakes[0]
    found = _Found(
        globals=_global_parameters(dockerfile, request, arguments),
        arguments=arguments,
        build_args=request.build_args,
        escape=dockerfile.escape,
    )
    by_index = {survey.plan.stage.index: survey for survey in surveys}
    for index in _from_target(target.index, by_index):
        found.stage(by_index[index])
    return Outline(
        name=target.name or "",
        description=target.base.doc,
        args=_by_line(found.parameters.values()),
        secrets=_by_line(found.secrets.values()),
        ssh=_by_line(found.ssh.values()),
    )


def _from_target(target: int, surveys: Mapping[int, StageSurvey]) -> list[int]:
    """The stages from the target on: a name that several declare means what the nearest one says."""
    order: dict[int, None] = {}
    todo = [target]
    while todo:
        index = todo.pop(0)
        if index in order or index not in surveys:
            continue
        order[index] = None
        parent = surveys[index].plan.parent
        others = sorted(surveys[index].plan.needed - {parent}, reverse=True)
        todo += others if parent is None else [parent, *others]
    return list(order)


def _by_line(items: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted(items, key=lambda item: item.span.start_line))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Global:
    """An ARG in front of FROM, and the names that its default is made of."""

    parameter: Parameter
    needs: frozenset[str]


def _global_parameters(
    dockerfile: Dockerfile, request: BuildRequest, arguments: Mapping[str, str]
) -> dict[str, _Global]:
    found: dict[str, _Global] = {}
    known = dict(arguments)
    for instruction in dockerfile.meta_args:
        for pair in instruction.pairs:
            needs: frozenset[str] = frozenset()
            value = request.build_args.get(pair.name)
            if value is None and pair.default is not None:
                result = words.expand_with_names(pair.default, known.get, escape=dockerfile.escape)
                value, needs = result.text, frozenset(result.used)
            if pair.name in found:
                needs |= found[pair.name].needs
            if value is not None:
                known[pair.name] = value
            parameter = _parameter(pair, value, instruction)
            found[pair.name] = _Global(parameter=parameter, needs=needs - {pair.name})
    return found


def _parameter(pair: ArgPair, value: str | None, instruction: Instruction) -> Parameter:
    return Parameter(name=pair.name, description=pair.doc, value=value or "", span=instruction.span)


@dataclass(slots=True, kw_only=True)
class _Found:
    """Collects, stage by stage, what is used."""

    globals: Mapping[str, _Global]
    arguments: Mapping[str, str]
    build_args: Mapping[str, str]
    escape: str
    parameters: dict[str, Parameter] = field(default_factory=dict)
    secrets: dict[str, Credential] = field(default_factory=dict)
    ssh: dict[str, Credential] = field(default_factory=dict)

    def stage(self, survey: StageSurvey) -> None:
        """Add what a stage uses."""
        own: dict[str, Parameter] = {}
        used: set[str] = set()
        base = survey.plan.stage.base
        for word in filter(None, (base.image, base.platform)):
            used.update(words.expand_with_names(word, self.arguments.get, escape=self.escape).used)
        for visit in survey.visits:
            if isinstance(visit.instruction, Arg):
                self._arg(visit.instruction, visit.state, own, used)
            elif isinstance(visit.instruction, Run):
                for mount in visit.instruction.mounts:
                    self._mount(mount, visit.instruction, visit.state)
        for parameter in own.values():
            self.parameters.setdefault(parameter.name, parameter)
        for name in self._with_needs(used):
            self.parameters.setdefault(name, self.globals[name].parameter)

    def _arg(self, instruction: Arg, state: StageState, own: dict[str, Parameter], used: set[str]) -> None:
        for pair in instruction.pairs:
            value = self.build_args.get(pair.name)
            if value is None and pair.default is not None:
                value = words.expand(pair.default, state.env.get, escape=self.escape)
            elif value is None and pair.name in self.arguments:
                # Taken over from in front of FROM, where it is described.
                used.add(pair.name)
                state = state.with_variable(pair.name, self.arguments[pair.name])
                continue
            own[pair.name] = _parameter(pair, value, instruction)
            if value is not None:
                state = state.with_variable(pair.name, value)

    def _with_needs(self, used: set[str]) -> set[str]:
        todo, seen = list(used), set()
        while todo:
            name = todo.pop()
            if name in self.globals and name not in seen:
                seen.add(name)
                todo += self.globals[name].needs
        return seen

    def _mount(self, flag: MountFlag, instruction: Run, state: StageState) -> None:
        mount = flag
        if flag.unresolved:
            mount = parse_mount(
                flag.text, expand=lambda value: words.expand(value, state.env.get, escape=self.escape)
            )
        if mount.type == "secret":
            name = mount.source or mount.id or posixpath.basename(mount.target or "")
            found = Credential(name=name, required=mount.required, span=instruction.span)
            self.secrets.setdefault(name, found)
        elif mount.type == "ssh":
            found = Credential(name=mount.id or "default", required=mount.required, span=instruction.span)
            self.ssh.setdefault(found.name, found)
