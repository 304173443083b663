"""Moves bytes between descriptors and callbacks on the event loop, and into a terminal."""

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress

_CHUNK = 1 << 16
_CTRL_D = b"\x04"


class Pump:
    """
    Delivers what arrives on a descriptor, which it owns, to a callback.

    When the callback raises, nothing more is delivered and `broken` is told; on an event loop the exception
    would otherwise only be logged.
    """

    def __init__(
        self,
        fd: int,
        stream: int,
        deliver: Callable[[int, bytes], None],
        broken: Callable[[Exception], None],
    ) -> None:
        self._fd = fd
        self._stream = stream
        self._deliver = deliver
        self._broken = broken
        self._loop = asyncio.get_running_loop()
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._read)
        self._reading = True

    def _read(self) -> bool:
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            # A terminal whose other end is closed answers EIO.
            data = b""
        if not data:
            self._stop()
            return False
        try:
            self._deliver(self._stream, data)
        except Exception as problem:  # noqa: BLE001 - the callback is the caller's, and so are its exceptions
            self._stop()
            self._broken(problem)
            return False
        return True

    def drain(self) -> None:
        """Deliver what is there already; the writers are dead, so that is all there will be."""
        while self._reading and self._read():
            pass

    def _stop(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def close(self) -> None:
        """Stop and close the descriptor."""
        self._stop()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def feed(source: int, terminal: int) -> Callable[[], None]:
    """
    Copy what is typed at `source` to a terminal until it ends; return what stops it.

    A thread, because a regular file cannot be watched by epoll; it waits in poll(2) and so can be stopped.
    """
    stop_reader, stop_writer = os.pipe2(os.O_CLOEXEC)
    own = os.dup(terminal)
    thread = threading.Thread(target=_copy, args=(source, own, stop_reader), daemon=True)
    thread.start()

    def stop() -> None:
        os.close(stop_writer)
        thread.join()
        os.close(stop_reader)
        os.close(own)

    return stop


def _copy(source: int, terminal: int, stop: int) -> None:
    import select

    poller = select.poll()
    poller.register(source, select.POLLIN)
    poller.register(stop, select.POLLIN)
    while True:
        ready = dict(poller.poll())
        if stop in ready:
            return
        try:
            data = os.read(source, _CHUNK) or _CTRL_D
            _write_all(terminal, data, stop)
        except OSError:
            # The caller's terminal went away, or the sandbox's did: there is nobody left to type to.
            return
        if data is _CTRL_D:
            return


def _write_all(terminal: int, data: bytes, stop: int) -> None:
    import select

    poller = select.poll()
    poller.register(terminal, select.POLLOUT)
    poller.register(stop, select.POLLIN)
    view = memoryview(data)
    while view:
        if stop in dict(poller.poll()):
            return
        with suppress(BlockingIOError):
            view = view[os.write(terminal, view) :]
