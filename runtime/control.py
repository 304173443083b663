"""
A run of a sandbox from outside: its streams, how it is steered and how it ended.

Invariant: what is sent to a program before it runs or after it ended reaches nobody.
"""

import signal
from contextlib import suppress
from dataclasses import dataclass

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
