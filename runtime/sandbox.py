"""
The sandbox as its users see it: a protocol, and the implementation for Linux.

`run` is asynchronous because it waits for a process; nothing else is. Everything a sandbox makes (process,
mounts, control groups, addresses, stubs) is gone when `run` returns, raises or is cancelled.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, Self

from .control import Control
from .errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from .ahead import Ahead
    from .control import ExitStatus
    from .launcher import Launcher
    from .spec import SandboxSpec


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
        more: bool = True,
    ) -> ExitStatus:
        """
        Run a program to its end and say how it ended.

        `stdin` is a descriptor the program reads from, /dev/null when absent; the caller keeps and closes
        its own. `on_output(stream, data)` is called on the event loop with stream 1 or 2 (a terminal has
        only 1) in the order of each stream; all of it has been delivered when this returns. With `stdio`
        the program gets the caller's three descriptors themselves and `on_output` is not called.
        Cancellation kills every process of the sandbox and waits for that before it propagates; so does an
        exception of `on_output`. `more` says that another sandbox will follow, for which something may be
        prepared meanwhile.

        Raises `SandboxError`: `ProgramNotFound` when the program cannot be executed, `NotPermitted` and
        `SetupFailed` when the sandbox cannot be made.
        """
        ...


class LinuxSandbox(AbstractContextManager["LinuxSandbox"]):
    """
    Sandboxes made of Linux namespaces.

    Use it as a context manager: it owns one helper process, started by the first `run` (or `start`), and
    ends it, with every sandbox still running, on leaving. Several `run`s may be awaited at once.

    Args:
        state_directory: where the private network keeps what its sandboxes share.
        ahead: prepare for the next sandbox while one runs; for callers that run many of the same kind.
    """

    def __init__(self, *, state_directory: str = "/run/pybuild", ahead: bool = False) -> None:
        self._state_directory = state_directory
        self._wants_ahead = ahead
        self._ahead: Ahead | None = None
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
        if self._ahead is not None:
            self._ahead.close()

    async def run(
        self,
        spec: SandboxSpec,
        *,
        stdin: int | None = None,
        on_output: Callable[[int, bytes], None] | None = None,
        stdio: tuple[int, int, int] | None = None,
        control: Control | None = None,
        more: bool = True,
    ) -> ExitStatus:
        """See `Sandbox.run`."""
        from .running import Running

        self.start()
        if self._wants_ahead and self._ahead is None:
            from .ahead import Ahead

            self._ahead = Ahead()
        if self._launcher is None:
            raise SandboxError("the sandbox helper is closed")
        running = Running(
            self._launcher,
            spec,
            control=control or Control(),
            state_directory=self._state_directory,
            ahead=self._ahead,
            more=more,
        )
        return await running.run(stdin=stdin, on_output=on_output, stdio=stdio)
