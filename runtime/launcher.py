"""
The parent's end of the helper process: start it, hand it sandboxes, end it.

The interpreter is executed from a read-only copy of its own mount, so that a sandbox that gets hold of
/proc/self/exe cannot write to the file of the host (CVE-2019-5736).
"""

import array
import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

from . import syscalls as sc
from .errors import SandboxError

# The package is made importable by hand: no search path, hence nothing else, is visible to the helper.
_BOOT = """
import sys, types
package = types.ModuleType("runtime")
package.__path__ = [{directory!r}]
sys.modules["runtime"] = package
from runtime.zygote import main
main()
"""


def _protected_interpreter() -> int:
    """Return a descriptor of the interpreter on a read-only mount, or -1 where mounts cannot be copied."""
    try:
        fd = sc.open_tree(sc.AT_FDCWD, os.path.realpath(sys.executable), sc.OPEN_TREE_CLONE)
    except OSError:
        return -1
    try:
        sc.mount_setattr(fd, sc.MOUNT_ATTR_RDONLY)
    except OSError:
        os.close(fd)
        return -1
    return fd


class Launcher:
    """A running helper process; every method belongs to the thread that made it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        spare = _protected_interpreter()
        boot = _BOOT.format(directory=os.path.dirname(os.path.abspath(__file__)))
        main_thread = threading.current_thread() is threading.main_thread()
        arguments = [theirs.fileno(), os.getpid(), int(main_thread), spare]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-E", "-c", boot, *map(str, arguments)],
                executable=f"/proc/self/fd/{spare}" if spare >= 0 else None,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[fd for fd in (theirs.fileno(), spare) if fd >= 0],
                start_new_session=True,
                cwd="/",
                env={},
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
            if spare >= 0:
                os.close(spare)
        self._control = ours

    @property
    def pid(self) -> int:
        """The process id of the helper."""
        return self._process.pid

    def start(
        self, plan: dict[str, Any], stdio: tuple[int, int, int], *, flags: int, group: str, begun: str = ""
    ) -> socket.socket:
        """
        Ask for a sandbox and return its socket, which tells how it goes.

        The descriptors are copied, the caller keeps its own. `group` is the directory of the unified control
        group to start in, or empty; `begun` the name of a child that was begun for it, or empty. Raise
        `SandboxError` when the helper is gone.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        memory = os.memfd_create("plan", os.MFD_CLOEXEC)
        request = {"start": begun, "flags": flags, "link": plan["link"] is not None}
        try:
            os.write(memory, json.dumps(plan).encode())
            self._ask(request, [theirs.fileno(), memory, *stdio], group)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(memory)
        ours.setblocking(False)
        return ours

    def begin(self, name: str, ground: dict[str, Any], *, flags: int, link: bool, group: str) -> None:
        """Have a child made that waits for a `start` with its name; the helper keeps one of them."""
        self._ask({"begin": name, "ground": ground, "flags": flags, "link": link}, [], group)

    def dismiss(self) -> None:
        """End the child that waits, if there is one; returns when it is gone."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._ask({"dismiss": True}, [theirs.fileno()], "")
        finally:
            theirs.close()
        with ours:
            ours.recv(1)

    def _ask(self, request: dict[str, Any], fds: list[int], group: str) -> None:
        """Send a request; with a group, a descriptor of its directory is the last one."""
        into = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if group else -1
        try:
            sent = [*fds, into] if group else fds
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", sent))] if sent else []
            self._control.sendmsg([json.dumps(request).encode()], rights, socket.MSG_NOSIGNAL)
        except OSError as problem:
            raise SandboxError(f"the helper process is gone: {problem.strerror}") from problem
        finally:
            if into >= 0:
                os.close(into)

    def close(self) -> None:
        """End the helper and, with it, every sandbox that still runs; blocks until it is gone."""
        self._control.close()
        with suppress(OSError):
            self._process.wait()
