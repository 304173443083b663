"""
What others are told of deletions that no request asked for: collections, retention, the owner at the machine.

Invariants: what the log of deletions has is told at least once, also when the server was killed in between;
what is there again by then is not.
"""

from __future__ import annotations

from collections.abc import Callable

from .events import Bulletin, Change
from .gc_log import Record
from .store.indexed import IndexedStore

_BATCH = 500
_KEEP_SECONDS = 7 * 24 * 3600.0
_GONE = ("kept", "purged", "removed")


class Tidings:
    """
    Tells the receivers of events.

    Args:
        store: the open storage.
        bulletin: where events go.
        announce: called when there are new ones, in any thread.
    """

    def __init__(self, store: IndexedStore, bulletin: Bulletin, announce: Callable[[], None]) -> None:
        self._store = store
        self._bulletin = bulletin
        self._announce = announce

    def tell(self) -> None:
        """Tell of what went since the last time. Durable when it returns; may block."""
        log = self._store.deletions
        told, last = self._bulletin.told(), log.last()
        if told is None or told > last:  # what happened before there were receivers, or in another log
            self._bulletin.add_all([], last)
            return
        since = self._store.index.wall() - _KEEP_SECONDS
        while records := log.following(told, _BATCH):
            changes = [
                change for record in records if record.wall >= since and (change := self._change(record))
            ]
            told = records[-1].number
            self._bulletin.add_all(changes, told)
            if changes:
                self._announce()

    def tell_removal(self, repository: str) -> None:
        """Tell that the owner of the storage removed a whole repository."""
        data = {"reason": "the owner of the storage removed the repository"}
        self._bulletin.add_all([Change(kind="delete", repository=repository, data=data)])
        self._announce()

    def _change(self, record: Record) -> Change | None:
        item, store = record.deletion, self._store
        if record.state not in _GONE:
            return None
        data = {"digest": str(item.digest), "reason": item.reason}
        if item.kind == "tag":
            if not item.tag or store.tags.get(item.repository, item.tag) is not None:
                return None
            data["tag"] = item.tag
        elif item.kind != "manifest" or store.manifests.get(item.repository, item.digest) is not None:
            return None
        return Change(kind="delete", repository=item.repository, data=data)
