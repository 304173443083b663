"""
RUN: a command in a sandbox over the snapshot, and what it changed as a layer.

Every resource is given back on every path: the sandbox is gone before its mounts are released, and the
workspace is removed last. A command that fails is a result, told once as `StepFailed` with the end of its
output.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from oci_image.image import Layer
from oci_image.platform import local_platform
from runtime.control import ExitStatus
from runtime.errors import ProgramNotFound, SandboxError
from runtime.network import choose_network
from runtime.spec import Limits, NetworkMode, SandboxSpec, Ulimit

from ..errors import BuildError, StepFailed
from ..events import Notice, StepLog
from ..graph import Step
from ..ops import Exec
from ..request import Bounds
from ..rootfs.base import RootfsDriver, Workspace
from ..scratch import Scratch
from ..snapshots import Snapshot
from .base import Mounted, Supplies, identities, in_thread, perform
from .stepfiles import tree_of

_TAIL_BYTES = 16 << 10
_HOSTNAME = "buildkitsandbox"
_NOT_STARTED = ("exec format error", "no such file or directory")
"""How a sandbox says that the kernel has no handler for a program, or a handler without its interpreter."""
_CLOCK_STEP = 0.1
"""Seconds by which the kernel's coarse clock, which stamps files, may be behind."""


@perform.register
async def _(op: Exec, inputs: Sequence[Snapshot], step: Step, supplies: Supplies) -> Snapshot:
    for snapshot in inputs:
        await supplies.host.layers.ensure(snapshot.layers)
    try:
        layer = await _run(op, inputs, step, supplies)
    except ProgramNotFound as problem:
        if _is_foreign(op) and any(text in problem.message for text in _NOT_STARTED):
            raise _unrunnable(step, op) from problem
        tail = f"{problem.message}\n"
        raise StepFailed(
            step.origin.name, problem.exit_code, tail=tail, span=step.origin.span, hint=problem.hint
        ) from problem
    except SandboxError as problem:
        raise BuildError(
            f"{step.origin.name}: {problem.message}", span=step.origin.span, hint=problem.hint
        ) from problem
    return inputs[0].with_layer(layer)


@identities.register
async def _(op: Exec, inputs: Sequence[Snapshot], supplies: Supplies) -> tuple[str, ...]:
    """
    The content of what is bound, for each input; the contents of caches never count.

    A whole filesystem is not read for it: its ChainID says the same, though of more than its content.
    """
    parts = [inputs[0].chain]
    if len(inputs) > 1:
        from .selections import selection_digest
    for number, snapshot in enumerate(inputs[1:], 1):
        sources = [mount.source for mount in op.mounts if mount.type == "bind" and mount.input == number]
        if any(not source.strip("/") for source in sources):
            parts.append(snapshot.chain)
            continue
        digests = [str(await selection_digest(snapshot, source, supplies.host)) for source in sources]
        parts.append(" ".join(digests))
    return tuple(parts)


async def _run(op: Exec, inputs: Sequence[Snapshot], step: Step, supplies: Supplies) -> Layer:
    host = supplies.host
    scratch = Scratch(host.state)
    try:
        async with (
            _workspace(host.rootfs(), inputs[0]) as workspace,
            _mounted(op, inputs, supplies, scratch) as given,
        ):
            started = time.time() - _CLOCK_STEP
            tail = _Tail()

            def on_output(stream: int, data: bytes) -> None:
                tail.add(data)
                supplies.sink(StepLog(step, stream, data))

            spec = _spec(op, workspace, given, supplies)
            # Without another command nothing is begun, so that nothing of it could be left.
            more = any(isinstance(other.op, Exec) for other in supplies.expected)
            status = await host.sandbox().run(spec, on_output=on_output, more=more)
            if not status.ok:
                raise _failed(step, op, status, tail.text())
            skip = await in_thread(_mount_points, given, inputs[0], supplies) if given.mounts else frozenset()
            return await in_thread(workspace.capture, _stamp(op, started), skip=skip)
    finally:
        if op.mounts or op.files:
            await in_thread(scratch.close)


@asynccontextmanager
async def _mounted(
    op: Exec, inputs: Sequence[Snapshot], supplies: Supplies, scratch: Scratch
) -> AsyncIterator[Mounted]:
    if not (op.mounts or op.files or op.devices):
        yield Mounted()
        return
    from .mounts import mounted

    async with mounted(op, inputs, supplies, scratch) as made:
        yield made


