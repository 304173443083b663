"""
The build checks of instructions, which need the state in front of each: variables, SHELL, the base image.

Variables are expanded by the same code and from the same states as in a build; what is a mistake there is
returned here. Governing text: https://docs.docker.com/reference/build-checks/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from dockerfile_grammar import words
from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.ignorefile import IgnoreMatcher
from dockerfile_grammar.instructions import (
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Instruction,
    Label,
    Run,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from dockerfile_grammar.lint import stage as rules_of_stages
from dockerfile_grammar.lint.linter import Linter
from dockerfile_grammar.lint.rules import INVALID_BASE_IMAGE_PLATFORM, UNDEFINED_VAR
from dockerfile_grammar.mounts import parse_mount
from dockerfile_grammar.suggest import nearest

from .lowering.metadata import NOT_VARIABLES
from .lowering.state import StageState
from .survey import Mistake, StageSurvey

_REMOTE = ("http://", "https://", "git://", "ssh://", "git@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """
    What all stages share.

    `escape` is the escape character, `global_args` what FROM lines see, `matcher` the ignore rules of the
    main build context.
    """

    escape: str
    build_args: Mapping[str, str]
    global_args: Mapping[str, str]
    matcher: IgnoreMatcher | None


def check_stages(
    stages: list[StageSurvey],
    linter: Linter,
    known: Known,
) -> list[Mistake]:
    """Check the instructions of stages, in order; returns what cannot be expanded."""
    mistakes: list[Mistake] = []
    has_workdir: set[int] = set()
    for survey in stages:
        plan = survey.plan
        checks = _StageChecks(survey, linter, known)
        checks.has_workdir = plan.parent in has_workdir
        checks.base_platform()
        for visit in survey.visits:
            try:
                checks.instruction(visit.instruction, visit.state)
            except DockerfileError as problem:
                mistakes.append(problem.located(visit.instruction.span))
        if checks.has_workdir:
            has_workdir.add(plan.stage.index)
    return mistakes


class _StageChecks:
    """The checks of one stage, from its first instruction to its last."""

    def __init__(
        self,
        survey: StageSurvey,
        linter: Linter,
        known: Known,
    ) -> None:
        self._survey = survey
        self._file_linter = self._linter = linter
        self._known = known
        self._last: dict[type, Instruction] = {}
        self.has_workdir = False

    def base_platform(self) -> None:
        """A base image of another platform runs as what it is, if at all."""
        image, plan = self._survey.image, self._survey.plan
        if image is None or not image.layers:
            return
        found, wanted = image.config.value.platform, plan.platform
        if (found.os, found.architecture) != (wanted.os, wanted.architecture):
            base = plan.stage.base
            name = words.expand(base.image, self._known.global_args.get, escape=self._known.escape)
            self._file_linter.report(INVALID_BASE_IMAGE_PLATFORM, base.span, name, str(wanted), str(found))

    def instruction(self, instruction: Instruction, state: StageState) -> None:
        """Check the next instruction; `state` is the one in front of it."""
        self._linter = self._file_linter.above(instruction.comments)
        match instruction:
            case Env() | Label():
                self._pairs(instruction, state)
            case Arg():
                self._arg(instruction, state)
            case Add() | Copy():
                self._copy(instruction, state)
            case Run():
                for mount in instruction.mounts:
                    parse_mount(mount.text, expand=lambda word: self._expand(word, instruction, state))
            case Cmd() | Entrypoint() | Healthcheck():
                self._only_once(instruction, state)
            case Workdir():
                self._workdir(instruction, state)
            case Expose():
                split = (
                    word
                    for port in instruction.ports
                    for word in words.split_words(port, state.env.get, escape=self._known.escape)
                )
                rules_of_stages.exposed(split, instruction, self._linter)
            case Volume():
                for path in instruction.paths:
                    self._expand(path, instruction, state)
            case User():
                self._expand(instruction.user, instruction, state)
            case Stopsignal():
                self._expand(instruction.signal, instruction, state)

    def _pairs(self, instruction: Env | Label, state: StageState) -> None:
        rules_of_stages.legacy_format(instruction, self._linter)
        for written, value in instruction.pairs:
            name = self._expand(written, instruction, state)
            self._expand(value, instruction, state)
            if isinstance(instruction, Env):
                rules_of_stages.secret_name("ENV", name, instruction, self._linter)

    def _arg(self, instruction: Arg, state: StageState) -> None:
        for pair in instruction.pairs:
            rules_of_stages.secret_name("ARG", pair.name, instruction, self._linter)
            value = self._known.build_args.get(pair.name)
            if value is None and pair.default is not None:
                value = self._expand(pair.default, instruction, state)
            elif value is None:
                value = self._known.global_args.get(pair.name)
            # What follows on the line sees it.
            state = replace(state, args=(*state.args, (pair.name, value or "")))
            if value is not None:
                state = state.with_variable(pair.name, value)

    def _copy(self, instruction: Add | Copy, state: StageState) -> None:
        values = [instruction.chown, instruction.chmod, instruction.dest]
        if isinstance(instruction, Add):
            values.append(instruction.checksum)
        for value in filter(None, values):
            self._expand(value, instruction, state)
        for source in instruction.sources:
            path = self._expand(source, instruction, state)
            from_elsewhere = isinstance(instruction, Copy) and instruction.from_ is not None
            if not from_elsewhere and not path.startswith(_REMOTE):
                rules_of_stages.ignored_source(path, instruction, self._known.matcher, self._linter)
        for heredoc in instruction.heredocs:
            if heredoc.expand:
                names = _Names(state)
                try:
                    words.expand_heredoc(heredoc.body, names.lookup)
                finally:
                    self._undefined(names.unset, instruction, state)

    def _only_once(self, instruction: Cmd | Entrypoint | Healthcheck, state: StageState) -> None:
        earlier = self._last.get(type(instruction))
        rules_of_stages.only_once(earlier, instruction, self._linter)
        self._last[type(instruction)] = instruction
        if not isinstance(instruction, Healthcheck):
            is_set = bool(state.config.config.shell)
            rules_of_stages.json_arguments(instruction, self._linter, shell_is_set=is_set)

    def _workdir(self, instruction: Workdir, state: StageState) -> None:
        path = self._expand(instruction.path, instruction, state)
        if not self.has_workdir:
            rules_of_stages.first_workdir(path, instruction, self._linter)
        self.has_workdir = True

    def _expand(self, word: str, instruction: Instruction, state: StageState) -> str:
        names = _Names(state)
        try:
            return words.expand(word, names.lookup, escape=self._known.escape)
        finally:  # what is missing may well be what is wrong
            self._undefined(names.unset, instruction, state)

    def _undefined(self, unset: tuple[str, ...], instruction: Instruction, state: StageState) -> None:
        """Variables that nothing declares; an ARG without value is declared."""
        if not self._survey.is_known:
            return  # the base image, which is not at hand, may have them
        declared = {name for name, _ in state.args}
        for name in unset:
            if name not in declared and name not in NOT_VARIABLES:
                near = nearest(name, state.env)
                self._linter.report(UNDEFINED_VAR, instruction.span, name, near)


class _Names:
    """A lookup in a state that notes what is not there."""

    def __init__(self, state: StageState) -> None:
        self._variables = state.env
        self._unset: dict[str, None] = {}

    @property
    def unset(self) -> tuple[str, ...]:
        return tuple(self._unset)

    def lookup(self, name: str) -> str | None:
        value = self._variables.get(name)
        if value is None:
            self._unset[name] = None
        return value
