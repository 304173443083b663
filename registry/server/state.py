"""
What the handlers of one server share: its settings, its storage, its threads and its caches.

Invariants: nothing here outlives its application; everything is reached through `STATE`; the fields are set
once, by `create_app`.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from weakref import WeakSet, WeakValueDictionary

from aiohttp import web

from oci_image.digest import Digest

from .access import Access
from .auth import Authenticator
from .belongings import Belongings
from .config import RegistryConfig
from .draining import RunningRequests
from .events import Outbox
from .hoarding import OpenUploads
from .metadata import MetadataCache
from .metrics import Metrics
from .proving import Company
from .quick import QuickAnswers
from .ratelimit import RateLimit
from .sealing import BLOCK, Seals
from .store.base import RegistryStore
from .switches import Switches
from .verification import Identity, VerifiedBlobs

if TYPE_CHECKING:
    from .tracing import Tracing

P = ParamSpec("P")
R = TypeVar("R")

_SOON = 60.0  # seconds: a verification that counts for longer serves most first pulls of what was pushed


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """
    One server's belongings.

    Attributes:
        belongings: what several processes of a server share.
        tracing: makes traces of requests.
        seals: by which blobs are verified that were verified before.
        at_hand: memory for what the event loop verifies: always the same, because it stays in the cache.
        busy_uploads: identifiers of uploads that a request works on.
        opened: who opened which uploads.
        deliveries: one mark for each large blob that is being sent.
        companies: of those who verify the same file now; gone with the last of them.
        verifying: held while a blob is verified before it is sent; gone with who waits for it.
        quick: the forms of answers that are sent again and again.
        greeted: connections that sent a whole request.
        on_damage: called with the digest of content that was found to be damaged and put aside.
    """

    config: RegistryConfig
    store: RegistryStore
    authenticator: Authenticator
    threads: ThreadPoolExecutor
    verified: VerifiedBlobs
    access: Access
    opened: OpenUploads
    belongings: Belongings
    quick: QuickAnswers
    tracing: Tracing | None = None
    seals: Seals = field(default_factory=Seals)
    at_hand: bytearray = field(default_factory=lambda: bytearray(BLOCK))
    running: RunningRequests = field(default_factory=RunningRequests)
    busy_uploads: set[str] = field(default_factory=set)
    deliveries: set[object] = field(default_factory=set)
    companies: WeakValueDictionary[tuple[Digest, Identity], Company] = field(
        default_factory=WeakValueDictionary
    )
    verifying: WeakValueDictionary[Digest, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    greeted: WeakSet[asyncio.BaseTransport] = field(default_factory=WeakSet)
    on_damage: list[Callable[[Digest], None]] = field(default_factory=list)

    @property
    def seals_uploads(self) -> bool:
        """Whether what is pushed will be verified again so soon that it is sealed at once."""
        return self.config.verify_reads and self.config.verify_window < _SOON

    def note_damage(self, digest: Digest) -> None:
        """Trust no earlier verification of content that was put aside, and tell who may repair it."""
        self.verified.remove(digest)
        for tell in self.on_damage:
            tell(digest)

    @property
    def metadata(self) -> MetadataCache:
        """What was read of repositories."""
        return self.belongings.metadata

    @property
    def metrics(self) -> Metrics | None:
        """What is counted."""
        return self.belongings.metrics

    @property
    def rate(self) -> RateLimit | None:
        """How many requests each caller may send."""
        return self.belongings.rate

    @property
    def outbox(self) -> Outbox | None:
        """Where events go."""
        return self.belongings.outbox

    @property
    def switches(self) -> Switches:
        """What can be changed while the server runs."""
        return self.belongings.switches

    async def in_thread(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function that may block in one of the server's threads."""
        call = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self.threads, call)


STATE: web.AppKey[ServerState] = web.AppKey("state", ServerState)
