"""
What a server of one process has for itself, and a server of several has for all of its processes.

Invariant: whoever makes an application chooses all of it at once, so nothing is shared by halves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from .config import RegistryConfig
from .events import Bulletin, Outbox
from .metadata import MetadataCache
from .metrics import Metrics
from .ratelimit import RateLimit
from .switches import LocalSwitches, Switches

if TYPE_CHECKING:
    from . import webhooks


class Claims(Protocol):
    """Which process works on which upload; within a process its server knows."""

    def take(self, identifier: str) -> bool:
        """Claim an upload for this process; False when another one has it."""
        ...

    def release(self, identifier: str) -> None:
        """Give the claim up."""
        ...


class NoOthers:
    """Implements `Claims` where there is one process."""

    def take(self, _identifier: str) -> bool:
        """Nobody else could have it."""
        return True

    def release(self, _identifier: str) -> None:
        """Nobody else could want it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Belongings:
    """
    What requests share.

    Attributes:
        metadata: what was read of repositories.
        switches: what can be changed while the server runs.
        metrics: what is counted.
        rate: how many requests each caller may send.
        outbox: where events go.
        bulletin: where events of what the storage lost by itself go.
        claims: who works on which upload.
        owns_directory: whether this process looks after the storage.
    """

    metadata: MetadataCache
    switches: Switches
    metrics: Metrics | None = None
    rate: RateLimit | None = None
    outbox: Outbox | None = None
    bulletin: Bulletin | None = None
    claims: Claims = field(default_factory=NoOthers)
    owns_directory: bool = True


def own_belongings(config: RegistryConfig) -> Belongings:
    """
    Those of one process.

    Raises:
        InvalidConfiguration: a library is missing, or the outbox cannot be used.
    """
    outbox = _open_outbox(config)
    return Belongings(
        metadata=MetadataCache(is_shared=config.bucket_refresh > 0),
        switches=LocalSwitches(read_only=config.read_only),
        metrics=Metrics() if config.metrics else None,
        rate=RateLimit(config.requests_per_second, config.burst) if config.requests_per_second else None,
        outbox=outbox,
        bulletin=outbox,
    )


def _open_outbox(config: RegistryConfig) -> webhooks.Outbox | None:
    if not config.webhooks:
        return None
    from .webhooks import open_outbox  # loads SQLite

    return open_outbox(config)
