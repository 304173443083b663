"""
Files that the kernel sends, whole or as they are verified.

asyncio waits after each piece until the client has taken most of it. A file with a seal goes out by an
`Outlet`, so that what comes next is verified meanwhile, and what the socket takes at once costs one system
call. Invariants: the event loop never waits for the disk; hardly anything is verified long before it is
sent, so the kernel sends the pages that were read for that some milliseconds before, unless the client is
slower than the machine is short of memory; connections have no TLS, and nothing else is written to them.
Governing source: sendfile(2).
"""

from __future__ import annotations

import asyncio
import os
from typing import BinaryIO, Self

from aiohttp import web

from .proving import FileProof, Proof
from .sealing import BLOCK
from .state import ServerState

_AHEAD = 8  # blocks that are verified before or while others are sent: 2 MiB
_TURN = 4  # blocks for which the event loop does nothing else: 1 MiB, a third of a millisecond


async def send_file(request: web.Request, file: BinaryIO, start: int, count: int) -> None:
    """
    Send a part of a file as the answer to a request.

    Raises:
        ConnectionResetError: the client went away.
    """
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client went away")
    await asyncio.get_running_loop().sendfile(transport, file, start, count)


async def send_proved_file(request: web.Request, state: ServerState, proof: Proof, file: BinaryIO) -> None:
    """
    Send a file as far as it is verified, while the next blocks are.

    Raises:
        VerificationFailed: it is damaged; the last block was not sent.
        ConnectionError: the client went away.
    """
    reader = FileProof(proof, file)
    sent, ready = 0, await state.in_thread(reader.advance, 1)
    while sent < proof.size and not proof.is_sealed:
        following = asyncio.ensure_future(state.in_thread(reader.advance, _AHEAD))
        try:
            await send_file(request, file, sent, ready - sent)
        finally:
            sent, ready = ready, await following
    if sent < proof.size:
        # By asyncio, which waits for what was written to the connection before.
        await send_file(request, file, sent, ready - sent)
        if ready < proof.size:
            with Outlet(request, file) as outlet:
                await _send_sealed(state, reader, outlet, ready)


async def _send_sealed(state: ServerState, reader: FileProof, outlet: Outlet, sent: int) -> None:
    """
    Send the rest of a file that has a seal: what the kernel has in memory is verified on the spot.

    That takes less time than it takes to wake a thread; only the disk is waited for by one.
    """
    ready = sent
    while not (reader.is_done and sent == ready):
        before = ready
        if ready - sent <= (_AHEAD - _TURN) * BLOCK:
            ready = reader.advance_at_hand(_TURN, state.at_hand)
            if ready == sent:
                ready = await state.in_thread(reader.advance, _AHEAD)
        sent = outlet.send(sent, ready)
        if sent == ready or ready > before:
            await asyncio.sleep(0)  # others have their turn
        else:
            await outlet.wait()


class Outlet:
    """
    Where a file goes out. Used by the event loop only, in a ``with`` block.

    Args:
        request: to whose connection; all that was written to it before has been sent.
        file: whose bytes are sent.

    Raises:
        ConnectionResetError: the client went away.
    """

    def __init__(self, request: web.Request, file: BinaryIO) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client went away")
        self._transport = transport
        # A descriptor of our own: the event loop lets nobody wait for that of a transport.
        self._socket = os.dup(transport.get_extra_info("socket").fileno())
        self._file = file.fileno()
        self._loop = asyncio.get_running_loop()

    def send(self, start: int, end: int) -> int:
        """
        Send a part of the file, or so much of it as the socket takes at once.

        Returns:
            how many of the first bytes of the file are sent now.

        Raises:
            ConnectionError: the client went away, or the file became shorter.
        """
        if self._transport.is_closing():
            raise ConnectionResetError("the connection was closed")
        while start < end:
            try:
                count = os.sendfile(self._socket, self._file, start, end - start)
            except BlockingIOError:
                break
            if not count:
                raise ConnectionResetError("the blob became shorter")
            start += count
        return start

    async def wait(self) -> None:
        """Until the socket takes more."""
        ready = self._loop.create_future()
        self._loop.add_writer(self._socket, _set, ready)
        try:
            await ready
        finally:
            self._loop.remove_writer(self._socket)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._socket)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
