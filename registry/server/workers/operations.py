"""
The changes that workers ask the leading process for, and what it tells them.

Invariants: a change is durable, and no process serves anything older of the repository, when its answer goes
out; what arrives here comes from processes of this server, as the kernel said, and is checked all the same.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from oci_image.digest import Digest
from oci_image.errors import VerificationFailed

from ...errors import StorageProblem
from ..control import Message, Operation
from ..events import Change, Outbox
from ..leases import Key
from ..policies import Policy, policy_of
from ..store.base import TagCondition
from ..store.filesystem import FilesystemStore
from ..store.records import decode_record
from .region import Region

_PROPAGATION = 0.002
"""After this many seconds every processor sees what another one wrote to memory; far more than it takes."""
_SETTLED = 0.1
"""For how long a worker may go on with what it looked up just before a change."""


class OtherWorkers:
    """Implements `Others` by the shared memory."""

    def __init__(self, region: Region) -> None:
        self._region = region

    def condemn(self, keys: AbstractSet[Key]) -> None:
        """Let the workers ask before they touch these, from the moment when this returns."""
        for key in keys:
            self._region.condemn(self._region.place(*key), 1)
        # A worker notes its use before it looks for this mark; so either it sees the mark, or we see the use.
        time.sleep(_PROPAGATION)

    def used(self, key: Key) -> float:
        """When one of them used this last."""
        return self._region.used(self._region.place(*key))

    def release(self, keys: AbstractSet[Key]) -> None:
        """Let them touch these again."""
        for key in keys:
            self._region.condemn(self._region.place(*key), -1)


@dataclass(slots=True)
class Workers:
    """Implements `Audience`: the processes that serve the directory."""

    region: Region
    store: FilesystemStore
    waiting: deque[tuple[float, tuple[Key, ...]]] = field(default_factory=deque)

    def changed(self, repository: str, keys: Sequence[Key] = ()) -> None:
        """Serve nothing older; the keys stay condemned until nobody can be in the middle of serving them."""
        self.region.advance(repository)
        if keys:
            self.waiting.append((time.monotonic() + _SETTLED, tuple(keys)))

    def damaged(self, _digest: Digest) -> None:
        """An earlier verification was of another file, which is gone."""

    def release_settled(self) -> None:
        """End the collections of which every worker knows; call it from time to time."""
        while self.waiting and self.waiting[0][0] <= time.monotonic():
            self.store.leases.release(self.waiting.popleft()[1])


class StoreOperations:
    """
    Changes the storage for workers.

    Args:
        store: the open directory.
        workers: who serves it.
        policies: which tags are immutable.
        outbox: the events; None without receivers.
        announce: called when there is a new one, in any thread.
    """

    def __init__(
        self,
        store: FilesystemStore,
        workers: Workers,
        policies: Sequence[Policy],
        outbox: Outbox | None,
        announce: Callable[[], None],
    ) -> None:
        self._store = store
        self._workers = workers
        self._policies = policies
        self._outbox = outbox
        self._announce = announce

    @property
    def operations(self) -> Mapping[str, Operation]:
        """What each word does."""
        return {
            "worker.touch": self._touch,
            "worker.uses": self._uses,
            "worker.mount": self._mount,
            "worker.adopt": self._adopt,
            "worker.delete_blob": self._delete_blob,
            "worker.quarantine": self._quarantine,
            "worker.verify": self._verify,
            "worker.put": self._put,
            "worker.delete_manifest": self._delete_manifest,
            "worker.delete_tag": self._delete_tag,
            "worker.remove": self._remove,
            "worker.event": self._event,
            "worker.pending": self._pending,
        }

    def _touch(self, asked: Message, _payload: bytes) -> Message:
        return {"here": self._store.leases.touch(asked["repository"], Digest.parse(asked["digest"]))}

    def _uses(self, asked: Message, _payload: bytes) -> Message:
        used = {(name, Digest.parse(text)): when for name, text, when in asked["used"]}
        pulled = {(name, Digest.parse(text)): (when, wall) for name, text, when, wall in asked["pulled"]}
        self._store.leases.absorb(used, pulled)
        return {}

    def _mount(self, asked: Message, _payload: bytes) -> Message:
        digest = Digest.parse(asked["digest"])
        return {"done": self._store.blobs.mount(asked["repository"], digest, asked["source"])}

    def _adopt(self, asked: Message, _payload: bytes) -> Message:
        path = str(asked["path"])
        if not path.startswith(f"{self._store.layout.uploads}/") or "/.." in path:
            raise StorageProblem("this is not the file of an upload")
        self._store.blobs.adopt(asked["repository"], Digest.parse(asked["digest"]), path)
        return {}

    def _delete_blob(self, asked: Message, _payload: bytes) -> Message:
        try:
            return {"done": self._store.blobs.delete(asked["repository"], Digest.parse(asked["digest"]))}
        finally:
            self._workers.changed(asked["repository"])

    def _quarantine(self, asked: Message, _payload: bytes) -> Message:
        digest = Digest.parse(asked["digest"])
        holders = list(self._store.index.holders(digest))
        self._store.blobs.quarantine(digest)
        for repository in holders:
            self._workers.changed(repository)
        return {}

    def _verify(self, asked: Message, _payload: bytes) -> Message:
        try:
            return {"whole": self._store.manifests.verify(asked["repository"], Digest.parse(asked["digest"]))}
        finally:
            self._workers.changed(asked["repository"])

    def _put(self, asked: Message, payload: bytes) -> Message:
        manifest = decode_record(payload, Digest.parse(asked["digest"]))
        if manifest is None:
            raise VerificationFailed("the manifest does not have its digest")
        condition = _read_condition(asked["condition"])
        try:
            self._store.manifests.put(
                asked["repository"], manifest, asked["tags"], condition, asked["immutable"]
            )
        finally:
            self._workers.changed(asked["repository"])
        return {}

    def _delete_manifest(self, asked: Message, _payload: bytes) -> Message:
        repository = asked["repository"]
        policy = policy_of(self._policies, repository) if asked["guarded"] else None
        is_immutable = None if policy is None else policy.is_immutable
        try:
            digest = Digest.parse(asked["digest"])
            return {"done": self._store.manifests.delete(repository, digest, is_immutable=is_immutable)}
        finally:
            self._workers.changed(repository)

    def _delete_tag(self, asked: Message, _payload: bytes) -> Message:
        condition = _read_condition(asked["condition"])
        try:
            return {"done": self._store.tags.delete(asked["repository"], asked["tag"], condition)}
        finally:
            self._workers.changed(asked["repository"])

    def _remove(self, asked: Message, _payload: bytes) -> Message:
        try:
            return {"done": self._store.remove_repository(asked["repository"])}
        finally:
            self._workers.changed(asked["repository"])

    def _event(self, asked: Message, _payload: bytes) -> Message:
        if self._outbox is not None:
            self._outbox.add(Change(kind=asked["kind"], repository=asked["repository"], data=asked["data"]))
            self._announce()
        return {}

    def _pending(self, _asked: Message, _payload: bytes) -> Message:
        return {"count": 0 if self._outbox is None else self._outbox.pending()}


def _read_condition(asked: Mapping[str, list[str] | None] | None) -> TagCondition | None:
    if asked is None:
        return None
    match, none_match = asked["match"], asked["none_match"]
    return TagCondition(
        None if match is None else frozenset(match), None if none_match is None else frozenset(none_match)
    )
