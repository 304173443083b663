"""
The socket in a registry's directory by which its owner talks to the server that uses the directory.

A message is two lengths of four bytes (big endian), a JSON object, and raw bytes, which may be none; each
message gets one answer. Invariants: only the owner of the server and root are answered, by the credentials
that the kernel reports; a message is bounded; a path of any length works. Governing sources: unix(7),
proc(5).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..errors import InvalidConfiguration, RegistryError

NAME = "control"
Message = dict[str, Any]
Operation = Callable[[Message, bytes], Message]

_HEAD = struct.Struct("!II")
_CREDENTIALS = struct.Struct("3i")
_LIMIT = 64 * 1024 * 1024


class ControlRefused(RegistryError):
    """The server that was asked did not do it."""


def send(connection: socket.socket, message: Mapping[str, Any], payload: bytes = b"") -> None:
    """Send one message."""
    text = json.dumps(message).encode()
    connection.sendall(b"".join((_HEAD.pack(len(text), len(payload)), text, payload)))


def receive(connection: socket.socket) -> tuple[Message, bytes] | None:
    """
    The next message; None when the other end closed the connection.

    Raises:
        ControlRefused: what came is no message.
    """
    head = _read(connection, _HEAD.size)
    if head is None:
        return None
    length, size = _HEAD.unpack(head)
    if length + size > _LIMIT:
        raise ControlRefused("the message is too large")
    body = _read(connection, length + size)
    if body is None:
        return None
    try:
        message = json.loads(body[:length])
    except ValueError as problem:
        raise ControlRefused("the message is not JSON") from problem
    if not isinstance(message, dict):
        raise ControlRefused("the message is not an object")
    return message, bytes(body[length:])


def _read(connection: socket.socket, size: int) -> bytearray | None:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = connection.recv_into(view)
        if not count:
            return None
        view = view[count:]
    return data


@contextlib.contextmanager
def _address(root: str) -> Iterator[str]:
    """A path of the socket that fits into an address, however long that of the directory is."""
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{NAME}"
    finally:
        os.close(directory)


def connect(root: str) -> socket.socket | None:
    """
    A connection to the server that uses the directory; None when no server listens there.

    Raises:
        InvalidConfiguration: a server of somebody else uses it.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address(root) as address:
            connection.connect(address)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except PermissionError as problem:
        connection.close()
        raise InvalidConfiguration(
            f"the server that uses {root} belongs to somebody else",
            hint="ask as the user who started it, or as root",
        ) from problem
    return connection


class ControlServer:
    """
    Answers messages, each connection in a thread of its own.

    Args:
        root: the directory of the content, which the caller has locked.
        operations: what each value of ``do`` stands for; they may block, and raise `RegistryError`.
        failed: turns an exception into the answer.
    """

    def __init__(
        self, root: str, operations: Mapping[str, Operation], failed: Callable[[Exception], Message]
    ) -> None:
        self._root = root
        self._operations = operations
        self._failed = failed
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def start(self) -> None:
        """Listen from now on; whatever an earlier server left is replaced."""
        with _address(self._root) as address:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(address)
            # Bound with the mode of the descriptor (unix(7)), so there is no moment for others.
            os.fchmod(self._listener.fileno(), 0o600)
            self._listener.bind(address)
        self._listener.listen(128)
        threading.Thread(target=self._accept, name="registry-control", daemon=True).start()

    def stop(self) -> None:
        """Answer nobody any more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        with contextlib.suppress(OSError):
            os.unlink(f"{self._root}/{NAME}")
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections.add(connection)
            threading.Thread(
                target=self._serve, args=(connection,), name="registry-control", daemon=True
            ).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):
                if not is_trusted(connection):
                    send(
                        connection,
                        {"error": "RegistryError", "message": "this server belongs to somebody else"},
                    )
                    return
                while (received := receive(connection)) is not None:
                    send(connection, self._answer(*received))
        except ControlRefused:
            return
        finally:
            with self._lock:
                self._connections.discard(connection)

    def _answer(self, message: Message, payload: bytes) -> Message:
        operation = self._operations.get(str(message.get("do")), _unknown)
        try:
            return operation(message, payload)
        except Exception as problem:  # noqa: BLE001 - the outermost door of a request
            return self._failed(problem)


def _unknown(message: Message, _payload: bytes) -> Message:
    raise ControlRefused(f"this server does not know {message.get('do')!r}")


def is_trusted(connection: socket.socket) -> bool:
    """Whether the other end is of the same user, or root."""
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user = _CREDENTIALS.unpack(packed)[1]
    return user in (0, os.geteuid())
