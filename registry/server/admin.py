"""
What the owner of a registry's directory can ask for, by name: of a running server or of the directory alone.

Invariants: a question and its answer are JSON; the same words do the same with and without a server; what
cannot be done while a server runs is refused with the reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from oci_image.digest import Digest
from oci_image.errors import ImageError
from oci_image.reference import is_repository_name

from ..errors import InvalidConfiguration, RegistryError
from .control import ControlServer, Message, Operation
from .housekeeping.upkeep import Upkeep
from .state import ServerState
from .switches import Switches

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Administration:
    """
    Answers questions about one storage.

    Attributes:
        upkeep: what looks after it.
        switches: those of the server that uses it; None without a server.
        status: what the server says about itself; None without a server.
    """

    upkeep: Upkeep
    switches: Switches | None = None
    status: Callable[[], Message] | None = None

    @property
    def operations(self) -> Mapping[str, Operation]:
        """What each word does."""
        return {
            "gc": self._gc,
            "explain": self._explain,
            "undelete": self._undelete,
            "scrub": self._scrub,
            "rm": self._remove,
            "readonly": self._readonly,
            "status": self._status,
            "fsck": self._fsck,
        }

    def _gc(self, asked: Message, _payload: bytes) -> Message:
        report = self.upkeep.collect(
            dry_run=bool(asked.get("dry_run")), grace=asked.get("grace"), undelete=asked.get("undelete")
        )
        deletions = [
            {
                "kind": item.kind,
                "repository": item.repository,
                "tag": item.tag,
                "digest": str(item.digest),
                "size": item.size,
                "reason": item.reason,
            }
            for item in report.deletions
        ]
        return {
            "deletions": deletions,
            "freed": report.freed,
            "purged": report.purged,
            "waiting": report.waiting,
        }

    def _explain(self, asked: Message, _payload: bytes) -> Message:
        return {"lines": self.upkeep.explain(Digest.parse(str(asked["digest"])), asked.get("grace"))}

    def _undelete(self, asked: Message, _payload: bytes) -> Message:
        return {"lines": self.upkeep.undelete(Digest.parse(str(asked["digest"])))}

    def _scrub(self, asked: Message, _payload: bytes) -> Message:
        report = self.upkeep.scrub(asked.get("rate"))
        damaged = {str(digest): list(holders) for digest, holders in sorted(report.damaged.items())}
        return {"checked": report.checked, "size": report.size, "damaged": damaged}

    def _remove(self, asked: Message, _payload: bytes) -> Message:
        repository = str(asked["repository"])
        if not is_repository_name(repository) or not self.upkeep.remove(repository):
            raise RegistryError(f"there is no repository {repository[:300]}")
        return {}

    def _readonly(self, asked: Message, _payload: bytes) -> Message:
        if self.switches is None:
            raise RegistryError(
                "no server uses this directory, so there is nothing to switch",
                hint="set read_only in [server] for the next start",
            )
        if "value" in asked:
            self.switches.set_read_only(bool(asked["value"]))
            _LOG.info("the registry is %s now", "read-only" if asked["value"] else "writable")
        return {"read_only": self.switches.is_read_only}

    def _status(self, _asked: Message, _payload: bytes) -> Message:
        index = self.upkeep.store.index
        counts = {
            name: index.rows(f"SELECT count(*) FROM {name}")[0][0]  # noqa: S608 - the names are constants
            for name in ("manifests", "tags", "blobs")
        }
        found: Message = {"repositories": len(index.repository_names("", 2**62)), **counts}
        found["uploads"] = self.upkeep.store.uploads.count()
        return found | (self.status() if self.status is not None else {"state": "stopped"})

    def _fsck(self, asked: Message, _payload: bytes) -> Message:
        if self.status is not None:
            raise RegistryError(
                "fsck compares files that may not change meanwhile, so no server may use the directory",
                hint="stop the server first; scrub finds damaged content while it runs",
            )
        from .housekeeping.fsck import check

        found = check(self.upkeep.store, repair=bool(asked.get("repair")), is_sparse=self.upkeep.is_sparse)
        findings = [
            {"place": item.place, "problem": item.problem, "repaired": item.repaired} for item in found
        ]
        return {"findings": findings}


def failure(problem: Exception) -> Message:
    """The answer in place of one, for whoever asked."""
    if isinstance(problem, RegistryError | ImageError):
        return {"error": type(problem).__name__, "message": problem.message, "hint": problem.hint}
    _LOG.error("a question of the administration failed", exc_info=problem)
    return {"error": "RegistryError", "message": "the server failed; its log says more", "hint": None}


@contextlib.asynccontextmanager
async def serving(upkeep: Upkeep, state: ServerState) -> AsyncIterator[None]:
    """Answer the owner of the directory within the block."""
    started = time.monotonic()

    def status() -> Message:
        return {
            "state": "draining" if state.running.is_draining else "serving",
            "pid": os.getpid(),
            "running_requests": state.running.count,
            "read_only": state.switches.is_read_only,
            "uptime": round(time.monotonic() - started, 1),
            "workers": [],
        }

    administration = Administration(upkeep=upkeep, switches=state.switches, status=status)
    async with answering(upkeep.store.directory, administration.operations):
        yield


@contextlib.asynccontextmanager
async def answering(root: str, operations: Mapping[str, Operation]) -> AsyncIterator[None]:
    """
    Listen at the control socket of a directory within the block.

    Raises:
        InvalidConfiguration: the file system has no sockets.
    """
    server = ControlServer(root, operations, failure)
    try:
        server.start()
    except OSError as problem:
        raise InvalidConfiguration(f"cannot make a control socket in {root}: {problem.strerror}") from problem
    try:
        yield
    finally:
        await asyncio.to_thread(server.stop)
