"""
Whether a server can take work.

Invariants: it is decided by writing to the storage, not by guessing; many questions cost one probe; no answer
tells a path.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable

from .config import RegistryConfig
from .state import ServerState
from .store.base import RegistryStore

_PROBE_SECONDS = 1.0


class Readiness:
    """The last probe of a server's storage."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._probed_at: float | None = None
        self._problem = ""

    async def problem(self, state: ServerState) -> str:
        """Why the server should get no work now; empty if nothing is wrong."""
        if state.running.is_draining:
            return "the registry is stopping"
        now = self._clock()
        if self._probed_at is None or now - self._probed_at >= _PROBE_SECONDS:
            self._probed_at = now
            config = state.config
            self._problem = await state.in_thread(
                _probe, state.store, config, read_only=state.switches.is_read_only
            )
        return self._problem


def _probe(store: RegistryStore, config: RegistryConfig, *, read_only: bool) -> str:
    if not config.is_bucket:
        return probe(config.root, reserve=config.reserve_bytes, read_only=read_only)
    from .store.bucket_store import BucketStore

    if not isinstance(store, BucketStore):
        return ""
    local = probe(store.directory, reserve=config.reserve_bytes, read_only=read_only)
    return local or store.problem(read_only=read_only)


def probe(root: str, *, reserve: int, read_only: bool) -> str:
    """What is wrong with the storage below a root; nothing can be wrong with memory."""
    if not root:
        return ""
    try:
        status = os.statvfs(root)
        if read_only:
            return ""
        if status.f_bavail * status.f_frsize < reserve:
            return "the storage is nearly full"
        path = f"{root}/incoming/ready-{uuid.uuid4().hex}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(descriptor, b"ready")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            os.unlink(path)
    except OSError as problem:
        return f"the storage cannot be written: {problem.strerror}"
    return ""
