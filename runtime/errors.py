"""
The errors of sandboxes.

    SandboxError                      anything that kept a sandbox from running its program
     ├ NotPermitted(what, remedy)     the kernel or the machine's policy refuses; a human can change it
     ├ SetupFailed(operation, errno)  one named operation failed while the sandbox was made
     ├ UnknownUser                    the user or group asked for is not in the root filesystem
     └ ProgramNotFound                the sandbox stood, the program could not be executed (126 or 127)

A program that ran and failed is not an error here: it is an `ExitStatus`.
"""

import os


class SandboxError(Exception):
    """Base of every error of this package; `hint` says what a human can do, when anything can be done."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NotPermitted(SandboxError):
    """The machine does not allow `what`; `remedy` names the setting that would."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, hint=remedy)
        self.what = what
        self.remedy = remedy


class SetupFailed(SandboxError):
    """The operation named failed with `errno` while a sandbox was being made."""

    def __init__(self, operation: str, errno: int, detail: str = "", *, hint: str | None = None) -> None:
        reason = os.strerror(errno) if errno else "failed"
        super().__init__(f"{operation}: {reason}" + (f" ({detail})" if detail else ""), hint=hint)
        self.operation = operation
        self.errno = errno
        self.detail = detail


class UnknownUser(SandboxError):
    """The user or group asked for does not exist inside the root filesystem."""


class ProgramNotFound(SandboxError):
    """
    The program could not be executed inside a sandbox that was otherwise ready.

    `exit_code` is what a shell reports for it: 127 when nothing was found, 126 when it may not be run.
    """

    def __init__(self, message: str, exit_code: int = 127) -> None:
        super().__init__(message)
        self.exit_code = exit_code
