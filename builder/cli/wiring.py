"""
Puts the real effects together: the local store, registries, sandboxes and root filesystems of this machine.

The composition root of the command line. Everything is opened lazily, so that a verb pays for what it uses.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from ..caching.cache import SqliteCacheIndex
from ..contexts.statcache import StatCache
from ..events import EventSink, discard
from ..host import Host
from ..layersource import StoreLayers
from ..layouts import LayoutResolver
from ..leases import Lease, LeasingIndex, LeasingResolver
from ..local import LocalStore
from ..resolve import StoreResolver
from ..scratch import Scratch
from ..sources.options import NetworkOptions
from .settings import VERSION, Settings

if TYPE_CHECKING:
    from runtime.sandbox import LinuxSandbox

    from ..rootfs.base import RootfsDriver


@contextmanager
def open_host(
    settings: Settings,
    store: LocalStore,
    sink: EventSink = discard,
    *,
    check_sandboxes: Callable[[], None] = lambda: None,
    cache_limit: int | None = None,
) -> Iterator[Host]:
    """
    The effects of a build over the local store; everything that was opened is closed at the end.

    `check_sandboxes` raises where none can be made; asked before a root filesystem is made for one. With a
    `cache_limit`, in bytes, layers are only written as far as the build cache does not become larger.
    """
    from .transfers import Fetcher

    with ExitStack() as stack:
        fetcher = Fetcher(settings, store, sink)
        layers = StoreLayers(store.blobs, store.notes, store.state, fetcher.layers)
        stack.callback(layers.close)
        lease = Lease(store.state)
        stack.callback(lease.close)
        cache = LeasingIndex(SqliteCacheIndex(os.path.join(store.state, "cache.db")), lease)
        stack.callback(cache.close)
        scratch = Scratch(store.state)
        stack.callback(scratch.close)
        lazy = _Lazy(
            stack,
            store,
            layers,
            scratch,
            user_namespace=settings.in_user_namespace,
            check=check_sandboxes,
            cache_limit=cache_limit,
        )
        yield Host(
            blobs=lazy.blobs,
            tags=store.tags,
            layers=layers,
            resolver=LeasingResolver(
                LayoutResolver(StoreResolver(store.tags, store.blobs, fetcher.image), store.blobs), lease
            ),
            cache=cache,
            stats=StatCache(os.path.join(store.state, "stats")),
            rootfs=lazy.rootfs,
            sandbox=lazy.sandbox,
            state=store.state,
            user_namespace=settings.in_user_namespace,
            cdi_directories=settings.cdi_directories,
            network=NetworkOptions(
                proxies=settings.proxies,
                tls_ca=settings.tls_ca,
                environment=settings.environment,
                user_agent=f"pybuild/{VERSION}",
            ),
        )


class _Lazy:
    """Makes the sandbox and the root filesystem driver when the first step asks for them."""

    def __init__(
        self,
        stack: ExitStack,
        store: LocalStore,
        layers: StoreLayers,
        scratch: Scratch,
        *,
        user_namespace: bool,
        check: Callable[[], None],
        cache_limit: int | None,
    ) -> None:
        self.blobs = store.blobs
        if cache_limit is not None:
            from ..limit import CacheLimit, LimitedBlobStore

            self.blobs = LimitedBlobStore(store.root, CacheLimit(store, cache_limit), durable=False)
        self._check = check
        self._stack = stack
        self._store = store
        self._layers = layers
        self._scratch = scratch
        self._user_namespace = user_namespace
        self._sandbox: LinuxSandbox | None = None
        self._driver: RootfsDriver | None = None

    def sandbox(self) -> LinuxSandbox:
        if self._sandbox is None:
            from runtime.sandbox import LinuxSandbox

            self._sandbox = self._stack.enter_context(LinuxSandbox(ahead=True))
            with suppress(OSError):  # it is tried once more, and told, when a command runs
                self._sandbox.start()
        return self._sandbox

    def rootfs(self) -> RootfsDriver:
        if self._driver is None:
            self._check()
            from ..rootfs.open import open_driver

            self._driver = open_driver(
                self.blobs,
                self._layers,
                self._scratch,
                self._store.state,
                user_namespace=self._user_namespace,
            )
        return self._driver
