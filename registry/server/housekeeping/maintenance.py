"""A registry's storage for those who look after it: through the server that uses it, or without one."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Protocol

from ...errors import RegistryError
from ..admin import Administration
from ..config import RegistryConfig
from ..control import ControlRefused, Message, connect, receive, send
from ..opening import open_indexed
from ..store.indexed import IndexedStore
from .upkeep import Nobody, Upkeep


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
def administration(storage: RegistryConfig | str) -> Iterator[Ask]:
    """
    Ask the server that uses the storage; without one, the storage, of which the block is the only user here.

    Args:
        storage: its settings, or its directory.

    Raises:
        InvalidConfiguration: a server uses the storage and cannot be asked, or it cannot be written.
    """
    config = RegistryConfig(root=storage) if isinstance(storage, str) else storage
    connection = connect(config.directory) if config.directory else None
    if connection is not None:
        with connection:
            yield _Remote(connection)
        return
    with contextlib.closing(open_indexed(config)) as store:
        upkeep = Upkeep(
            store,
            Nobody(store),
            grace=config.gc_grace,
            undelete=config.gc_undelete,
            policies=config.policies,
            is_sparse=config.is_sparse,
        )
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


def open_directory(config: RegistryConfig) -> IndexedStore:
    """
    The storage, of which the caller is the only user here until it is closed.

    Raises:
        InvalidConfiguration: a registry uses it, or it cannot be written.
    """
    return open_indexed(config)


def rebuild_index(directory: IndexedStore) -> None:
    """Make the index again from the files."""
    directory.rebuild()
