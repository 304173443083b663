"""
Lowering of FROM: the state that a stage starts with.

A stage starts from nothing, from an image, or from the last state of an earlier stage. ONBUILD triggers of an
image or stage are for those that build on it: they are taken out of the configuration here, and `triggers`
gives them as instructions, which run before those of the stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.instructions import From, Instruction
from dockerfile_grammar.parser import parse_instruction
from dockerfile_grammar.spans import Span
from oci_image.config import History, ImageConfig, RunConfig
from oci_image.image import Image
from oci_image.platform import Platform

from ..graph import Origin, Step
from ..ops import BaseImage, Scratch
from .files import clean
from .state import DEFAULT_PATH, StageState, add_variable, rfc3339, split_variable

_FILLED_IN = "layer without a history entry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What every stage starts with, whatever it starts from."""

    stage: str
    span: Span
    platform: Platform
    epoch: int
    total: int
    no_cache: bool


def empty_state(start: Start) -> StageState:
    """The state after ``FROM scratch``."""
    config = ImageConfig(
        platform=start.platform,
        config=RunConfig(working_dir="/", env=(f"PATH={DEFAULT_PATH}",)),
        created=rfc3339(start.epoch),
    )
    head = Step(Scratch(), (), Origin(name="FROM scratch", span=start.span, stage=start.stage))
    return _state(start, head, config, number=0)


def image_state(image: Image, name: str, start: Start) -> StageState:
    """The state after FROM an image; `name` is how the image is called in full."""
    base = image.config.value
    env = base.config.env
    if not any(split_variable(item)[0] == "PATH" for item in env):
        env = add_variable(env, "PATH", DEFAULT_PATH)
    directory = base.config.working_dir
    config = replace(
        base,
        config=replace(base.config, env=env, on_build=(), working_dir=clean(directory) if directory else ""),
        history=_complete_history(base),
        diff_ids=(),
        created=rfc3339(start.epoch),
    )
    origin = Origin(name=f"FROM {name}", span=start.span, stage=start.stage, number=1, total=start.total)
    return _state(start, Step(BaseImage(image.layers), (), origin), config, number=1)


def _state(start: Start, head: Step, config: ImageConfig, *, number: int) -> StageState:
    return StageState(
        stage=start.stage,
        head=head,
        config=config,
        platform=start.platform,
        created=rfc3339(start.epoch),
        env=_environment({}, config),
        number=number,
        total=start.total,
        no_cache=start.no_cache,
    )


def stage_state(parent: StageState, start: Start) -> StageState:
    """The state after FROM an earlier stage, whose ARGs stay in scope."""
    config = parent.config.with_run_config(on_build=())
    return replace(
        parent,
        stage=start.stage,
        config=config,
        env=_environment(parent.env, config),
        cmd_set=False,
        number=0,
        total=start.total,
        no_cache=start.no_cache,
    )


def triggers(texts: tuple[str, ...], instruction: From) -> tuple[Instruction, ...]:
    """
    ONBUILD triggers as instructions, placed at the FROM that fires them.

    They are read as files of their own: with a backslash, whatever the file here escapes with.

    Raises:
        DockerfileError: a trigger cannot be parsed.
    """
    fired = []
    for text in texts:
        span = replace(instruction.span, trigger=text.encode("utf-8", "replace").decode("utf-8"))
        try:
            parsed = parse_instruction(text, filename=span.filename, first_line=span.start_line)
        except DockerfileError as problem:
            problem.span = span
            problem.message = f"ONBUILD trigger of {instruction.image}: {problem.message}"
            raise
        fired.append(replace(parsed, span=span))
    return tuple(fired)


def _environment(inherited: Mapping[str, str], config: ImageConfig) -> dict[str, str]:
    """What RUN sees at the start of a stage: the image's variables win over ARGs of the parent stage."""
    return {**inherited, **dict(split_variable(item) for item in config.config.env)}


def _complete_history(base: ImageConfig) -> tuple[History, ...]:
    """The history of a base, with exactly one entry for each layer even where the image says otherwise."""
    surplus = sum(not entry.empty_layer for entry in base.history) - len(base.diff_ids)
    if surplus <= 0:
        missing = (History(created_by=_FILLED_IN, comment="pybuild"),) * -surplus
        return (*base.history, *missing)
    entries = []
    for entry in base.history:
        demote = surplus > 0 and not entry.empty_layer
        entries.append(replace(entry, empty_layer=True) if demote else entry)
        surplus -= demote
    return tuple(entries)
