"""
Lowering of RUN: the command line, its environment, and everything that exists only while it runs.

Heredocs become the script of the shell, a file that is executed, or text that the shell reads again, as the
"Here-documents" section of the Dockerfile reference says. Proxy variables that no ARG declares reach the
command but not its key.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace

from dockerfile_grammar.heredocs import read_heredoc_word
from dockerfile_grammar.instructions import CommandLine, Run
from dockerfile_grammar.mounts import MountFlag, parse_mount

from ..contexts.finding import normalised
from ..errors import BuildError, InvalidOption
from ..graph import Step
from ..ops import Exec, ExecDevice, ExecMount, InlineFile
from .dispatch import lower
from .files import absolute
from .metadata import NOT_VARIABLES
from .state import Scope, StageState, display_name

PROXY_VARIABLES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
_SCRIPTS = "/dev/pipes"
_LONGEST_HOSTNAME = 64


@lower.register
def _(instruction: Run, state: StageState, scope: Scope) -> StageState:
    argv, files = command_line(instruction.command, state)
    inputs = [state.head]
    mounts = tuple(_mount(flag, instruction, inputs, state, scope) for flag in instruction.mounts)
    environment = dict(state.env)
    for name in NOT_VARIABLES:
        environment.pop(name, None)
    environment.setdefault("SOURCE_DATE_EPOCH", str(scope.epoch))
    op = Exec(
        argv=argv,
        env=tuple(f"{name}={value}" for name, value in environment.items()),
        cwd=state.working_dir,
        user=state.config.config.user,
        platform=state.platform,
        network=_network(instruction, scope),
        security=_security(instruction, scope),
        hosts=scope.request.add_hosts,
        hostname=_hostname(instruction, scope),
        devices=_devices(instruction, scope),
        mounts=mounts,
        files=files,
        hidden_env=tuple(
            item
            for item in proxy_variables(scope.request.build_args)
            if item.partition("=")[0] not in environment
        ),
        epoch=scope.epoch,
        clamp=scope.epoch_given,
    )
    created_by = " ".join(["RUN", *_declared(state), *argv, "# buildkit"])
    state = state.with_step(op, tuple(inputs), display_name(instruction), instruction.span)
    return state.with_history(created_by, layer=True)


def command_line(command: CommandLine, state: StageState) -> tuple[tuple[str, ...], tuple[InlineFile, ...]]:
    """The argument list of a RUN, and the script files that it needs."""
    if not command.shell:
        return command.argv, ()
    if not command.heredocs:
        return (*state.shell, command.text), ()
    first = command.heredocs[0]
    if len(command.heredocs) == 1 and read_heredoc_word(command.text.strip()) is not None:
        if not first.body.startswith("#!"):
            return (*state.shell, first.body), ()
        path = posixpath.join(_SCRIPTS, first.name)
        content = first.body.encode("utf-8", "surrogateescape")
        return (*state.shell, path), (InlineFile(path=path, content=content, mode=0o755),)
    # The shell reads these itself, tabs and terminators included.
    bodies = "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in command.heredocs)
    return (*state.shell, command.text + bodies), ()


def proxy_variables(build_args: Mapping[str, str]) -> tuple[str, ...]:
    """The proxy variables among build arguments, in both spellings; the lower-case one wins."""
    values: dict[str, str] = {}
    for name in sorted(build_args):  # capitals sort first, so that lower case comes last
        if name.lower() in PROXY_VARIABLES:
            values[name.lower()] = build_args[name]
    found = [(name, values[name]) for name in PROXY_VARIABLES if name in values]
    return tuple(f"{spelling}={value}" for name, value in found for spelling in (name.upper(), name))


def _declared(state: StageState) -> list[str]:
    """The ARGs in scope as history shows them: their number, then name and current value."""
    shown: dict[str, str] = {}
    for name, value in state.args:
        shown[name] = f"{name}={state.env.get(name, value)}"
    return [f"|{len(shown)}", *shown.values()] if shown else []


def _hostname(instruction: Run, scope: Scope) -> str:
    """The name of the sandbox that the build asks for; a Linux host name, sethostname(2)."""
    name = scope.request.build_args.get("BUILDKIT_SANDBOX_HOSTNAME", "")
    if name and not (len(name) <= _LONGEST_HOSTNAME and name.isprintable() and not set(name) & set(" /")):
        raise InvalidOption(
            f"BUILDKIT_SANDBOX_HOSTNAME={name}: expected a name of at most {_LONGEST_HOSTNAME} characters",
            span=instruction.span,
        )
    return name


def _network(instruction: Run, scope: Scope) -> str:
    wanted = instruction.network or "default"
    if wanted == "default":
        return scope.request.network
    allowed = "network.host" in scope.request.entitlements or scope.request.network == "host"
    if wanted == "host" and not allowed:
        raise InvalidOption(
            "RUN --network=host needs the entitlement network.host, which this build does not have",
            span=instruction.span,
            hint="build with --allow network.host",
        )
    return wanted


def _security(instruction: Run, scope: Scope) -> str:
    wanted = instruction.security or "sandbox"
    if wanted == "insecure" and "security.insecure" not in scope.request.entitlements:
        raise InvalidOption(
            "RUN --security=insecure needs the entitlement security.insecure, which this build does not have",
            span=instruction.span,
            hint="build with --allow security.insecure if you trust the Dockerfile with this machine",
        )
    return wanted


def _devices(instruction: Run, scope: Scope) -> tuple[ExecDevice, ...]:
    try:
        return scope.devices.granted(instruction.devices)
    except BuildError as problem:
        problem.span = instruction.span
        raise


def _mount(
    flag: MountFlag, instruction: Run, inputs: list[Step], state: StageState, scope: Scope
) -> ExecMount:
    mount = flag
    if flag.unresolved:
        mount = parse_mount(flag.text, expand=lambda value: state.expand(value, scope))
    if mount.type in ("secret", "ssh"):
        return _credential(mount, instruction.mounts.index(flag), instruction, state)
    # Without a target it is put upon the working directory.
    target = absolute(mount.target or "", state.working_dir).rstrip("/")
    if not target:
        raise InvalidOption('invalid mount target "/"', span=instruction.span)
    lowered = ExecMount(type=mount.type, target=target, readonly=mount.readonly)
    if mount.type == "tmpfs":
        return replace(lowered, size=mount.size or 0)
    source = normalised(mount.source or "")
    if mount.from_ is not None:
        step = scope.step_of(mount.from_, instruction.span)
        if step not in inputs:
            inputs.append(step)
        lowered = replace(lowered, source=f"/{source}", input=inputs.index(step))
    if mount.type == "cache":
        namespace = scope.request.build_args.get("BUILDKIT_CACHE_MOUNT_NS", "")
        name = mount.id or posixpath.normpath(mount.target or "")
        return replace(
            lowered,
            id=f"{namespace}/{name}" if namespace else name,
            sharing=mount.sharing or "shared",
            mode=mount.mode,
            uid=mount.uid or 0,
            gid=mount.gid or 0,
        )
    if mount.from_ is not None:
        return lowered
    selection = scope.context(instruction.span, "RUN --mount=type=bind").select(source)
    return replace(lowered, source=source, context="", context_digest=selection.digest)


def _credential(mount: MountFlag, index: int, instruction: Run, state: StageState) -> ExecMount:
    """A secret or an agent's socket: only its name and place are known here, never its value."""
    is_secret = mount.type == "secret"
    name = mount.source or mount.id or posixpath.basename(mount.target or "")
    if is_secret and not name:
        raise InvalidOption("invalid secret mount. one of source, target required", span=instruction.span)
    target = mount.target or ""
    if is_secret and not target and not mount.env:
        target = f"/run/secrets/{posixpath.basename(name)}"
    elif not is_secret and not target:
        agents = sum(flag.type == "ssh" for flag in instruction.mounts[:index])
        target = f"/run/buildkit/ssh_agent.{agents}"
    return ExecMount(
        type=mount.type,
        target=absolute(target, state.working_dir) if target else "",
        id=name if is_secret else mount.id or "default",
        required=mount.required,
        env=mount.env or "",
        mode=mount.mode if mount.mode is not None else (0o400 if is_secret else 0o600),
        uid=mount.uid or 0,
        gid=mount.gid or 0,
    )
