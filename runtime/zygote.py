"""
The helper process that makes all children: small, single-threaded, and without secrets.

A process with threads must not fork, and forking a large one is slow; so one tiny interpreter is started
per parent process and clones a child per sandbox. It is told what to do over a SOCK_SEQPACKET socket, one
message and a handful of descriptors per sandbox, and answers on the sandbox's own socket: first the process,
last how it ended. A child can also be begun before it is known what it will run (see `runtime.ahead`), and
waits then. When the parent goes away the helper kills every child and ends. Standard library only; run as
`python -I -S -E`, with nothing importable once it serves.
"""

import errno
import gc
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from . import inside, netlink
from . import syscalls as sc

_MAX_MESSAGE = 1 << 16


class Child:
    """One process made here and not yet reaped."""

    __slots__ = ("pid", "pidfd", "step")

    def __init__(self, pid: int, pidfd: int, step: socket.socket) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.step = step


class Spare:
    """A child that was begun under a name and waits for orders."""

    __slots__ = ("name", "orders", "pid", "pidfd")

    def __init__(self, name: str, pid: int, orders: socket.socket) -> None:
        self.name = name
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.orders = orders

    def is_ready(self) -> bool:
        """Wait until it has prepared itself; false when that failed, and it is no more."""
        return bool(self.orders.recv(_MAX_MESSAGE))

    def dismiss(self) -> None:
        """End it."""
        self.orders.close()
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        os.close(self.pidfd)


class MountTable:
    """Tells whether the mounts of this namespace changed; a child made before would not see the new ones."""

    def __init__(self) -> None:
        self._fd = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._poller = select.poll()
        self._poller.register(self._fd, select.POLLPRI)

    def changed(self) -> bool:
        """Tell whether there was a change since the last call."""
        return bool(self._poller.poll(0))


