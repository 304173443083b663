"""
One run of one sandbox, seen from the parent: prepare, start, pump output, wait, clean.

Every resource is released by the exit stack in `Running.run`, in the order kill, wait, unmount (by the
kernel, with the namespace), stubs, control groups, address.
"""

import asyncio
import errno
import binascii
import functools
import json
import os
import platform
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

from . import capabilities, cgroups, network, plan, seccomp, stubs, text
from .errors import NotPermitted, ProgramNotFound, SandboxError, SetupFailed, UnknownUser
from .launcher import Launcher
from .mounts import CgroupView
from .namespaces import IdMap, current_id_map
from .pump import Pump, feed
from .sandbox import STDERR, STDOUT, Control, ExitStatus
from .spec import NetworkMode, OverlayRoot, SandboxSpec

_CLD_EXITED = 1
_MAX_MESSAGE = 1 << 16


class Running:
    """The state of one run; used once."""

    def __init__(
        self, launcher: Launcher, spec: SandboxSpec, *, control: Control, state_directory: str
    ) -> None:
        self._launcher = launcher
        self._spec = spec
        self._control = control
        self._state_directory = state_directory
        self._stack = ExitStack()
        self._pumps: list[Pump] = []
        self._problem: SandboxError | None = None
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
        with self._stack:
            group = self._control_group()
            lease = await self._lease()
            around = self._surroundings(group, lease)
            made = plan.make(self._spec, around)
            made["own_stdio"] = stdio is None
            deliver = on_output or _discard
            fds = self._stdio(stdin, stdio, deliver)
            self._stack.callback(self._clean_stubs)
            step = self._start(made, fds, group)
            self._stack.callback(step.close)
            self._close_given(fds, stdin, stdio)
            status = await self._until_end(step, stdin, deliver)
            if group.ran_out_of_memory():
                status = replace(status, oom_killed=True)
        if self._problem is not None:
            raise self._problem
        return status

    def _control_group(self) -> cgroups.ControlGroup:
        group = cgroups.make(f"{os.getpid()}-{os.urandom(6).hex()}", _hierarchies(), self._spec.limits)
        self._stack.callback(group.close)
        self._group = group
        return group

    async def _lease(self) -> network.Lease | None:
        if self._spec.network is not NetworkMode.PRIVATE:
            return None
        network.choose_network(self._spec.network, id_map=self._id_map)
        state = self._state_directory
        bridge = network.ready_bridge(state) or await asyncio.to_thread(network.ensure_bridge, state)
        lease = network.lease(bridge, state)
        self._stack.callback(lease.close)
        return lease

    def _surroundings(self, group: cgroups.ControlGroup, lease: network.Lease | None) -> plan.Surroundings:
        spec = self._spec
        bounding, last = _own_capabilities()
        address = lease.address if lease else ""
        return plan.Surroundings(
            id_map=self._id_map,
            bounding=bounding,
            last_capability=last,
            resolv_conf=text.resolv_conf(
                _host_resolv_conf(),
                keep_loopback=spec.network is NetworkMode.HOST,
                dns=spec.dns,
                search=spec.dns_search,
                options=spec.dns_options,
            ),
            hosts=text.hosts(spec.hostname, address, spec.extra_hosts),
            seccomp=_filter(spec, bounding),
            link=lease.link() if lease else None,
            cgroup_procs=group.procs(),
            cgroup_view=_cgroup_view(group),
            terminal_size=self._control.size,
        )

    def _start(
        self, made: dict[str, Any], fds: tuple[int, int, int], group: cgroups.ControlGroup
    ) -> socket.socket:
        into = os.open(group.unified, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if group.unified else -1
        try:
            # Version 1 groups have no namespace worth having: their tree is shown by binds instead.
            flags = plan.flags_of(self._spec, cgroup_namespace=bool(group.unified and not _hierarchies().v1))
            return self._launcher.start(made, fds, flags=flags, cgroup=into)
        finally:
            if into >= 0:
                os.close(into)

    def _stdio(
        self,
        stdin: int | None,
        stdio: tuple[int, int, int] | None,
        deliver: Callable[[int, bytes], None],
    ) -> tuple[int, int, int]:
        if stdio is not None:
            return stdio
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        if self._spec.tty:
            return (null, null, null)
        given = null if stdin is None else stdin
        writers = []
        for stream in (STDOUT, STDERR):
            reader, writer = os.pipe2(os.O_CLOEXEC)
            pump = Pump(reader, stream, deliver)
            self._pumps.append(pump)
            self._stack.callback(pump.close)
            writers.append(writer)
        if stdin is not None:
            os.close(null)
        return (given, writers[0], writers[1])

    @staticmethod
    def _close_given(
        fds: tuple[int, int, int], stdin: int | None, stdio: tuple[int, int, int] | None
    ) -> None:
        if stdio is None:
            for fd in {*fds} - {stdin}:
                os.close(fd)

    async def _until_end(
        self, step: socket.socket, stdin: int | None, deliver: Callable[[int, bytes], None]
    ) -> ExitStatus:
        """Follow the messages of the sandbox to the last one, killing it when this task is cancelled."""
        cancelled: asyncio.CancelledError | None = None
        while True:
            reading = asyncio.ensure_future(_receive(step))
            try:
                message, fds = await asyncio.shield(reading)
            except asyncio.CancelledError as problem:
                cancelled = problem
                self._kill()
                message, fds = await _uncancelled(reading)
            if not message:
                raise cancelled or SandboxError("the helper process died")
            if "started" in message:
                self._started(fds[0], kill=cancelled is not None)
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

    def _kill(self) -> None:
        self._control.send_signal(signal.SIGKILL)
        if self._group is not None:
            self._group.kill()

    def _terminal(self, master: int, stdin: int | None, deliver: Callable[[int, bytes], None]) -> None:
        os.set_blocking(master, False)
        self._control.terminal = master
        self._control.resize(*self._control.size)
        pump = Pump(master, STDOUT, deliver)
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


def explain(operation: str, number: int, detail: str, id_map: IdMap) -> SandboxError:
    """Return the error for an operation that the kernel refused, with a remedy where one is known."""
    if operation == "mount overlay" and "upper" in detail and number == errno.EINVAL:
        return NotPermitted(
            f"overlay mount refused: {detail}",
            "put the build state on a disk file system (ext4, xfs, btrfs) or tmpfs, not on an overlay",
        )
    if operation.startswith("become user") and number == errno.EINVAL and id_map.kind != "root":
        return NotPermitted(
            f"{operation}: the id does not exist in this user namespace",
            "give the user a range of ids in /etc/subuid and /etc/subgid and install newuidmap",
        )
    if number == errno.EPERM and operation in ("clone3", "unshare"):
        return NotPermitted(
            "namespaces may not be created", "run as root, or let pybuild enter a user namespace"
        )
    if number == errno.EPERM and operation.startswith("mount proc"):
        return NotPermitted(
            "proc may not be mounted",
            "the surrounding container masks /proc: run it with --security-opt systempaths=unconfined",
        )
    if number == errno.ENOSYS:
        return NotPermitted(f"{operation}: not known to this kernel", "Linux 5.12 or newer is needed")
    return SetupFailed(operation, number, detail)


async def _receive(step: socket.socket) -> tuple[dict[str, Any], list[int]]:
    loop = asyncio.get_running_loop()
    while True:
        try:
            raw, fds, _, _ = socket.recv_fds(step, _MAX_MESSAGE, 1, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            await _readable(loop, step.fileno())
            continue
        except ConnectionResetError:
            return {}, []
        return (json.loads(raw) if raw else {}), fds


async def _readable(loop: asyncio.AbstractEventLoop, fd: int) -> None:
    waiter = loop.create_future()
    loop.add_reader(fd, _wake, waiter)
    try:
        await waiter
    finally:
        loop.remove_reader(fd)


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


async def _uncancelled(reading: "asyncio.Future[tuple[dict[str, Any], list[int]]]") -> Any:
    """Wait for a message although this task is cancelled, once or more: the sandbox must be gone first."""
    while True:
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            if reading.done():
                raise


def _own_capabilities() -> tuple[int, int]:
    with open("/proc/self/status", encoding="utf-8", errors="replace") as status:
        bounding = capabilities.bounding_mask(status.read())
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as last:
        return bounding, int(last.read())


@functools.cache
def _hierarchies() -> cgroups.Hierarchies:
    return cgroups.find_hierarchies(_read("/proc/self/mountinfo"))


def _cgroup_view(group: cgroups.ControlGroup) -> CgroupView:
    if group.unified and not _hierarchies().v1:
        return CgroupView(unified=True)
    return CgroupView(binds=group.v1_directories)


@functools.cache
def _encoded_filter(machine: str, held: int) -> str:
    return binascii.b2a_base64(seccomp.program(machine, held), newline=False).decode()


def _filter(spec: SandboxSpec, bounding: int) -> str:
    """Return the seccomp filter, or "" when none is wanted; never silently none."""
    if spec.privileged or not spec.seccomp:
        return ""
    machine = platform.machine()
    if not seccomp.supported(machine):
        raise NotPermitted(f"there is no seccomp profile for {machine}", "switch seccomp off")
    return _encoded_filter(machine, capabilities.mask_of(spec.capabilities) & bounding)


def _host_resolv_conf() -> str:
    found = _read("/etc/resolv.conf")
    if text.only_stub_resolver(found):
        return _read("/run/systemd/resolve/resolv.conf") or found
    return found


def _read(path: str) -> str:
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
    return ""


def _discard(_stream: int, _data: bytes) -> None:
    return None
