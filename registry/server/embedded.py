"""
A registry inside another program, above all in tests: ``with Registry() as url:``.

Invariants: it runs in a thread with an event loop of its own, so callers need no asyncio, and no loop of
theirs is held up; it listens before the block is entered and is gone after it.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from types import TracebackType

from ..errors import RegistryError
from .config import RegistryConfig
from .listening import listening
from .mirror.upstream import OpenUpstream
from .opening import open_store
from .store.base import RegistryStore

_START_SECONDS = 30.0


class Registry:
    """
    A registry server for the time of a ``with`` or ``async with`` block, whose value is its URL.

    It serves one block; make another one for the next.

    Args:
        config: the settings; by default any free port of the loopback address and content in memory.
        root: directory of the content, in place of that of the settings.
        store: where content is kept; by default what the settings ask for. The caller closes it.
        upstreams: leads to the registries behind mirrors (`registry.upstreams`).
    """

    def __init__(
        self,
        config: RegistryConfig | None = None,
        *,
        root: str | None = None,
        store: RegistryStore | None = None,
        upstreams: OpenUpstream | None = None,
    ) -> None:
        chosen = config or RegistryConfig(port=0, drain_seconds=0.5)
        self._config = chosen if root is None else replace(chosen, root=root)
        self._store = store
        self._upstreams = upstreams
        self._started = threading.Event()
        self._problem: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="embedded-registry", daemon=True)
        self.url = ""

    @property
    def host(self) -> str:
        """Host and port, as image references start."""
        return self.url.partition("://")[2]

    @property
    def certificate(self) -> str:
        """The file of the certificate that clients must trust; empty without TLS."""
        return self._config.tls.certificate if self._config.tls is not None else ""

    def __enter__(self) -> str:
        if self._thread.ident is not None:
            raise RegistryError("this registry was started before", hint="make another one for each block")
        self._thread.start()
        if not self._started.wait(_START_SECONDS):
            raise RegistryError("the embedded registry did not start in time")
        if self._problem is not None:
            self._thread.join()
            raise self._problem
        return self.url

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def __aenter__(self) -> str:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, value, trace)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as problem:  # noqa: BLE001 - handed over to the thread that entered the block
            self._problem = problem
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        store = self._store if self._store is not None else open_store(self._config)
        try:
            async with listening(self._config, store, self._upstreams) as url:
                self.url = url
                self._started.set()
                await self._stop.wait()
        finally:
            if self._store is None:
                store.close()