class Zygote:
    """The loop of the helper: requests in, children out, ends reported."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, Child] = {}
        self._poller = select.poll()
        self._guard = os.pidfd_open(os.getpid())
        found = os.stat("/proc/self/exe")
        self._own = (found.st_dev, found.st_ino)
        self._spare: Spare | None = None
        self._mounts = MountTable()

    def serve(self) -> None:
        """Serve until the parent closes its end."""
        self._poller.register(self._control, select.POLLIN)
        while True:
            for fd, _ in self._poller.poll():
                if fd != self._control.fileno():
                    self._reap(fd)
                elif not self._accept():
                    self._end()
                    return

    def _accept(self) -> bool:
        raw, fds, _, _ = socket.recv_fds(self._control, _MAX_MESSAGE, inside.MAX_FDS, socket.MSG_CMSG_CLOEXEC)
        if not raw:
            return False
        request = json.loads(raw)
        try:
            if "begin" in request:
                self._begin(request, fds)
            elif "start" in request:
                self._answer(request, fds)
            else:
                self._dismiss()
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _answer(self, request: dict[str, Any], fds: list[int]) -> None:
        """Start a sandbox, or tell on its socket why not."""
        step = socket.socket(fileno=os.dup(fds[0]))
        try:
            self._start(request, step, fds)
        except OSError as problem:
            answer = {"failed": str(problem.filename), "errno": problem.errno or 0, "detail": "helper"}
            with suppress(OSError):
                step.send(json.dumps(answer).encode(), socket.MSG_NOSIGNAL)
                step.send(b'{"ended": [1, 125]}', socket.MSG_NOSIGNAL)
            step.close()

    def _start(self, request: dict[str, Any], step: socket.socket, fds: list[int]) -> None:
        spare = self._taken(request["start"])
        if spare is not None:
            pid, pidfd = spare.pid, spare.pidfd
            socket.send_fds(spare.orders, [b"go"], fds[:5], socket.MSG_NOSIGNAL)
            spare.orders.close()
        else:
            with self._surety(request) as surety:
                given = inside.Given(surety, step, fds[1], (fds[2], fds[3], fds[4]))
                pid = _clone(request["flags"], fds[5] if len(fds) == inside.MAX_FDS else -1, given)
            pidfd = os.pidfd_open(pid)
        self._children[pidfd] = Child(pid, pidfd, step)
        self._poller.register(pidfd, select.POLLIN)
        with suppress(OSError):
            message = json.dumps({"started": pid}).encode()
            socket.send_fds(step, [message], [pidfd], socket.MSG_NOSIGNAL)

    @contextmanager
    def _surety(self, request: dict[str, Any]) -> Iterator[inside.Surety]:
        host = netlink.open_socket() if request["link"] else None
        try:
            yield inside.Surety(self._guard, self._own, host)
        finally:
            if host is not None:
                host.close()

    def _begin(self, request: dict[str, Any], fds: list[int]) -> None:
        """Make a child that waits; where that fails there is none, and the next one is made as ever."""
        self._dismiss()
        self._mounts.changed()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with self._surety(request) as surety:
                pid = sc.clone3(request["flags"], signal.SIGCHLD, fds[0] if fds else -1)
                if pid == 0:
                    ours.close()
                    inside.wait(surety, theirs, request["ground"])
            self._spare = Spare(request["begin"], pid, ours)
        except OSError:
            ours.close()
        finally:
            theirs.close()

    def _taken(self, name: str) -> Spare | None:
        """The child that was begun under that name, if it can still be used."""
        spare = self._spare
        if spare is None or spare.name != name:
            return None
        if not spare.is_ready() or self._mounts.changed():
            self._dismiss()
            return None
        self._spare = None
        return spare

    def _dismiss(self) -> None:
        if self._spare is not None:
            self._spare.dismiss()
            self._spare = None

    def _reap(self, pidfd: int) -> None:
        child = self._children.pop(pidfd)
        ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        self._poller.unregister(pidfd)
        os.close(pidfd)
        if ended is not None:
            message = json.dumps({"ended": [ended.si_code, ended.si_status]}).encode()
            with suppress(OSError):
                child.step.send(message, socket.MSG_NOSIGNAL)
        child.step.close()

    def _end(self) -> None:
        self._dismiss()
        for pidfd in self._children:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        for pidfd in list(self._children):
            self._reap(pidfd)


def _clone(flags: int, cgroup: int, given: inside.Given) -> int:
    """Make a child in new namespaces; it runs the plan and never returns from here."""
    try:
        pid = sc.clone3(flags, signal.SIGCHLD, cgroup)
    except OSError as problem:
        # An older kernel, or a seccomp filter around us that cannot look into its argument.
        if problem.errno != errno.ENOSYS:
            raise
        return _fork(flags, cgroup, given)
    if pid == 0:
        inside.run(given)
    return pid


def _fork(flags: int, cgroup: int, given: inside.Given) -> int:
    """The same with fork: only the pid namespace has to be chosen before, the child makes the others."""
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        sc.unshare(sc.CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            given.unshare = flags & ~sc.CLONE_NEWPID
            given.cgroup = cgroup
            inside.run(given)
        # Children after this one shall not be born into a namespace whose first process is gone.
        sc.setns(own, sc.CLONE_NEWPID)
        return pid
    finally:
        os.close(own)


def _reset_signals() -> None:
    """Ignore nothing: what is ignored here, by Python or by whoever started us, would be in every program."""
    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def main() -> None:
    """Serve the socket whose number is the first argument, for the parent whose pid is the second."""
    control_fd, parent, main_thread, spare = (int(item) for item in sys.argv[1:5])
    if spare >= 0:
        os.close(spare)
    if main_thread:
        # The signal comes when the *thread* that started us ends, so only a main thread may ask for it.
        sc.prctl(sc.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            return
    _reset_signals()
    control = socket.socket(fileno=control_fd)
    # A child must never execute code of the image: after this nothing can be imported any more.
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_hooks.clear()
    gc.freeze()
    Zygote(control).serve()
    os._exit(0)  # nothing here is worth the time that taking the interpreter apart costs
