"""``--change``: Dockerfile instructions applied to a configuration, as ``docker import`` takes them."""

from __future__ import annotations

from dataclasses import replace

from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.instructions import (
    Cmd,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    Onbuild,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from dockerfile_grammar.parser import parse_instruction
from dockerfile_grammar.spans import Span
from oci_image.config import ImageConfig, RunConfig
from oci_image.platform import local_platform

from ..errors import InvalidOption
from ..graph import Step
from ..lowering import metadata  # noqa: F401 - registers the lowerings
from ..lowering.base import Start, empty_state
from ..lowering.dispatch import lower
from ..lowering.state import Scope
from ..request import DEFAULT_EPOCH, BuildRequest

_ALLOWED = (
    *(Cmd, Entrypoint, Env, Expose, Healthcheck, Label),
    *(Onbuild, Shell, Stopsignal, User, Volume, Workdir),
)


def apply_changes(config: RunConfig, changes: tuple[str, ...]) -> RunConfig:
    """
    The configuration after the instructions, in order.

    Raises:
        InvalidOption: one cannot be parsed, or would change files.
    """
    span = Span("--change", 1, 1)
    platform = local_platform()
    start = Start(stage="", span=span, platform=platform, epoch=DEFAULT_EPOCH, total=0, no_cache=False)
    state = replace(empty_state(start), config=ImageConfig(platform=platform, config=config))
    scope = Scope(
        request=BuildRequest(context="", dockerfile=b""),
        escape="\\",
        epoch=DEFAULT_EPOCH,
        epoch_given=False,
        global_args={},
        contexts={},
        step_of=_no_step,
    )
    for text in changes:
        try:
            instruction = parse_instruction(text, filename="--change")
        except DockerfileError as problem:
            raise InvalidOption(f"--change {text!r}: {problem.message}", hint=problem.hint) from problem
        if not isinstance(instruction, _ALLOWED):
            names = ", ".join(sorted(kind.__name__.upper() for kind in _ALLOWED))
            raise InvalidOption(f"--change {text!r}: only these can be applied: {names}")
        try:
            state = lower(instruction, state, scope)
        except DockerfileError as problem:
            raise InvalidOption(f"--change {text!r}: {problem.message}", hint=problem.hint) from problem
    return state.config.config


def _no_step(reference: str, span: Span) -> Step:
    del span
    raise InvalidOption(f"--change cannot refer to {reference}")
