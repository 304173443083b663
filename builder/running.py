"""
The use case "run": a command in an image, over a root filesystem that is gone afterwards.

Plain values in, an exit status out; whoever calls decides where input and output go.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from oci_image.config import RunConfig
from oci_image.image import Image
from runtime.control import Control, ExitStatus
from runtime.mounts import Bind, Mount
from runtime.network import choose_network
from runtime.spec import Limits, NetworkMode, SandboxSpec

from .errors import InvalidOption
from .host import Host
from .perform.base import in_thread
from .snapshots import Snapshot

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A host path that is bound to an absolute path inside."""

    source: str
    target: str
    readonly: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What is asked for; empty members mean what the image says. `memory` in bytes, 0 = no limit."""

    image: str
    command: tuple[str, ...] = ()
    entrypoint: str | None = None
    env: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    volumes: tuple[Volume, ...] = ()
    network: str = "default"
    hostname: str = ""
    tty: bool = False
    interactive: bool = False
    read_only: bool = False
    privileged: bool = False
    memory: int = 0
    cpus: float = 0.0
    pids: int = 0


def argv_of(request: RunRequest, config: RunConfig) -> tuple[str, ...]:
    """
    The command that is executed: entrypoint and command of the request or of the image.

    Raises:
        InvalidOption: there is none.
    """
    if request.entrypoint is not None:
        # Another entrypoint also takes the image's command away, as with docker.
        argv = ((request.entrypoint,) if request.entrypoint else ()) + request.command
    else:
        argv = (config.entrypoint or ()) + (request.command or config.cmd or ())
    if not argv:
        raise InvalidOption(
            f"no command: {request.image} has neither CMD nor ENTRYPOINT", hint="name a command"
        )
    return argv


def environment_of(request: RunRequest, config: RunConfig, hostname: str) -> tuple[str, ...]:
    """PATH, HOSTNAME and TERM, then the image's environment, then the request's; the last of a name wins."""
    given = (DEFAULT_PATH, f"HOSTNAME={hostname}", *(("TERM=xterm",) if request.tty else ()))
    merged: dict[str, str] = {}
    for text in (*given, *config.env, *request.env):
        merged[text.partition("=")[0]] = text
    return tuple(merged.values())


def _mount(volume: Volume) -> Mount:
    source = os.path.abspath(os.path.expanduser(volume.source))
    if not os.path.exists(source):
        os.makedirs(source)  # docker makes an absent directory on the host as well
    return Bind(source=source, target=volume.target, readonly=volume.readonly)


async def run_image(
    request: RunRequest,
    image: Image,
    host: Host,
    *,
    stdio: tuple[int, int, int] | None,
    on_output: Callable[[int, bytes], None] | None = None,
    stdin: int | None = None,
    control: Control | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> ExitStatus:
    """
    Run the command and wait for it; every trace of it is gone when this returns or raises.

    Args:
        request: what to run.
        image: its image, whose layers are fetched if they are not here.
        host: the effects.
        stdio: the caller's own descriptors, for a command without a terminal.
        on_output: takes output otherwise.
        stdin: where a terminal's input comes from.
        control: to resize and to signal.
        say: told which network was chosen, and why, when that is worth a word.

    Raises:
        SandboxError: the command cannot be executed, or the sandbox cannot be made.
        ImageError: the image cannot be unpacked.
    """
    config = image.config.value.config
    await host.layers.ensure(image.layers)
    workspace = await in_thread(host.rootfs().prepare, Snapshot(image.layers))
    try:
        hostname = request.hostname or image.id.short
        requested = None if request.network == "default" else NetworkMode(request.network)
        network, reason = choose_network(requested)
        if requested is None and network is not NetworkMode.PRIVATE:
            say(reason)
        spec = SandboxSpec(
            argv=argv_of(request, config),
            rootfs=workspace.root,
            env=environment_of(request, config, hostname),
            cwd=request.workdir or config.working_dir or "/",
            user=request.user or config.user,
            mounts=tuple(_mount(volume) for volume in request.volumes),
            hostname=hostname,
            network=network,
            limits=Limits(memory=request.memory, cpus=request.cpus, pids=request.pids),
            tty=request.tty,
            readonly_root=request.read_only,
            privileged=request.privileged,
        )
        return await host.sandbox().run(spec, stdin=stdin, on_output=on_output, stdio=stdio, control=control)
    finally:
        await in_thread(workspace.release)
