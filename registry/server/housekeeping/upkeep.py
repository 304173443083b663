"""
Looking after a directory, by a server's own clock or because somebody asks: garbage, scrubs, removals.

Invariants: a collection or a scrub runs once at a time; whoever serves the directory is told of everything
that goes before it may be used for something else; everything here may block, and can be stopped.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from oci_image.digest import Digest

from ...errors import RegistryError
from ..leases import Key
from ..policies import Policy, policy_of
from ..store.indexed import IndexedStore
from ..tidings import Tidings
from .gc import Collector, GcReport
from .gc_questions import explain, undelete
from .retention import expired_tags, remove_expired
from .scrub import Scrubber, ScrubReport

_LOG = logging.getLogger(__name__)


class Audience(Protocol):
    """Who serves the directory meanwhile. The methods may be called in any thread."""

    def changed(self, repository: str, keys: Sequence[Key] = ()) -> None:
        """Serve nothing older of the repository; then end the collection of these keys."""
        ...

    def damaged(self, digest: Digest) -> None:
        """The content was put aside; do not trust an earlier verification."""
        ...


class Nobody:
    """The audience of a directory that no server uses."""

    def __init__(self, store: IndexedStore) -> None:
        self._store = store

    def changed(self, _repository: str, keys: Sequence[Key] = ()) -> None:
        """End the collection."""
        self._store.leases.release(keys)

    def damaged(self, digest: Digest) -> None:
        """Nothing was verified here."""


class Upkeep:
    """
    What is done to one directory beside serving it.

    Args:
        store: the open directory.
        audience: who serves it.
        grace: seconds for which what nothing needs stays after its last use.
        undelete: seconds for which what was collected can be brought back.
        policies: retention by repository.
        scrub_rate: bytes in a second that a scrub reads; 0 for as fast as it goes.
        is_sparse: whether manifests of a repository may refer to what is not here.
        tidings: tells others of what goes; None where nobody wants to know.
    """

    def __init__(
        self,
        store: IndexedStore,
        audience: Audience,
        *,
        grace: float,
        undelete: float,
        policies: Sequence[Policy] = (),
        scrub_rate: float = 0.0,
        is_sparse: Callable[[str], bool] = lambda _repository: False,
        tidings: Tidings | None = None,
    ) -> None:
        self.store = store
        self._audience = audience
        self._grace = grace
        self._undelete = undelete
        self._policies = policies
        self._scrub_rate = scrub_rate
        self.is_sparse = is_sparse
        self._tidings = tidings
        self._collecting = threading.Lock()
        self._scrubbing = threading.Lock()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Let what runs come to an early end, and start nothing more."""
        self._stopped.set()

    def tell(self) -> None:
        """Tell others of what went and they do not know of yet; a failure is made good the next time."""
        if self._tidings is not None:
            try:
                self._tidings.tell()
            except RegistryError as problem:
                _LOG.warning("nobody is told of what went: %s", problem.message)

    def collect(
        self, *, dry_run: bool = False, grace: float | None = None, undelete: float | None = None
    ) -> GcReport:
        """
        Remove tags whose time is over, then what nothing needs; with `dry_run`, only say what that is.

        Args:
            dry_run: remove nothing; what goes because its last tag goes is not in the report then.
            grace: in place of that of the settings.
            undelete: in place of that of the settings.

        Raises:
            RegistryError: a collection is running.
        """
        with _alone(self._collecting, "a collection"):
            try:
                return self._collect(dry_run=dry_run, grace=grace, undelete=undelete)
            finally:
                if not dry_run:
                    self.tell()

    def _collect(self, *, dry_run: bool, grace: float | None, undelete: float | None) -> GcReport:
        self.store.write_down()
        if dry_run:
            expired = list(expired_tags(self.store, self._policies))
        else:
            expired = remove_expired(self.store, self._policies, self._audience.changed)
            for item in expired:
                _LOG.info("the tag %s:%s went: %s", item.repository, item.tag, item.reason)
        collector = Collector(
            self.store,
            grace=self._grace if grace is None else grace,
            undelete=self._undelete if undelete is None else undelete,
            finish=self._audience.changed,
            grace_of=self._grace_of if grace is None else None,
        )
        collector.stopped = self._stopped
        report = collector.collect(dry_run=dry_run)
        return replace(report, deletions=expired + report.deletions)

    def _grace_of(self, repository: str) -> float:
        policy = policy_of(self._policies, repository)
        return min(self._grace, policy.ttl) if policy is not None and policy.ttl else self._grace

    def explain(self, digest: Digest, grace: float | None = None) -> list[str]:
        """One sentence for each place where the digest is or was."""
        self.store.write_down()
        return explain(
            self.store,
            digest,
            self._grace if grace is None else grace,
            grace_of=self._grace_of if grace is None else None,
            policies=self._policies,
        )

    def undelete(self, digest: Digest) -> list[str]:
        """
        Bring back what was collected under the digest; says what that was.

        Raises:
            RegistryError: nothing of it is in the trash.
        """
        with _alone(self._collecting, "a collection"):
            done = undelete(self.store, digest)
        for repository in {line.partition(":")[0] for line in done if ": " in line}:
            self._audience.changed(repository)
        return done

    def scrub(self, rate: float | None = None) -> ScrubReport:
        """
        Read everything once, and put aside what is damaged.

        Raises:
            RegistryError: a scrub is running.
        """

        def damaged(digest: Digest, repositories: tuple[str, ...]) -> None:
            _LOG.error("%s is damaged; push it again to repair it in %s", digest, ", ".join(repositories))
            self._audience.damaged(digest)
            for repository in repositories:
                self._audience.changed(repository)

        with _alone(self._scrubbing, "a scrub"):
            chosen = self._scrub_rate if rate is None else rate
            scrubber = Scrubber(self.store, rate=chosen, damaged=damaged)
            scrubber.stopped = self._stopped
            return scrubber.scrub()

    def remove(self, repository: str) -> bool:
        """Remove the manifests, tags and blobs of a repository; False when there is none of that name."""
        try:
            found = self.store.remove_repository(repository)
        finally:
            self._audience.changed(repository)
        if found and self._tidings is not None:
            self._tidings.tell_removal(repository)
        return found


@contextlib.contextmanager
def _alone(lock: threading.Lock, what: str) -> Iterator[None]:
    if not lock.acquire(blocking=False):
        raise RegistryError(f"{what} is running already", hint="wait until it has ended")
    try:
        yield
    finally:
        lock.release()
