"""
One run of one sandbox, seen from the parent: prepare, start, pump output, wait, clean.

Every resource is released by the exit stack in `Running.run`, in the order kill, wait, unmount (by the
kernel, with the namespace), stubs, control groups, address.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from . import cgroups, network, plan, stubs, surroundings
from .ahead import Ahead, Begun, new_name
from .control import STDERR, STDOUT, Control, ExitStatus
from .errors import ProgramNotFound, SandboxError, UnknownUser
from .launcher import Launcher
from .messages import receive
from .namespaces import current_id_map
from .pump import Pump, feed
from .refusals import explain
from .spec import NetworkMode, OverlayRoot, SandboxSpec

_CLD_EXITED = 1
_MAX_MESSAGE = 1 << 16


class Running:
    """The state of one run; used once."""

    def __init__(
        self,
        launcher: Launcher,
        spec: SandboxSpec,
        *,
        control: Control,
        state_directory: str,
        ahead: Ahead | None,
        more: bool,
    ) -> None:
        self._launcher = launcher
        self._spec = spec
        self._control = control
        self._state_directory = state_directory
        self._ahead = ahead
        self._more = more
        self._stack = ExitStack()
        self._pumps: list[Pump] = []
        self._problem: SandboxError | None = None
        self._failure: Exception | None = None
        self._stubs: list[dict[str, Any]] = []
        self._id_map = current_id_map()
        self._group: cgroups.ControlGroup | None = None

    async def run(
        self,
        *,
        stdin: int | None,
        on_output: Callable[[int, bytes], None] | None,
        stdio: tuple[int, int, int] | None,
    ) -> ExitStatus:
        """See `Sandbox.run`."""
        if self._spec.tty and stdio is not None:
            raise SandboxError("a sandbox with a terminal cannot use the caller's descriptors as well")
        with self._stack:
            begun = self._ahead.take(self._spec) if self._ahead is not None else None
            group = self._control_group(begun)
            unstarted = self._stack.enter_context(ExitStack())
            if begun is not None:
                unstarted.callback(self._launcher.dismiss)
            lease = await self._lease()
            around = surroundings.of(self._spec, group, lease, self._id_map, self._control.size)
            made = plan.make(self._spec, around)
            made["own_stdio"] = stdio is None
            deliver = on_output or _discard
            self._stack.callback(self._clean_stubs)
            with ExitStack() as given:
                fds = stdio or self._stdio(stdin, deliver, given)
                step = self._launcher.start(
                    made,
                    fds,
                    flags=surroundings.flags_of(self._spec, group),
                    group=group.unified,
                    begun=begun.name if begun is not None else "",
                )
            unstarted.pop_all()
            self._stack.callback(step.close)
            if self._ahead is not None and self._more:
                self._ahead.begin(self._launcher, self._spec, made)
            status = await self._until_end(step, stdin, deliver)
            if group.ran_out_of_memory():
                status = replace(status, oom_killed=True)
        if self._failure is not None:
            raise self._failure
        if self._problem is not None:
            raise self._problem
        return status

    def _control_group(self, begun: Begun | None) -> cgroups.ControlGroup:
        if begun is not None:
            group = begun.group
        else:
            group = cgroups.make(new_name(), surroundings.hierarchies(), self._spec.limits)
        self._stack.callback(group.close)
        self._group = group
        return group

    async def _lease(self) -> network.Lease | None:
        if self._spec.network is not NetworkMode.PRIVATE:
            return None
        network.choose_network(self._spec.network, id_map=self._id_map)
        state = self._state_directory
        bridge = network.ready_bridge(state)
        if bridge is None:
            bridge = await asyncio.to_thread(network.ensure_bridge, state)
        lease = network.lease(bridge, state)
        self._stack.callback(lease.close)
        return lease

    def _stdio(
        self, stdin: int | None, deliver: Callable[[int, bytes], None], given: ExitStack
    ) -> tuple[int, int, int]:
        """Return the descriptors of the program; those made here close with `given`, once they are sent."""
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        given.callback(os.close, null)
        if self._spec.tty:
            return (null, null, null)
        writers = []
        for stream in (STDOUT, STDERR):
            reader, writer = os.pipe2(os.O_CLOEXEC)
            given.callback(os.close, writer)
            pump = Pump(reader, stream, deliver, self._broken)
            self._pumps.append(pump)
            self._stack.callback(pump.close)
            writers.append(writer)
        return (null if stdin is None else stdin, writers[0], writers[1])

    async def _until_end(
        self, step: socket.socket, stdin: int | None, deliver: Callable[[int, bytes], None]
    ) -> ExitStatus:
        """Follow the messages of the sandbox to the last one, killing it when this task is cancelled."""
        cancelled: asyncio.CancelledError | None = None
        while True:
            reading = asyncio.ensure_future(receive(step))
            try:
                message, fds = await asyncio.shield(reading)
            except asyncio.CancelledError as problem:
                cancelled = problem
                self._kill()
                message, fds = await _uncancelled(reading)
            if not message:
                raise cancelled or SandboxError("the helper process died")
            if "started" in message:
                self._started(fds[0], kill=cancelled is not None or self._failure is not None)
            elif "terminal" in message:
                self._terminal(fds[0], stdin, deliver)
            elif "ended" in message:
                break
            else:
                self._note(message)
        for pump in self._pumps:
            pump.drain()
        if cancelled is not None:
            raise cancelled
        code, value = message["ended"]
        return ExitStatus(code=value) if code == _CLD_EXITED else ExitStatus(signal=value)

    def _started(self, pidfd: int, *, kill: bool) -> None:
        self._control.pidfd = pidfd
        self._stack.callback(self._forget)
        if kill:
            self._kill()

    def _forget(self) -> None:
        os.close(self._control.pidfd)
        self._control.pidfd = -1
        self._control.terminal = -1

    def _broken(self, problem: Exception) -> None:
        """End the sandbox because the caller's callback raised; `run` raises the same."""
        self._failure = self._failure or problem
        self._kill()

    def _kill(self) -> None:
        self._control.send_signal(signal.SIGKILL)
        if self._group is not None:
            self._group.kill()

    def _terminal(self, master: int, stdin: int | None, deliver: Callable[[int, bytes], None]) -> None:
        os.set_blocking(master, False)
        self._control.terminal = master
        self._control.resize(*self._control.size)
        pump = Pump(master, STDOUT, deliver, self._broken)
        self._pumps.append(pump)
        self._stack.callback(pump.close)
        if stdin is not None:
            self._stack.callback(feed(stdin, master))

    def _note(self, message: dict[str, Any]) -> None:
        if "stubs" in message:
            self._stubs = message["stubs"]
        elif "unknown_user" in message:
            self._problem = UnknownUser(message["unknown_user"])
        elif "cannot_execute" in message:
            self._problem = ProgramNotFound(message["cannot_execute"], message["exit_code"])
        elif "failed" in message:
            self._problem = explain(message["failed"], message["errno"], message["detail"], self._id_map)

    def _clean_stubs(self) -> None:
        rootfs = self._spec.rootfs
        root = rootfs.upper if isinstance(rootfs, OverlayRoot) else rootfs.path
        stubs.remove(root, self._stubs)


async def _uncancelled(reading: "asyncio.Future[tuple[dict[str, Any], list[int]]]") -> Any:
    """Wait for a message although this task is cancelled, once or more: the sandbox must be gone first."""
    while True:
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            if reading.done():
                raise


def _discard(_stream: int, _data: bytes) -> None:
    return None
