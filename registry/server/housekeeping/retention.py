"""
Tags that go by themselves.

Invariants: a tag goes only while it stands for what the decision was about, with a recorded reason; pulls
that nobody can know of count as pulls; manifests are the concern of the collection, which comes after.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from oci_image.digest import Digest

from ..gc_log import Deletion
from ..policies import KeepRule, Policy, policy_of
from ..store.base import ConditionFailed, TagCondition
from ..store.indexed import IndexedStore


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tag:
    """One tag, when it was pushed, and when what it stands for was pulled last (0 for never)."""

    name: str
    digest: Digest
    pushed: float
    pulled: float


def expired_tags(store: IndexedStore, policies: Sequence[Policy]) -> Iterator[Deletion]:
    """The tags that the policies remove now."""
    for (repository,) in store.index.rows("SELECT name FROM repositories ORDER BY name"):
        policy = policy_of(policies, repository)
        if policy is None or not policy.has_retention:
            continue
        now = store.index.wall()
        tags = [tag for tag in _tags(store, repository, now) if not policy.is_kept(tag.name)]
        for tag, reason in _outlived(policy, tags, now):
            yield Deletion(
                kind="tag",
                repository=repository,
                tag=tag.name,
                digest=tag.digest,
                size=0,
                reason=f"{reason} (policy for {policy.repositories})",
            )


def _tags(store: IndexedStore, repository: str, now: float) -> list[_Tag]:
    """The tags of a repository, those first that were pushed last."""
    rows = store.index.rows(
        "SELECT t.name, t.digest, t.changed, m.pulled FROM tags AS t LEFT JOIN manifests AS m "
        "ON m.repository = t.repository AND m.digest = t.digest WHERE t.repository = ? "
        "ORDER BY t.changed DESC, t.name",
        repository,
    )
    known = now - _seconds_of_knowledge(store)
    return [
        _Tag(
            name=name,
            digest=Digest.parse(digest),
            pushed=changed,
            pulled=max(pulled or 0.0, known if changed < known else 0.0),
        )
        for name, digest, changed, pulled in rows
    ]


def _seconds_of_knowledge(store: IndexedStore) -> float:
    """For how long every pull was noted: an index that is new, or saw a crash, knows no earlier ones."""
    return store.clock() - float(store.index.meta("born") or "-inf")


def _outlived(policy: Policy, tags: Sequence[_Tag], now: float) -> Iterator[tuple[_Tag, str]]:
    """The tags that go, and why."""
    kept = {name for rule in policy.keep for name in _kept_by(rule, tags, now)}
    newer = 0
    for tag in tags:
        reason = _exceeded(policy, tag, newer, now) if policy.has_limits else _unkept(tag, now)
        if reason and tag.name not in kept:
            yield tag, reason
        elif not reason:
            newer += 1


def _exceeded(policy: Policy, tag: _Tag, newer: int, now: float) -> str:
    """Which limit the tag is beyond; empty for none."""
    age, idle = now - tag.pushed, now - max(tag.pushed, tag.pulled)
    if policy.ttl and age > policy.ttl:
        return f"pushed {age:.0f} seconds ago, more than the ttl of {policy.ttl:.0f}"
    if policy.max_age and age > policy.max_age:
        return f"pushed {age:.0f} seconds ago, more than {policy.max_age:.0f}"
    if policy.max_idle and idle > policy.max_idle:
        return f"last pulled or pushed {idle:.0f} seconds ago, more than {policy.max_idle:.0f}"
    if policy.max_tags and newer >= policy.max_tags:
        return f"{policy.max_tags} tags were pushed after it"
    return ""


def _unkept(tag: _Tag, now: float) -> str:
    pulled = f"pulled {now - tag.pulled:.0f} seconds ago" if tag.pulled > 0 else "never pulled"
    return f"no rule keeps it: pushed {now - tag.pushed:.0f} seconds ago, {pulled}"


def _kept_by(rule: KeepRule, tags: Iterable[_Tag], now: float) -> set[str]:
    """The names that one rule keeps, of tags in the order of their pushes."""
    meant = [tag for tag in tags if rule.concerns(tag.name)]
    if not rule.has_conditions:
        return {tag.name for tag in meant}
    kept = {tag.name for tag in meant[: rule.pushed_last]}
    pulls = sorted((tag.pulled for tag in meant if tag.pulled > 0), reverse=True)[: rule.pulled_last]
    if pulls:  # of tags that were pulled at the same time all stay: one manifest, or pulls nobody knows of
        kept |= {tag.name for tag in meant if tag.pulled >= pulls[-1]}
    if rule.pushed_within:
        kept |= {tag.name for tag in meant if now - tag.pushed <= rule.pushed_within}
    if rule.pulled_within:
        kept |= {tag.name for tag in meant if now - tag.pulled <= rule.pulled_within}
    return kept


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
