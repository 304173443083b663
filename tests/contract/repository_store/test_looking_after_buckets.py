"""Garbage, scrubs, checks, quotas and retention of a registry in a bucket."""

import json
import urllib.request

import pytest
from obstore.store import MemoryStore as ObjectsInMemory

from oci_image.digest import Digest
from registry.errors import Denied, RegistryError
from registry.server import quota
from registry.server.housekeeping.fsck import check
from registry.server.housekeeping.gc import Collector
from registry.server.housekeeping.gc_questions import explain, undelete
from registry.server.housekeeping.retention import remove_expired
from registry.server.housekeeping.scrub import Scrubber
from registry.server.policies import Policy
from registry.server.store import bucket_layout as keys
from registry.server.store.base import Totals
from registry.server.store.bucket import Bucket
from registry.server.store.bucket_store import BucketStore
from tests.contract.repository_store.storing import DATA, D, manifest, push, read
from tests.contract.storages import place

IMAGE = json.dumps({"layers": [{"digest": str(D), "size": len(DATA), "mediaType": "x"}]}).encode()


@pytest.fixture
def bucket():
    return Bucket(ObjectsInMemory())


@pytest.fixture
def opened(bucket, tmp_path, clock):
    made = []

    def start(state="state"):
        made.append(BucketStore(bucket, "bucket", str(tmp_path / state), clock=clock, wall=clock))
        return made[-1]

    yield start
    for store in made:
        store.close()


@pytest.fixture
def store(opened, clock):
    made = opened()
    made.index.set_meta("born", "-inf")
    return made


def collect(store, *, grace=100, undelete_window=1000, dry_run=False):
    return Collector(store, grace=grace, undelete=undelete_window).collect(dry_run=dry_run)


def test_what_nothing_needs_goes_and_can_come_back(store, clock, bucket):
    """Unseen from the collection on; the bytes stay where they are until the time for that is over."""
    push(store, "a")
    made = manifest(IMAGE)
    store.manifests.put("a", made, ["t"])
    store.tags.delete("a", "t")
    clock.now += 200
    dry = collect(store, dry_run=True)
    report = collect(store)
    assert [item.kind for item in report.deletions] == ["manifest", "blob", "content"]
    assert [item.kind for item in dry.deletions] == ["manifest", "blob", "content"]
    assert store.manifests.get("a", made.digest) is None
    assert store.blobs.stat("a", D) is None
    assert bucket.head(keys.content(D)) is not None
    assert "collected (kept)" in "\n".join(explain(store, D, 100))
    lines = undelete(store, made.digest)
    assert len(lines) == 2
    assert store.manifests.get("a", made.digest) == made
    assert read(store, "a", D) == DATA


def test_the_purge_takes_the_bytes(store, clock, bucket):
    """Once the time to bring it back is over, nothing of it is in the bucket but why it went."""
    push(store, "a")
    clock.now += 200
    collect(store)
    assert collect(store).deletions == []  # what is marked is not found again
    clock.now += 2000
    assert collect(store).purged == 2
    left = {entry.key.partition("/")[0] for entry in bucket.entries("")}
    assert left == {"deletions"}
    with pytest.raises(RegistryError, match="not in the trash"):
        undelete(store, D)


def test_content_that_is_pushed_again_is_not_purged(store, clock):
    """Whatever the mark says."""
    push(store, "a")
    clock.now += 200
    collect(store)
    push(store, "b")
    clock.now += 50
    collect(store, undelete_window=0)
    assert read(store, "b", D) == DATA
    assert list(store.blobs.contents()) == [D]


def test_the_reasons_survive_the_loss_of_the_state(store, opened, clock):
    """The log is read again from the bucket, and what was collected can still be brought back."""
    push(store, "a")
    clock.now += 200
    report = collect(store)
    store.close()
    again = opened("another")
    assert again.blobs.stat("a", D) is None
    assert report.deletions[0].reason in "\n".join(explain(again, D, 100))
    assert undelete(again, D) == [f"a: blob {D}"]
    assert read(again, "a", D) == DATA


def test_content_that_is_gone_cannot_be_brought_back(store, clock, bucket):
    """It is said, and nobody gets a blob without bytes."""
    push(store, "a")
    clock.now += 200
    collect(store)
    bucket.write(keys.content(D), b"other bytes")
    with pytest.raises(RegistryError, match="damaged or gone"):
        undelete(store, D)
    assert store.blobs.stat("a", D) is None


def test_what_somebody_uses_stays(store, clock):
    """A blob that a client was told of within the grace period."""
    push(store, "a")
    clock.now += 200
    assert store.blobs.touch("a", D)
    assert collect(store).deletions == []


