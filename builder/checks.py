"""
The build checks: of the text, of FROM lines, and of the stages that a build (or the caller) needs.

A build looks at the stages that it needs, `pybuild --check` at all of them unless a target is given; FROM
lines are checked in any case. Governing text: https://docs.docker.com/reference/build-checks/.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from dockerfile_grammar import words
from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.instructions import From
from dockerfile_grammar.lint.file import check_file, check_instruction, instructions_of
from dockerfile_grammar.lint.linter import Finding, Linter
from dockerfile_grammar.lint.options import CheckOptions, parse_options
from dockerfile_grammar.lint.rules import (
    FROM_PLATFORM_FLAG_CONST_DISALLOWED,
    INVALID_DEFAULT_ARG_IN_FROM,
    REDUNDANT_TARGET_PLATFORM,
    UNDEFINED_ARG_IN_FROM,
)
from dockerfile_grammar.parser import Dockerfile, parse
from dockerfile_grammar.stages import Stage
from dockerfile_grammar.suggest import nearest
from dockerfile_grammar.words import ExpansionResult
from oci_image.errors import ImageError
from oci_image.platform import Platform, local_platform
from oci_image.reference import Reference

from .contexts.context import BuildContext
from .errors import BuildError, ChecksFailed, InvalidOption
from .host import Resolver
from .lowering.arguments import global_arguments
from .named import read_named
from .request import BuildRequest
from .stage_checks import Known, check_stages
from .stages import Stages
from .survey import Drafts, Mistake, Surveyor, find_stages

OPTIONS_ARGUMENT = "BUILDKIT_DOCKERFILE_CHECK"
"""The build argument that replaces the ``check`` directive of a file."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What was found in a file, and the first mistake for which it could not be built."""

    findings: tuple[Finding, ...]
    problem: Mistake | None


async def check(
    dockerfile: Dockerfile,
    request: BuildRequest,
    contexts: Mapping[str, BuildContext],
    resolver: Resolver,
    *,
    platform: Platform,
    build_platform: Platform | None = None,
) -> CheckResult:
    """
    Check a file without building: the stages that the target needs, or all where the request names none.

    Registries are asked for the configuration of base images that are not here.

    Nothing is raised for what is wrong with the file or the request: it is the problem of the result.
    """
    problem: Mistake | None
    linter = Linter(CheckOptions())
    try:
        linter = Linter(check_options(dockerfile, request.build_args))
        problem = await _look(
            dockerfile, request, contexts, resolver, linter, platform=platform, build_platform=build_platform
        )
    except (DockerfileError, BuildError) as found:
        problem = found
    message = linter.violation()
    if problem is None and message:
        problem = ChecksFailed(message)
    return CheckResult(findings=linter.findings, problem=problem)


async def _look(
    dockerfile: Dockerfile,
    request: BuildRequest,
    contexts: Mapping[str, BuildContext],
    resolver: Resolver,
    linter: Linter,
    *,
    platform: Platform,
    build_platform: Platform | None,
) -> Mistake | None:
    """Look at everything that is to be checked; the first mistake that did not end it."""
    here = build_platform or local_platform()
    target = request.target or dockerfile.stages[-1].name or ""
    arguments = global_arguments(dockerfile, request.build_args, target=target, platform=platform, build=here)
    check_text(dockerfile, linter, arguments, platform=platform, build=here)
    stages = Stages(dockerfile, arguments, platform, read_named(request.build_contexts))
    wanted = [stages.target(request.target)] if request.target else dockerfile.stages
    drafts = await find_stages(
        stages, [stage.index for stage in wanted], resolver, ask=True, pull=request.pull
    )
    check_plan(dockerfile, request, drafts, linter, arguments=arguments, contexts=contexts)
    return next(iter(drafts.mistakes), None)


def check_plan(
    dockerfile: Dockerfile,
    request: BuildRequest,
    drafts: Drafts,
    linter: Linter,
    *,
    arguments: Mapping[str, str],
    contexts: Mapping[str, BuildContext],
) -> None:
    """
    Check the stages of a build; what cannot be expanded is added to the mistakes of the drafts.

    Args:
        dockerfile: the file.
        request: of the build.
        drafts: the stages that count.
        linter: takes the findings.
        arguments: what FROM lines see.
        contexts: build contexts by name; the ignore rules of the main one count.
    """
    known = Known(
        escape=dockerfile.escape,
        build_args=request.build_args,
        global_args=arguments,
        matcher=contexts[""].matcher if "" in contexts else None,
    )
    surveys = Surveyor(dockerfile, request, arguments).survey(drafts)
    drafts.mistakes.extend(check_stages(surveys, linter, known))


