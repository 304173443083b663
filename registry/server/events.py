"""
What others are told of changes, and the box into which a change goes before it is answered.

Invariant: an event is durable when `add` returns. How it is delivered is the concern of `webhooks`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What happened: a kind of ``push`` or ``delete``, where, and what subscribers should know of it."""

    kind: str
    repository: str
    data: dict[str, Any]


class Outbox(Protocol):
    """The events of one server."""

    def wants(self, kind: str, repository: str) -> bool:
        """Whether anybody asked for such an event."""
        ...

    def add(self, change: Change) -> None:
        """Keep an event for everybody who asked for it. Durable when it returns; may block."""
        ...

    def announce(self) -> None:
        """Let the delivery look for new events now; called on the event loop."""
        ...

    def pending(self) -> int:
        """How many events wait. May block."""
        ...

    def delivering(self, app: web.Application) -> AsyncIterator[None]:
        """The cleanup context that delivers while an application runs."""
        ...


class Bulletin(Protocol):
    """An outbox that remembers up to where it was told of the deletions that a storage keeps a log of."""

    def told(self) -> int | None:
        """The number of the last record that it was told of; None when it is new. May block."""
        ...

    def add_all(self, changes: Sequence[Change], told: int | None = None) -> None:
        """Keep these events, and the number of the record that is the last one now, or neither. May block."""
        ...
