"""
A sandbox without isolation, for tests and for peers that only need the protocol.

It runs the program as a plain child process with the root directory as working directory. It confines
nothing; never use it for a program that is not trusted.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from .control import STDERR, STDOUT, Control, ExitStatus
from .errors import ProgramNotFound, SandboxError
from .spec import DirectoryRoot, SandboxSpec

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 1 << 16


class NoSandbox:
    """Runs specifications whose root is a directory, and keeps them in `runs`."""

    def __init__(self) -> None:
        self.runs: list[SandboxSpec] = []

    async def run(
        self,
        spec: SandboxSpec,
        *,
        stdin: int | None = None,
        on_output: Callable[[int, bytes], None] | None = None,
        stdio: tuple[int, int, int] | None = None,
        control: Control | None = None,
        more: bool = True,  # noqa: ARG002 - nothing is ever prepared
    ) -> ExitStatus:
        """See `Sandbox.run`; mounts, users, limits and networks are recorded and otherwise ignored."""
        if not isinstance(spec.rootfs, DirectoryRoot) or spec.tty:
            raise SandboxError("NoSandbox runs in a directory and without a terminal only")
        self.runs.append(spec)
        inner, outer, errors = stdio or (asyncio.subprocess.DEVNULL if stdin is None else stdin, -1, -1)
        try:
            process = await asyncio.create_subprocess_exec(
                *spec.argv,
                stdin=inner,
                stdout=outer,
                stderr=errors,
                cwd=os.path.join(spec.rootfs.path, spec.cwd.lstrip("/")),
                env=dict(entry.split("=", 1) for entry in spec.env),
                start_new_session=True,
            )
        except FileNotFoundError:
            raise ProgramNotFound(
                f'exec: "{spec.argv[0]}": executable file not found in $PATH', 127
            ) from None
        except PermissionError:
            raise ProgramNotFound(f'exec: "{spec.argv[0]}": permission denied', 126) from None
        return await _finish(process, on_output, control)


async def _finish(
    process: asyncio.subprocess.Process,
    on_output: Callable[[int, bytes], None] | None,
    control: Control | None,
) -> ExitStatus:
    if control is not None:
        control.pidfd = os.pidfd_open(process.pid)
    try:
        async with asyncio.TaskGroup() as group:
            for stream, reader in ((STDOUT, process.stdout), (STDERR, process.stderr)):
                if reader is not None:
                    group.create_task(_pump(reader, stream, on_output))
            code = await process.wait()
    except BaseException as problem:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if isinstance(problem, ExceptionGroup):
            # The callback's own exception, as if it had been called here.
            raise problem.exceptions[0] from None
        raise
    finally:
        if control is not None:
            os.close(control.pidfd)
            control.pidfd = -1
    return ExitStatus(signal=-code) if code < 0 else ExitStatus(code=code)


async def _pump(
    reader: asyncio.StreamReader, stream: int, on_output: Callable[[int, bytes], None] | None
) -> None:
    while data := await reader.read(_CHUNK):
        if on_output is not None:
            on_output(stream, data)
