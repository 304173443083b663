"""
Tags that go by themselves.

Invariants: a tag goes only while it stands for what the decision was about, with a recorded reason; manifests
are the concern of the garbage collection, which comes after.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence

from oci_image.digest import Digest

from ..gc_log import Deletion
from ..policies import Policy, policy_of
from ..store.base import ConditionFailed, TagCondition
from ..store.indexed import IndexedStore


def expired_tags(store: IndexedStore, policies: Sequence[Policy]) -> Iterator[Deletion]:
    """The tags that the policies remove now."""
    for (repository,) in store.index.rows("SELECT name FROM repositories ORDER BY name"):
        policy = policy_of(policies, repository)
        if policy is not None and policy.has_retention:
            yield from _of_repository(store, repository, policy)


def _of_repository(store: IndexedStore, repository: str, policy: Policy) -> Iterator[Deletion]:
    rows = store.index.rows(
        "SELECT t.name, t.digest, t.changed, m.pulled FROM tags AS t LEFT JOIN manifests AS m "
        "ON m.repository = t.repository AND m.digest = t.digest WHERE t.repository = ? "
        "ORDER BY t.changed DESC, t.name",
        repository,
    )
    now = store.index.wall()
    known = now - _seconds_of_knowledge(store)
    kept = 0
    for tag, digest, changed, pulled in rows:
        if policy.is_kept(tag):
            continue
        used = max(changed, pulled or 0.0, known)
        reason = ""
        if policy.ttl and now - changed > policy.ttl:
            reason = f"pushed {now - changed:.0f} seconds ago, more than the ttl of {policy.ttl:.0f}"
        elif policy.max_age and now - changed > policy.max_age:
            reason = f"pushed {now - changed:.0f} seconds ago, more than {policy.max_age:.0f}"
        elif policy.max_idle and now - used > policy.max_idle:
            reason = f"last pulled or pushed {now - used:.0f} seconds ago, more than {policy.max_idle:.0f}"
        elif policy.max_tags and kept >= policy.max_tags:
            reason = f"{policy.max_tags} tags were pushed after it"
        else:
            kept += 1
        if reason:
            yield Deletion(
                kind="tag",
                repository=repository,
                tag=tag,
                digest=Digest.parse(digest),
                size=0,
                reason=f"{reason} (policy for {policy.repositories})",
            )


def _seconds_of_knowledge(store: IndexedStore) -> float:
    """For how long every pull was noted: an index that is new, or saw a crash, knows no earlier ones."""
    return store.clock() - float(store.index.meta("born") or "-inf")


def remove_expired(
    store: IndexedStore, policies: Sequence[Policy], changed: Callable[[str], None]
) -> list[Deletion]:
    """
    Remove the tags whose time is over.

    Args:
        store: the open storage.
        policies: what holds for which repositories.
        changed: called with each repository that lost a tag.
    """
    store.catch_up()
    store.write_down()
    run = uuid.uuid4().hex
    done = []
    for item in list(expired_tags(store, policies)):
        records = store.deletions.record(run, [item], store.index.wall(), store.clock())
        condition = TagCondition(match=frozenset({str(item.digest)}))
        try:
            found = store.tags.delete(item.repository, item.tag, condition)
        except ConditionFailed:
            found = False
        store.deletions.set_state([record.number for record in records], "removed" if found else "spared")
        if found:
            done.append(item)
            changed(item.repository)
    return done
