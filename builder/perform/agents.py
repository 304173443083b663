"""
The SSH agents that ``RUN --mount=type=ssh`` passes on.

A command never gets the agent's own socket: it gets one of ours, with the owner and mode that the mount asks
for, whose connections are passed on for as long as the command runs. Keys that are given as files are served
by an ``ssh-agent`` that lives as long. Governing text: "RUN --mount=type=ssh" in the Dockerfile reference,
ssh-agent(1).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from ..errors import BuildError
from ..scratch import Scratch
from ..ssh import AgentSource

_CHUNK = 1 << 16
_PATIENCE = 10.0
"""Seconds that ssh-agent may take to begin to listen."""


@asynccontextmanager
async def forwarded(
    source: AgentSource, scratch: Scratch, *, mode: int, uid: int, gid: int
) -> AsyncIterator[str]:
    """
    The path of a socket that leads to the agent, as long as the block runs.

    Raises:
        BuildError: the agent cannot be reached, or cannot be started.
    """
    async with AsyncExitStack() as stack:
        upstream = source.socket or await stack.enter_async_context(_agent(source.keys, scratch))
        # An agent that does not answer is told now, and not by a command that fails for an unclear reason.
        _, writer = await _connect(upstream)
        writer.close()
        folder = scratch.new_directory("agent")
        listener = _listener(folder)
        path = os.path.join(folder, "agent")
        os.chown(path, uid, gid)
        os.chmod(path, mode)
        busy: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task is not None:
                busy.add(task)
                task.add_done_callback(busy.discard)
            with suppress(OSError, BuildError):
                await _pass_on(upstream, reader, writer)

        server = await asyncio.start_unix_server(serve, sock=listener)
        try:
            yield path
        finally:
            server.close()
            for task in list(busy):
                task.cancel()
            await asyncio.gather(*busy, return_exceptions=True)


def _listener(folder: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    # The address of a socket has 108 bytes, which the path of a store may exceed.
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{descriptor}/agent")
    finally:
        os.close(descriptor)
    return listener


async def _connect(path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    folder, _, name = path.rpartition("/")
    try:
        # As for our own socket: the path may be longer than the address of a socket.
        descriptor = os.open(folder or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return await asyncio.open_unix_connection(f"/proc/self/fd/{descriptor}/{name}")
        finally:
            os.close(descriptor)
    except OSError as problem:
        raise BuildError(
            f"cannot reach the ssh agent at {path}: {problem.strerror}",
            hint="start one with eval $(ssh-agent), or name a key: --ssh default=FILE",
        ) from problem


async def _pass_on(path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    to_agent = None
    try:
        from_agent, to_agent = await _connect(path)
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(reader, to_agent))
            group.create_task(_pump(from_agent, writer))
    except* OSError:
        pass  # either end hung up
    finally:
        for end in (writer, to_agent):
            if end is not None:
                end.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()


@asynccontextmanager
async def _agent(keys: tuple[str, ...], scratch: Scratch) -> AsyncIterator[str]:
    """An ssh-agent that holds the keys."""
    agent, add = shutil.which("ssh-agent"), shutil.which("ssh-add")
    if agent is None or add is None:
        raise BuildError(
            "--ssh with a key needs ssh-agent, which is not installed",
            hint="install the OpenSSH client, or pass the socket of an agent",
        )
    folder = scratch.new_directory("ssh-agent")
    process = await asyncio.create_subprocess_exec(
        *(agent, "-D", "-a", "agent"),
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await _listening(os.path.join(folder, "agent"), process)
        for key in keys:
            await _add_key(add, key, folder)
        yield os.path.join(folder, "agent")
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _listening(path: str, process: asyncio.subprocess.Process) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            while process.returncode is None:
                if os.access(path, os.F_OK):
                    return
                await asyncio.sleep(0.01)
    raise BuildError("ssh-agent does not start")


async def _add_key(program: str, key: str, folder: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(program, "-q", key),
        cwd=folder,
        env={"SSH_AUTH_SOCK": "agent", "SSH_ASKPASS_REQUIRE": "never", "PATH": os.defpath},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    if await process.wait():
        raise BuildError(
            f"ssh-add does not accept the key {key}",
            hint="it must be a private key without a passphrase, readable by its owner only; "
            "for others pass the socket of an agent",
        )