def check_beginning(
    text: bytes, filename: str, build_args: Mapping[str, str], problem: DockerfileError
) -> tuple[Finding, ...]:
    """What is found in the instructions in front of the one that cannot be parsed."""
    before = text.split(b"\n")[: problem.span.start_line - 1 if problem.span else 0]
    try:
        dockerfile = parse(b"\n".join([*before, b""]), filename=filename)
        linter = Linter(check_options(dockerfile, build_args))
    except (DockerfileError, InvalidOption):
        return ()  # there is nothing in front that is a Dockerfile by itself
    for instruction in instructions_of(dockerfile):
        check_instruction(instruction, linter.above(instruction.comments))
    return linter.findings


def check_options(dockerfile: Dockerfile, build_args: Mapping[str, str]) -> CheckOptions:
    """
    Which checks count for a build of the file.

    Raises:
        DockerfileError: the directive is malformed.
        InvalidOption: the build argument is.
    """
    if OPTIONS_ARGUMENT in build_args:
        try:
            return parse_options(build_args[OPTIONS_ARGUMENT])
        except DockerfileError as problem:
            raise InvalidOption(f"{OPTIONS_ARGUMENT}: {problem.message}") from None
    for directive in dockerfile.directives:
        if directive.name == "check":
            try:
                return parse_options(directive.first_word)
            except DockerfileError as problem:
                problem.message = f"failed to parse check options: {problem.message}"
                raise problem.located(directive.span) from None
    return CheckOptions()


def check_text(
    dockerfile: Dockerfile,
    linter: Linter,
    global_args: Mapping[str, str],
    *,
    platform: Platform,
    build: Platform,
) -> None:
    """
    Check what no base image is needed for: the text, and the FROM lines of all stages.

    Args:
        dockerfile: the file.
        linter: takes the findings.
        global_args: what FROM lines see.
        platform: what is built for.
        build: what is built on.
    """
    check_file(dockerfile, linter)
    try:
        defaults = global_arguments(dockerfile, {}, target="", platform=platform, build=build)
    except DockerfileError:
        defaults = None  # an ARG without usable default, which is an error unless it is given
    declared = {pair.name for arg in dockerfile.meta_args for pair in arg.pairs}
    names = {stage.name for stage in dockerfile.stages}
    for stage in dockerfile.stages:
        if defaults is not None:
            _default_base(stage.base, names, defaults, dockerfile.escape, linter)
        _from_line(stage, global_args, declared, dockerfile.escape, linter.above(stage.base.comments))


def _default_base(
    base: From, names: Collection[str | None], defaults: Mapping[str, str], escape: str, linter: Linter
) -> None:
    """Without any build argument the base should still have a name, or be called like a stage."""
    result = _expanded(base.image, defaults, escape)
    if result is None or result.text.lower() in names:
        return
    try:
        Reference.parse(result.text)
    except ImageError:
        linter.report(INVALID_DEFAULT_ARG_IN_FROM, base.span, base.image)


def _from_line(
    stage: Stage, global_args: Mapping[str, str], declared: set[str], escape: str, linter: Linter
) -> None:
    base = stage.base
    for word in filter(None, (base.image, base.platform)):
        result = _expanded(word, global_args, escape)
        for name in result.unset if result else ():
            if name not in declared:
                near = nearest(name, {*declared, *global_args})
                linter.report(UNDEFINED_ARG_IN_FROM, base.span, name, near)
    result = _expanded(base.platform, global_args, escape) if base.platform else None
    if base.platform is None or result is None:
        return
    if result.used == ("TARGETPLATFORM",) and not result.unset:
        if result.text == global_args["TARGETPLATFORM"]:
            linter.report(REDUNDANT_TARGET_PLATFORM, base.span, base.platform)
    elif not result.used and not result.unset:
        _constant_platform(stage, result.text, linter)


def _constant_platform(stage: Stage, text: str, linter: Linter) -> None:
    """A stage that is called like its platform is meant to be for that one."""
    try:
        platform = Platform.parse(text)
    except ImageError:
        return  # an error, which the build reports
    name = stage.name or ""
    if platform.os not in name and platform.architecture not in name:
        linter.report(FROM_PLATFORM_FLAG_CONST_DISALLOWED, stage.base.span, text)


def _expanded(word: str, variables: Mapping[str, str], escape: str) -> ExpansionResult | None:
    """None for what cannot be expanded: the build reports it."""
    try:
        return words.expand_with_names(word, variables.get, escape=escape)
    except DockerfileError:
        return None
