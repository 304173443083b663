"""
Why something is here or gone, and bringing it back.

Invariants: what is brought back is verified and comes with everything it refers to and everything that
referred to it, as far as the same collection took that, and with the tags that a policy took from it, unless
they stand for something else by now; its grace period and the age of its tags start anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from oci_image.digest import Digest

from ...errors import RegistryError
from ..gc_log import Record
from ..policies import Policy
from ..store.base import ConditionFailed, TagCondition
from ..store.indexed import IndexedStore
from ..store.records import decode_record
from ..store.references import read_references
from .gc_marks import mark
from .retention import expired_tags


def explain(
    store: IndexedStore,
    digest: Digest,
    grace: float,
    *,
    grace_of: Callable[[str], float] | None = None,
    policies: Sequence[Policy] = (),
) -> list[str]:
    """
    One sentence for each place where the digest is or was.

    Args:
        store: the open storage.
        digest: of a manifest, a blob or a tag's manifest.
        grace: seconds for which what nothing needs stays after its last use.
        grace_of: the grace of a repository where it is another one.
        policies: what removes tags.
    """
    text = str(digest)
    lines = []
    holding = store.index.rows(
        "SELECT repository FROM manifests WHERE digest = ? "
        "UNION SELECT repository FROM blobs WHERE digest = ?",
        text,
        text,
    )
    for (repository,) in sorted(holding):
        since = store.clock() - (grace if grace_of is None else grace_of(repository))
        marks = mark(store.index, repository, since)
        if text in marks.needed:
            lines.append(f"{repository}: kept as a manifest: {marks.chain(text)}")
        elif text in marks.dead:
            lines.append(f"{repository}: goes with the next collection: {marks.dead[text]}")
        for blob, _size, seen in marks.blobs:
            if blob != text:
                continue
            parent = marks.kept_blobs.get(text)
            if parent is not None:
                chain = marks.chain(parent) or "its manifest is damaged and may be repaired"
                lines.append(f"{repository}: kept as a blob: needed by {parent}, {chain}")
            elif seen > since:
                lines.append(
                    f"{repository}: kept as a blob: used {max(0.0, store.clock() - seen):.0f} seconds ago"
                )
            else:
                lines.append(f"{repository}: goes with the next collection: no manifest refers to it")
    if holding and any(policy.has_retention for policy in policies):
        lines += [
            f"{item.repository}: the tag {item.tag} goes with the next collection: {item.reason}"
            for item in expired_tags(store, policies)
            if item.digest == digest
        ]
    for record in store.deletions.of_digest(digest):
        if record.state != "spared":
            item = record.deletion
            what = f"{item.kind} {item.tag}".rstrip()
            place = f"{item.repository}: {what}" if item.repository else "content"
            lines.append(f"{place} collected ({record.state}): {item.reason}")
    return lines


def undelete(store: IndexedStore, digest: Digest) -> list[str]:
    """
    Bring back what was collected under the digest.

    Returns:
        What came back, one line each.

    Raises:
        RegistryError: nothing of it is in the trash.
    """
    records = [
        record
        for record in store.deletions.of_digest(digest)
        if record.state == "kept" and store.trash.has(record)
    ]
    done: list[str] = []
    named = [record for record in records if record.deletion.kind != "content"]
    for record in named:
        _restore(store, record, done)
    if records and not named:
        _restore_content(store, records[0])
        done.append(f"content {digest}")
    _restore_tags(store, digest, done)
    if not done:
        raise RegistryError(
            f"{digest} is not in the trash",
            hint="it was never collected, was brought back already, or the time for that is over",
        )
    return done


def _restore_tags(store: IndexedStore, digest: Digest, done: list[str]) -> None:
    """The tags that policies took from the manifest, where it is here and nothing else has the name."""
    unless_taken = TagCondition(none_match=frozenset({"*"}))
    for record in store.deletions.of_digest(digest):
        item = record.deletion
        if item.kind != "tag" or record.state != "removed":
            continue
        manifest = store.manifests.get(item.repository, digest)
        if manifest is None:
            continue
        try:
            store.manifests.put(item.repository, manifest, [item.tag], unless_taken)
        except ConditionFailed:
            continue
        store.deletions.set_state([record.number], "restored")
        done.append(f"{item.repository}: tag {item.tag} {digest}")


def _restore(store: IndexedStore, record: Record, done: list[str]) -> None:
    item = record.deletion
    if item.kind == "manifest":
        _restore_manifest(store, record, done)
    elif item.kind == "blob":
        store.trash.restore_blob(record)
    else:
        return
    store.deletions.set_state([record.number], "restored")
    store.trash.discard(record)
    done.append(f"{item.repository}: {item.kind} {item.digest}")


def _restore_manifest(store: IndexedStore, record: Record, done: list[str]) -> None:
    item = record.deletion
    data = store.trash.read(record)
    manifest = None if data is None else decode_record(data, item.digest)
    if manifest is None:
        raise RegistryError(f"the file of {item.digest} in the trash is damaged")
    references = read_references(manifest.raw)
    wanted = {*references.blobs, *references.manifests}
    kept = store.deletions.of_run(record.run, item.repository)
    for other in kept:
        if other.deletion.digest in wanted:
            _restore(store, other, done)
    store.manifests.put(item.repository, manifest)
    for other in kept:
        if other.deletion.kind == "manifest" and _subject(store, other) == item.digest:
            _restore(store, other, done)


def _subject(store: IndexedStore, record: Record) -> Digest | None:
    data = store.trash.read(record)
    manifest = None if data is None else decode_record(data, record.deletion.digest)
    return None if manifest is None else manifest.subject


def _restore_content(store: IndexedStore, record: Record) -> None:
    store.trash.restore_content(record)
    store.deletions.set_state([record.number], "restored")
    store.trash.discard(record)
