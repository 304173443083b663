"""
Lowering of the instructions that change the image configuration only; none of them makes a step.

The texts of the history entries are those of BuildKit, which scanners and ``docker history`` know.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dockerfile_grammar import words
from dockerfile_grammar.golang import quote
from dockerfile_grammar.instructions import (
    Arg,
    Cmd,
    CommandLine,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Shell,
    Stopsignal,
    User,
    Volume,
)
from dockerfile_grammar.ports import parse_ports
from oci_image.config import Healthcheck as HealthcheckConfig

from ..errors import InvalidOption
from .dispatch import lower
from .durations import format_duration
from .signals import is_signal
from .state import Scope, StageState

NOT_VARIABLES = ("BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE")
"""ARGs that steer the builder and never reach a command."""


@lower.register
def _(instruction: Env, state: StageState, scope: Scope) -> StageState:
    # Every value on the line sees the variables from before the line.
    pairs = [(state.expand(name, scope), state.expand(value, scope)) for name, value in instruction.pairs]
    for name, value in pairs:
        state = state.with_image_variable(name, value)
    return state.with_history(" ".join(["ENV", *(f"{name}={value}" for name, value in pairs)]))


@lower.register
def _(instruction: Arg, state: StageState, scope: Scope) -> StageState:
    shown = []
    for pair in instruction.pairs:
        name, value = pair.name, pair.default
        if name in scope.request.build_args:
            value = scope.request.build_args[name]
        elif value is not None:
            value = state.expand(value, scope)
        else:
            value = scope.global_args.get(name)
        if value is not None and name not in NOT_VARIABLES:
            state = state.with_variable(name, value)
        state = replace(state, args=(*state.args, (name, value or "")))
        shown.append(name if value is None else f"{name}={value}")
    return state.with_history(" ".join(["ARG", *shown]))


@lower.register
def _(instruction: Label, state: StageState, scope: Scope) -> StageState:
    pairs = [(state.expand(name, scope), state.expand(value, scope)) for name, value in instruction.pairs]
    state = state.with_run_config(labels={**state.config.config.labels, **dict(pairs)})
    return state.with_history(" ".join(["LABEL", *(f"{name}={value}" for name, value in pairs)]))


@lower.register
def _(instruction: Maintainer, state: StageState, scope: Scope) -> StageState:
    del scope
    state = replace(state, config=replace(state.config, author=instruction.name))
    return state.with_history(f"MAINTAINER {instruction.name}")


@lower.register
def _(instruction: Cmd, state: StageState, scope: Scope) -> StageState:
    del scope
    argv = command_arguments(instruction.command, state)
    state = state.with_run_config(cmd=argv or None, args_escaped=True)
    return replace(state, cmd_set=True).with_history(f"CMD {quoted_list(argv)}")


@lower.register
def _(instruction: Entrypoint, state: StageState, scope: Scope) -> StageState:
    del scope
    argv = command_arguments(instruction.command, state)
    # A CMD from below was written for another entry point; one of this stage stays, wherever it stands.
    cmd = state.config.config.cmd if state.cmd_set else None
    state = state.with_run_config(entrypoint=argv or None, cmd=cmd)
    return state.with_history(f"ENTRYPOINT {quoted_list(argv)}")


@lower.register
def _(instruction: Shell, state: StageState, scope: Scope) -> StageState:
    del scope
    state = state.with_run_config(shell=instruction.argv)
    return state.with_history(f"SHELL {plain_list(instruction.argv)}")


@lower.register
def _(instruction: Expose, state: StageState, scope: Scope) -> StageState:
    # A variable may hold several ports: words are split after expansion.
    split = [
        word
        for port in sorted(instruction.ports)
        for word in words.split_words(port, state.env.get, escape=scope.escape)
    ]
    # The history names a port as often as it was given.
    ports = [port for word in split for port in parse_ports((word,))]
    state = state.with_run_config(exposed_ports=_sorted_set(state.config.config.exposed_ports, ports))
    return state.with_history(f"EXPOSE {plain_list(ports)}")


@lower.register
def _(instruction: Volume, state: StageState, scope: Scope) -> StageState:
    paths = [state.expand(path, scope) for path in instruction.paths]
    if not all(paths):
        raise InvalidOption("VOLUME specified can not be an empty string", span=instruction.span)
    state = state.with_run_config(volumes=_sorted_set(state.config.config.volumes, paths))
    return state.with_history(f"VOLUME {plain_list(paths)}")


@lower.register
def _(instruction: User, state: StageState, scope: Scope) -> StageState:
    user = state.expand(instruction.user, scope)
    return state.with_run_config(user=user).with_history(f"USER {user}")


@lower.register
def _(instruction: Stopsignal, state: StageState, scope: Scope) -> StageState:
    signal = state.expand(instruction.signal, scope)
    if not is_signal(signal):
        raise InvalidOption(
            f"invalid signal: {signal}",
            span=instruction.span,
            hint="give a name as in SIGTERM, or a number as in 15",
        )
    return state.with_run_config(stop_signal=signal).with_history(f"STOPSIGNAL {signal}")


@lower.register
def _(instruction: Healthcheck, state: StageState, scope: Scope) -> StageState:
    del scope
    check = HealthcheckConfig(
        test=instruction.test,
        interval=instruction.interval,
        timeout=instruction.timeout,
        start_period=instruction.start_period,
        start_interval=instruction.start_interval,
        retries=instruction.retries,
    )
    times = {
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
    }
    durations = " ".join(f"{name}:{format_duration(time)}" for name, time in times.items())
    shown = f"{{Test:{plain_list(check.test)} {durations} Retries:{check.retries}}}"
    return state.with_run_config(healthcheck=check).with_history(f"HEALTHCHECK {shown}")


@lower.register
def _(instruction: Onbuild, state: StageState, scope: Scope) -> StageState:
    del scope
    # No history entry: nothing happens to this image.
    return state.with_run_config(on_build=(*state.config.config.on_build, instruction.trigger))


def command_arguments(command: CommandLine, state: StageState) -> tuple[str, ...]:
    """The argument list of a command; shell forms get the SHELL in force here."""
    return (*state.shell, command.text) if command.shell else command.argv


def plain_list(items: Iterable[str]) -> str:
    """A list as Go prints it with ``%v``."""
    return f"[{' '.join(items)}]"


def quoted_list(items: Iterable[str]) -> str:
    """A list as Go prints it with ``%q``."""
    return f"[{' '.join(map(quote, items))}]"


def _sorted_set(before: Iterable[str], more: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({*before, *more}))