@pytest.mark.parametrize("kind", ["bucket", "s3"])
def test_a_scrub_finds_damage_and_a_push_repairs_it(kind, opened_by_kind, tmp_path):
    """Damaged content and manifests go to quarantine."""
    store = opened_by_kind(kind, tmp_path).open()
    push(store, "a", b"whole")
    push(store, "a")
    made = manifest(IMAGE)
    store.manifests.put("a", made, ["t"])
    store._bucket.write(keys.content(D), b"some butes")
    store._bucket.write(keys.manifest("a", made.digest), b"{}\n{}")
    report = Scrubber(store).scrub()
    assert report.checked == 3
    assert set(report.damaged) == {D, made.digest}
    assert store.blobs.stat("a", D) is None
    assert store.tags.get("a", "t") is None
    assert len(list(store._bucket.entries("quarantine"))) == 2
    push(store, "a")
    store.manifests.put("a", made, ["t"])
    assert Scrubber(store).scrub().damaged == {}
    assert read(store, "a", D) == DATA
    store.close()


def test_a_check_finds_what_is_missing(store, bucket):
    """Content that is gone, references to it, and an index that does not follow."""
    push(store, "a")
    store.manifests.put("a", manifest(IMAGE), ["t"])
    assert check(store, repair=False) == []
    bucket.remove(keys.content(D))
    bucket.remove(keys.tag("a", "t"))
    bucket.write(keys.tag("a", "new"), str(manifest(IMAGE).digest).encode())
    found = {item.problem: item.repaired for item in check(store, repair=False)}
    assert found == {
        f"the content of {D} is gone; push it again": False,
        "it missed 1 tags": True,
        "it made up 1 tags": True,
    }
    assert store.tags.names("a") == ["new"]


def test_quotas_and_totals(store):
    """What a repository holds is counted, and what does not fit is refused."""
    policies = (Policy(repositories="team/**", quota=30),)
    push(store, "team/a")
    store.manifests.put("team/a", manifest(), ["t", "u"])
    assert store.totals("team/a") == Totals(size=len(DATA) + 2, blobs=1, manifests=1, tags=2)
    assert store.totals("other") == Totals()
    assert quota.room(store, policies, "team/b") == 30 - len(DATA) - 2
    with pytest.raises(Denied), quota.taking(store, policies, "team/b", Digest.of(b"x"), 20):
        pass


def test_tags_go_by_their_age(store, clock):
    """As the policy says, with a reason."""
    store.manifests.put("a", manifest(), ["old"])
    clock.now += 100
    store.manifests.put("a", manifest(), ["young"])
    gone = remove_expired(store, (Policy(repositories="**", max_age=50),), lambda _name: None)
    assert [item.tag for item in gone] == ["old"]
    assert store.tags.names("a") == ["young"]


@pytest.mark.parametrize("kind", ["memory", "filesystem", "bucket"])
def test_every_storage_counts_alike(kind, tmp_path):
    """The same content has the same totals."""
    store = place(kind, tmp_path).open()
    push(store, "a")
    push(store, "a", b"second")
    store.manifests.put("a", manifest(IMAGE), ["t"])
    assert store.totals("a") == Totals(size=len(DATA) + 6 + len(IMAGE), blobs=2, manifests=1, tags=1)
    assert store.totals("b") == Totals()
    push(store, "b")
    push(store, "b", b"only here")
    store.manifests.put("b", manifest(IMAGE), ["t", "u"])
    assert store.usage() == Totals(size=len(DATA) + 15 + len(IMAGE), blobs=3, manifests=1, tags=3)
    store.close()


def test_a_repository_can_be_removed(store, bucket):
    """With all its tags; other repositories keep what they have."""
    push(store, "a")
    push(store, "b")
    store.manifests.put("a", manifest(IMAGE), ["t"])
    assert store.remove_repository("a")
    assert store.tags.names("a") is None
    assert list(store.blobs.holders(D)) == ["b"]
    assert list(bucket.entries(keys.repository_prefix("a"))) == []


def test_a_link_gives_everybody_the_bytes(opened_by_kind, tmp_path):
    """For a while, and only for what the repository has."""
    store = opened_by_kind("s3", tmp_path).open()
    push(store, "a")
    with urllib.request.urlopen(store.blobs.link("a", D, 60)) as answer:
        assert answer.read() == DATA
    assert store.blobs.link("b", D, 60) == ""
    store.close()


def test_strange_objects_are_left_alone(store, opened, bucket):
    """Whoever put them there."""
    push(store, "a")
    strange = ("blobs/sha256/zz", "holders/md5/00/a", "repositories/a/x", "repositories/a/manifests/sha256/z")
    for key in strange:
        bucket.write(key, b"")
    store.close()
    again = opened("another")
    assert read(again, "a", D) == DATA
    assert list(again.blobs.contents()) == [D]
    assert all(bucket.head(key) is not None for key in strange)
