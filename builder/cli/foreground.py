"""
``pybuild run`` on a terminal or a pipe: raw mode, window sizes and signals.

A first SIGINT or SIGTERM goes to the program, as with docker; a second one, or ten seconds after a SIGTERM,
ends it and everything it started.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

from oci_image.errors import NotFound
from oci_image.image import Image
from oci_image.platform import local_platform
from oci_image.reference import Reference
from runtime.control import Control, ExitStatus
from runtime.errors import ProgramNotFound

from ..events import discard
from ..local import LocalStore
from ..running import RunRequest, run_image
from .reentry import enter_user_namespace
from .settings import Settings
from .transfers import pull_image
from .wiring import open_host

_PATIENCE = 10.0


def run(request: RunRequest, settings: Settings, *, pull: bool) -> int:
    """Find or pull the image, run the command, and return its exit status."""
    enter_user_namespace(settings)
    store = LocalStore(settings.root)
    try:
        return asyncio.run(_run(request, settings, store, pull=pull))
    except ProgramNotFound as problem:
        print(f"error: {problem}", file=sys.stderr)
        return problem.exit_code


async def _run(request: RunRequest, settings: Settings, store: LocalStore, *, pull: bool) -> int:
    image = await _image(request.image, settings, store, pull=pull)
    with open_host(settings, store) as host, _raw_terminal(request.tty) as control:
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        work = run_image(
            request,
            image,
            host,
            stdio=None if request.tty else (0 if request.interactive else null, 1, 2),
            on_output=_write,
            stdin=0 if request.tty else None,
            control=control,
            say=lambda text: print(f"pybuild: {text}", file=sys.stderr),
        )
        try:
            status = await _signalled(asyncio.ensure_future(work), control)
        finally:
            os.close(null)
    if status.oom_killed:
        print("pybuild: the command ran out of memory", file=sys.stderr)
    return status.shell_code


async def _image(text: str, settings: Settings, store: LocalStore, *, pull: bool) -> Image:
    if not pull:
        try:
            return store.image(store.find(text).descriptor)
        except NotFound:
            if text.startswith("sha256:"):
                raise
    reference = Reference.parse(text)
    if not pull:
        print(f"Unable to find image '{reference.familiar}' locally", file=sys.stderr)
    await pull_image(settings, store, reference, local_platform(), discard)
    return store.image(store.find(text).descriptor)


async def _signalled(work: asyncio.Task[ExitStatus], control: Control) -> ExitStatus:
    loop = asyncio.get_running_loop()
    seen: list[int] = []

    def receive(number: int) -> None:
        seen.append(number)
        if len(seen) > 1:
            work.cancel()
            return
        control.send_signal(number)
        if number == signal.SIGTERM:
            loop.call_later(_PATIENCE, work.cancel)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, receive, number)
    try:
        return await work
    except asyncio.CancelledError:
        if not seen:
            raise
        return ExitStatus(signal=signal.SIGKILL)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)


@contextmanager
def _raw_terminal(wanted: bool) -> Iterator[Control]:
    """The caller's terminal in raw mode, its size passed on; as it was afterwards, on every path."""
    if not wanted:
        yield Control()
        return
    columns, rows = shutil.get_terminal_size()
    control = Control(rows, columns)
    saved = termios.tcgetattr(0)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, _resize, control)
    tty.setraw(0)
    try:
        yield control
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)
        termios.tcsetattr(0, termios.TCSADRAIN, saved)


def _resize(control: Control) -> None:
    columns, rows = os.get_terminal_size(0)
    control.resize(rows, columns)


def _write(stream: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(stream, view) :]