@asynccontextmanager
async def _workspace(driver: RootfsDriver, snapshot: Snapshot) -> AsyncIterator[Workspace]:
    made: list[Workspace] = []
    try:
        # A list, because a cancelled wait would lose the value that still gets made.
        await in_thread(lambda: made.append(driver.prepare(snapshot)))
        yield made[0]
    finally:
        for workspace in made:
            await in_thread(workspace.release)


def _spec(op: Exec, workspace: Workspace, given: Mounted, supplies: Supplies) -> SandboxSpec:
    requested = None if op.network == "default" else NetworkMode(op.network)
    network, reason = choose_network(requested)
    if requested is None and network is not NetworkMode.PRIVATE and reason not in supplies.said:
        supplies.said.add(reason)
        supplies.sink(Notice("info", f"commands use {reason}"))
    return SandboxSpec(
        argv=op.argv,
        rootfs=workspace.root,
        env=(*op.env, *op.hidden_env, *given.env),
        cwd=op.cwd,
        user=op.user,
        groups=tuple(given.groups),
        mounts=tuple(given.mounts),
        hostname=op.hostname or _HOSTNAME,
        network=network,
        limits=_limits(supplies.bounds),
        privileged=op.security == "insecure",
        extra_hosts=op.hosts,
    )


def _limits(bounds: Bounds) -> Limits:
    limits = Limits(
        memory=bounds.memory,
        memory_swap=bounds.memory_swap,
        cpus=bounds.cpus,
        cpu_shares=bounds.cpu_shares,
        cpuset_cpus=bounds.cpuset_cpus,
        cpuset_mems=bounds.cpuset_mems,
        parent=bounds.cgroup_parent,
        ulimits=tuple(Ulimit(*limit) for limit in bounds.ulimits),
    )
    return replace(limits, shm_size=bounds.shm_size) if bounds.shm_size else limits


def _mount_points(given: Mounted, snapshot: Snapshot, supplies: Supplies) -> frozenset[str]:
    """The places of mounts, which are no part of the result."""
    tree = tree_of(snapshot, supplies.host.layers)
    return frozenset(tree.resolve(mount.target.strip("/")) for mount in given.mounts)


def _stamp(op: Exec, started: float) -> Callable[[float], int]:
    """
    What a file's time becomes: the epoch for what the command made or changed.

    Older times come from archives and packages, and stay; with an epoch that was asked for, none is later.
    """

    def stamp(mtime: float) -> int:
        if mtime >= started or (op.clamp and mtime > op.epoch):
            return op.epoch
        return int(mtime // 1)

    return stamp


def _failed(step: Step, op: Exec, status: ExitStatus, tail: str) -> BuildError:
    hint = None
    if status.oom_killed:
        hint = "the command was killed because memory ran out; give it more, or let it run fewer jobs at once"
    elif status.shell_code == 126 and _NOT_STARTED[0] in tail and _is_foreign(op):
        return _unrunnable(step, op)
    return StepFailed(step.origin.name, status.shell_code, tail=tail, span=step.origin.span, hint=hint)


def _is_foreign(op: Exec) -> bool:
    return op.platform.architecture != local_platform().architecture


def _unrunnable(step: Step, op: Exec) -> BuildError:
    """The error of a command for another processor whose program could not be started."""
    from runtime.emulation import missing_part

    architecture = op.platform.architecture
    return BuildError(
        f"{step.origin.name}: programs for {op.platform} do not run on this {local_platform()} machine: "
        f"{missing_part(architecture)}",
        span=step.origin.span,
        hint="install the package qemu-user-static, or run: "
        f"docker run --privileged --rm tonistiigi/binfmt --install {architecture}",
    )


class _Tail:
    """The end of what a command printed."""

    def __init__(self) -> None:
        self._parts: deque[bytes] = deque()
        self._size = 0

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self._parts.append(data[-_TAIL_BYTES:])
        self._size += len(self._parts[-1])
        while self._size - len(self._parts[0]) >= _TAIL_BYTES:
            self._size -= len(self._parts.popleft())

    def text(self) -> str:
        """The bytes as text, whole lines where possible."""
        data = b"".join(self._parts)
        if len(data) > _TAIL_BYTES:
            data = data[-_TAIL_BYTES:]
            data = data[data.find(b"\n") + 1 :]
        return data.decode("utf-8", "replace")
