"""
Which manifests of a repository are needed, and why.

Invariants: needed are tagged manifests, those used within the grace period, everything that an index that is
needed lists, and everything whose subject is needed; each answer carries the chain of reasons that led to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter

from ..store.index import Index


@dataclass(frozen=True, slots=True)
class Reason:
    """
    Why something is needed.

    Attributes:
        text: one clause.
        via: the digest of the manifest that it is needed for; empty for a root.
    """

    text: str
    via: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """
    The state of one repository.

    Attributes:
        needed: reasons by digest, of manifests.
        dead: why the other manifests are not needed, by digest; indexes before what they list, subjects
            before what refers to them.
        sizes: of all manifests, by digest.
        blobs: digest, size and last use of all blobs.
        kept_blobs: blobs that a manifest that stays refers to, and that manifest.
    """

    needed: dict[str, Reason]
    dead: dict[str, str]
    sizes: dict[str, int]
    blobs: list[tuple[str, int, float]]
    kept_blobs: dict[str, str]

    def chain(self, digest: str) -> str:
        """The reasons for a manifest, up to a root."""
        parts = []
        while digest and (reason := self.needed.get(digest)) is not None:
            parts.append(reason.text)
            digest = reason.via
        return ", ".join(parts)


def mark(index: Index, repository: str, since: float) -> Marks:
    """
    Find what is needed.

    Args:
        index: of the registry.
        repository: whose manifests.
        since: what was used after this time of the steady clock is needed.
    """
    rows = index.rows("SELECT digest, subject, seen, size FROM manifests WHERE repository = ?", repository)
    tags = index.rows("SELECT digest, name FROM tags WHERE repository = ? ORDER BY name DESC", repository)
    links = index.rows("SELECT parent, child FROM links WHERE repository = ?", repository)
    known = {row[0]: row for row in rows}
    children: dict[str, list[str]] = defaultdict(list)
    for parent, child in links:
        children[parent].append(child)
    referrers: dict[str, list[str]] = defaultdict(list)
    for digest, subject, _seen, _size in rows:
        if subject is not None:
            referrers[subject].append(digest)
    now = index.clock()
    damaged = {child: parent for parent, child in links if child in known and parent not in known}
    needed: dict[str, Reason] = {}
    # In this order: what a tag needs says so, even when it was used a moment ago.
    for roots in (
        {digest: Reason(f"tag {name}") for digest, name in tags if digest in known},
        {child: Reason(f"listed by {parent}, which may be repaired") for child, parent in damaged.items()},
        {
            digest: Reason(f"used {max(0.0, now - seen):.0f} seconds ago")
            for digest, _subject, seen, _size in rows
            if seen > since
        },
    ):
        waiting = [digest for digest in roots if digest not in needed]
        needed |= {digest: roots[digest] for digest in waiting}
        while waiting:
            parent = waiting.pop()
            listed = {
                child: Reason(f"listed by {parent}", parent) for child in children[parent] if child in known
            }
            found = {item: Reason(f"refers to {parent}", parent) for item in referrers[parent]} | listed
            fresh = {item: reason for item, reason in found.items() if item not in needed}
            needed |= fresh
            waiting += fresh
    order = TopologicalSorter({digest: [] for digest in known if digest not in needed})
    for digest in known:
        if digest not in needed:
            order.add(digest, *(known[digest][1],) if known[digest][1] in known else ())
            for child in children[digest]:
                if child in known and child not in needed:
                    order.add(child, digest)
    dead = {
        digest: _death(known[digest], known, now, since)
        for digest in order.static_order()
        if digest not in needed
    }
    return Marks(
        needed=needed,
        dead=dead,
        sizes={row[0]: row[3] for row in rows},
        blobs=index.rows("SELECT digest, size, seen FROM blobs WHERE repository = ?", repository),
        kept_blobs={child: parent for parent, child in links if parent not in dead},
    )


def _death(
    row: tuple[str, str | None, float, int], known: Mapping[str, object], now: float, since: float
) -> str:
    subject = row[1]
    parts = ["no tag", "no index that is needed lists it"]
    if subject is not None:
        parts.append(f"its subject {subject} is {'not needed' if subject in known else 'not here'}")
    parts.append(f"last used {now - row[2]:.0f} seconds ago, more than the grace of {now - since:.0f}")
    return "; ".join(parts)
