"""
How a worker asks the leading process for changes.

Invariants: every thread has a connection of its own, so no answer waits for another one; an error is raised
here as it was there; without a leading process nothing is changed by anybody.
"""

from __future__ import annotations

import socket
import threading
from typing import NoReturn

from oci_image.errors import VerificationFailed

from ...errors import Denied, RegistryError, StorageFull, StorageProblem
from ..control import ControlRefused, Message, connect, receive, send
from ..store.base import ConditionFailed, TagImmutable

_ERRORS = {kind.__name__: kind for kind in (ConditionFailed, TagImmutable, StorageFull, StorageProblem)}


class Link:
    """
    Connections to the leading process of one directory.

    Args:
        root: the directory.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._local = threading.local()
        self._guard = threading.Lock()
        self._connections: set[socket.socket] = set()

    def ask(self, word: str, payload: bytes = b"", **values: object) -> Message:
        """
        The answer to one question; blocks.

        Raises:
            RegistryError: as the leading process raised it.
            StorageProblem: there is no leading process any more.
        """
        try:
            connection = self._connection()
            send(connection, {"do": word, **values}, payload)
            received = receive(connection)
        except (OSError, ControlRefused, RegistryError) as problem:
            self._drop()
            raise StorageProblem("the leading process of the registry cannot be asked") from problem
        if received is None:
            self._drop()
            raise StorageProblem("the leading process of the registry went away")
        answer = received[0]
        if "error" in answer:
            _raise(answer)
        return answer

    def _connection(self) -> socket.socket:
        connection: socket.socket | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = connect(self._root)
            if connection is None:
                raise ConnectionError("nobody listens")
            self._local.connection = connection
            with self._guard:
                self._connections.add(connection)
        return connection

    def _drop(self) -> None:
        connection: socket.socket | None = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            with self._guard:
                self._connections.discard(connection)
            connection.close()

    def close(self) -> None:
        """Close the connections of all threads; nobody asks any more."""
        with self._guard:
            for connection in self._connections:
                connection.close()
            self._connections.clear()


def _raise(answer: Message) -> NoReturn:
    kind, message = str(answer["error"]), str(answer["message"])
    if kind == Denied.__name__:
        raise Denied(message=message)
    if kind == VerificationFailed.__name__:
        raise VerificationFailed(message)
    raise _ERRORS.get(kind, RegistryError)(message, hint=answer.get("hint"))
