"""
The sandbox as its users see it: a protocol, what comes back, and the implementation for Linux.

`run` is asynchronous because it waits for a process; nothing else is. Everything a sandbox makes (process,
mounts, control groups, addresses, stubs) is gone when `run` returns, raises or is cancelled.
"""

from __future__ import annotations

import signal
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from .errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from .launcher import Launcher
    from .spec import SandboxSpec

STDOUT = 1
STDERR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitStatus:
    """How a program ended: by itself with `code`, or by `signal`; `oom_killed` when memory ran out."""

    code: int = 0
    signal: int = 0
    oom_killed: bool = False

    @property
    def shell_code(self) -> int:
        """The number a shell would report: the code, or 128 plus the signal."""
        return 128 + self.signal if self.signal else self.code

    @property
    def ok(self) -> bool:
        """Whether the program ended with code 0."""
        return self.shell_code == 0


class Control:
    """What can be done to a running sandbox from outside; made by the caller and passed to `run`."""

    def __init__(self, rows: int = 24, columns: int = 80) -> None:
        self.size = (rows, columns)
        self.pidfd = -1
        self.terminal = -1

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the terminal, now or for one that is about to be made."""
        from .terminal import resize

        self.size = (rows, columns)
        if self.terminal >= 0:
            with suppress(OSError):
                resize(self.terminal, rows, columns)

    def send_signal(self, number: int) -> None:
        """Send a signal to the program; does nothing before it runs and after it ended."""
        if self.pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)


class Sandbox(Protocol):
    """The thing that runs a SandboxSpec."""

    async def run(
        self,
        spec: SandboxSpec,
        *,
        stdin: int | None = None,
        on_output: Callable[[int, bytes], None] | None = None,
        stdio: tuple[int, int, int] | None = None,
        control: Control | None = None,
    ) -> ExitStatus:
        """
        Run a program to its end and say how it ended.

        `stdin` is a descriptor the program reads from, /dev/null when absent; the caller keeps and closes
        its own. `on_output(stream, data)` is called on the event loop with stream 1 or 2 (a terminal has
        only 1) in the order of each stream; all of it has been delivered when this returns. With `stdio`
        the program gets the caller's three descriptors themselves and `on_output` is not called.
        Cancellation kills every process of the sandbox and waits for that before it propagates; so does an
        exception of `on_output`.

        Raises `SandboxError`: `ProgramNotFound` when the program cannot be executed, `NotPermitted` and
        `SetupFailed` when the sandbox cannot be made.
        """
        ...


class LinuxSandbox(AbstractContextManager["LinuxSandbox"]):
    """
    Sandboxes made of Linux namespaces.

    Use it as a context manager: it owns one helper process, started by the first `run` (or `start`), and
    ends it, with every sandbox still running, on leaving. Several `run`s may be awaited at once.
    """

    def __init__(self, *, state_directory: str = "/run/pybuild") -> None:
        self._state_directory = state_directory
        self._launcher: Launcher | None = None
        self._closed = False

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the helper process now, so that the first `run` does not wait for it."""
        if self._closed:
            raise SandboxError("the sandbox helper is closed")
        if self._launcher is None:
            from .cgroups import sweep
            from .launcher import Launcher
            from .surroundings import hierarchies

            self._launcher = Launcher()
            sweep(hierarchies())

    def close(self) -> None:
        """End the helper and every sandbox of it; may be called again."""
        self._closed = True
        if self._launcher is not None:
            self._launcher.close()
            self._launcher = None

    async def run(
        self,
        spec: SandboxSpec,
        *,
        stdin: int | None = None,
        on_output: Callable[[int, bytes], None] | None = None,
        stdio: tuple[int, int, int] | None = None,
        control: Control | None = None,
    ) -> ExitStatus:
        """See `Sandbox.run`."""
        from .running import Running

        self.start()
        if self._launcher is None:
            raise SandboxError("the sandbox helper is closed")
        running = Running(
            self._launcher, spec, control=control or Control(), state_directory=self._state_directory
        )
        return await running.run(stdin=stdin, on_output=on_output, stdio=stdio)
