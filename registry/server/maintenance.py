"""A registry's directory for those who look after it: through the server that uses it, or without one."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Protocol

from ..errors import RegistryError
from .admin import Administration
from .control import ControlRefused, Message, connect, receive, send
from .store.filesystem import FilesystemStore
from .store.rebuilding import rebuild
from .upkeep import Nobody, Upkeep

Directory = FilesystemStore
_DAY = 24 * 3600.0


class Ask(Protocol):
    """Asks one question of `Administration`."""

    def __call__(self, word: str, **values: object) -> Message:
        """
        The answer.

        Raises:
            RegistryError: it was not done.
        """
        ...


@contextlib.contextmanager
def administration(root: str) -> Iterator[Ask]:
    """
    Ask the server that uses the directory; without one, the directory, of which the block is the only user.

    Raises:
        InvalidConfiguration: a server uses the directory and cannot be asked, or it cannot be written.
    """
    connection = connect(root)
    if connection is not None:
        with connection:
            yield _Remote(connection)
        return
    with contextlib.closing(FilesystemStore(root)) as store:
        upkeep = Upkeep(store, Nobody(store), grace=_DAY, undelete=_DAY)
        operations = Administration(upkeep=upkeep).operations

        def ask(word: str, **values: object) -> Message:
            return operations[word](values, b"")

        yield ask


class _Remote:
    """Implements `Ask` by a connection to a server."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def __call__(self, word: str, **values: object) -> Message:
        try:
            send(self._connection, {"do": word, **values})
            received = receive(self._connection)
        except OSError as problem:
            raise RegistryError(f"the server went away: {problem.strerror}") from problem
        if received is None:
            raise RegistryError("the server went away before it answered")
        answer, _ = received
        if "error" in answer:
            raise ControlRefused(str(answer["message"]), hint=answer.get("hint"))
        return answer


def open_directory(root: str) -> Directory:
    """
    The directory, of which the caller is the only user until it is closed.

    Raises:
        InvalidConfiguration: a registry uses it, or it cannot be written.
    """
    return FilesystemStore(root)


def rebuild_index(directory: Directory) -> None:
    """Make the index again from the files."""
    rebuild(directory.layout, directory.index)
