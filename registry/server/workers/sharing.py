"""
What every worker has of its own in a server of one process, and shares in a server of several.

Invariants: a cached value counts only while nobody changed its repository; an allowance is one for all
processes; only the event loop of a process touches these.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from aiohttp import web

from oci_image.digest import Digest

from ..config import Webhook
from ..events import Change
from ..metadata import MetadataCache, Page
from ..ratelimit import RateLimit
from ..rights import matches
from ..store.base import StoredManifest
from .link import Link
from .region import Region

_ALLOWANCE = struct.Struct("=Qdd")
_ALLOWANCES = 1 << 16
_PROBES = 8
_REMEMBERED = 100_000


class SharedMetadata(MetadataCache):
    """A `MetadataCache` whose entries end with a change in any process."""

    def __init__(self, region: Region) -> None:
        super().__init__()
        self._region = region
        self._generations: dict[str, int] = {}

    def _refresh(self, repository: str) -> int:
        now = self._region.generation(repository)
        if self._generations.get(repository) != now:
            if len(self._generations) >= _REMEMBERED:
                self._generations.clear()
                self.clear()
            self.forget(repository)
            self._generations[repository] = now
        return now

    def known_blob(self, repository: str, digest: Digest) -> int | None:
        """The size of a blob, if it is at hand."""
        self._refresh(repository)
        return super().known_blob(repository, digest)

    def known_content(self, repository: str, digest: Digest) -> bytes | None:
        """The bytes of a small blob, if they are at hand."""
        self._refresh(repository)
        return super().known_content(repository, digest)

    def known_manifest(self, repository: str, reference: str) -> StoredManifest | None:
        """A manifest by digest or tag, if it is at hand."""
        self._refresh(repository)
        return super().known_manifest(repository, reference)

    def known_page(self, repository: str, key: str) -> Page | None:
        """A part of the list of tags, if it is at hand."""
        self._refresh(repository)
        return super().known_page(repository, key)

    async def page(
        self, repository: str, key: str, load: Callable[[], Awaitable[Page | None]]
    ) -> Page | None:
        """A part of the list of tags, from memory or by `load`."""
        before = self._refresh(repository)
        found = await super().page(repository, key, load)
        self._check(repository, before)
        return found

    async def blob(
        self, repository: str, digest: Digest, load: Callable[[], Awaitable[int | None]]
    ) -> int | None:
        """The size of a blob, from memory or by `load`."""
        before = self._refresh(repository)
        found = await super().blob(repository, digest, load)
        self._check(repository, before)
        return found

    async def opened(
        self, repository: str, digest: Digest, load: Callable[[], Awaitable[tuple[BinaryIO, int] | None]]
    ) -> tuple[BinaryIO, int] | None:
        """What `load` opens; the bytes of a small blob are kept."""
        before = self._refresh(repository)
        found = await super().opened(repository, digest, load)
        self._check(repository, before)
        return found

    async def manifest(
        self, repository: str, reference: str, load: Callable[[], Awaitable[StoredManifest | None]]
    ) -> StoredManifest | None:
        """A manifest by digest or tag, from memory or by `load`."""
        before = self._refresh(repository)
        found = await super().manifest(repository, reference, load)
        self._check(repository, before)
        return found

    def _check(self, repository: str, before: int) -> None:
        """Keep nothing that was read while somebody made a change."""
        if self._region.generation(repository) != before:
            self.forget(repository)


class SharedSwitches:
    """
    Implements `Switches` for all processes.

    Args:
        region: what they share.
    """

    def __init__(self, region: Region) -> None:
        self._region = region

    @property
    def is_read_only(self) -> bool:
        """Whether pushes and deletions are refused."""
        return self._region.is_read_only

    def set_read_only(self, value: bool) -> None:
        """Refuse pushes and deletions, or take them again."""
        self._region.set_read_only(value)


class SharedRateLimit(RateLimit):
    """
    A `RateLimit` whose allowances all processes spend together.

    When more callers come than fit, the one that was silent longest is forgotten.

    Args:
        per_second: requests by which an allowance refills in a second.
        burst: the most requests that an allowance holds.
        descriptor: as `create` made it.
    """

    def __init__(self, per_second: float, burst: int, descriptor: int) -> None:
        super().__init__(per_second, burst, time.monotonic)
        self._descriptor = descriptor
        self._table = mmap.mmap(descriptor, _ALLOWANCES * _ALLOWANCE.size)

    @staticmethod
    def create() -> int:
        """A descriptor of an empty table."""
        descriptor = os.memfd_create("pybuild-allowances", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _ALLOWANCES * _ALLOWANCE.size)
        return descriptor

    def _take(self, key: tuple[str, str]) -> None:
        with self._alone():
            left = self._left(key)
            self._write(key, left - 1)

    def _held_by(self, key: tuple[str, str]) -> tuple[float, float] | None:
        name, start = _name(key)
        for probe in range(_PROBES):
            found, left, since = self._read((start + probe) % _ALLOWANCES)
            if found == name:
                return left, since
        return None

    def _write(self, key: tuple[str, str], left: float) -> None:
        name, start = _name(key)
        places = [(start + probe) % _ALLOWANCES for probe in range(_PROBES)]
        entries = [self._read(place) for place in places]
        same = [place for place, entry in zip(places, entries, strict=True) if entry[0] == name]
        oldest = min(zip(entries, places, strict=True), key=lambda pair: pair[0][2])[1]
        place = same[0] if same else oldest
        _ALLOWANCE.pack_into(self._table, place * _ALLOWANCE.size, name, left, time.monotonic())

    def _read(self, place: int) -> tuple[int, float, float]:
        name, left, since = _ALLOWANCE.unpack_from(self._table, place * _ALLOWANCE.size)
        return name, left, since

    @contextmanager
    def _alone(self) -> Iterator[None]:
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)


def _name(key: tuple[str, str]) -> tuple[int, int]:
    """What stands for a caller in the table, never zero, and where it is looked for first."""
    name = int.from_bytes(hashlib.blake2b("\0".join(key).encode(), digest_size=8).digest(), "big") | 1
    return name, (name >> 1) % _ALLOWANCES


class WorkerOutbox:
    """
    Implements `Outbox` by giving events to the leading process, which delivers them.

    Args:
        webhooks: the receivers.
        link: leads to the leading process.
    """

    def __init__(self, webhooks: tuple[Webhook, ...], link: Link) -> None:
        self._webhooks = webhooks
        self._link = link

    def wants(self, kind: str, repository: str) -> bool:
        """Whether anybody asked for such an event."""
        return any(kind in hook.events and matches(hook.repositories, repository) for hook in self._webhooks)

    def add(self, change: Change) -> None:
        """Keep an event; durable when it returns."""
        self._link.ask("worker.event", kind=change.kind, repository=change.repository, data=change.data)

    def announce(self) -> None:
        """The leading process knows already."""

    def pending(self) -> int:
        """How many events wait."""
        return int(self._link.ask("worker.pending")["count"])

    async def delivering(self, _app: web.Application) -> AsyncIterator[None]:
        """Nothing: the leading process delivers."""
        yield
