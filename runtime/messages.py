"""
Messages from the helper and the child to the parent, awaited on the event loop.

A sandbox sends, in this order: `started` with a pidfd; perhaps `terminal` with its master; perhaps `stubs`;
perhaps one of `failed`, `unknown_user`, `cannot_execute`; always last `ended` with the code and status of
waitid(2). An empty message means that the helper died.
"""

import asyncio
import json
import socket
from typing import Any

_MAX_MESSAGE = 1 << 16


async def receive(step: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return the next message and the descriptors that came with it, which the caller owns."""
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
