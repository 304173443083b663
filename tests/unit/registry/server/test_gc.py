"""What a collection of garbage removes, what it never removes, and how it is asked and undone."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from registry.errors import RegistryError
from registry.server.housekeeping.gc import Collector
from registry.server.housekeeping.gc_questions import explain, undelete
from registry.server.store.base import StoredManifest
from registry.server.store.filesystem import FilesystemStore

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
GRACE = 100.0
WEEK = 7 * 86400.0


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    made = FilesystemStore(str(tmp_path / "root"), clock)
    yield made
    made.close()


def push(store, repository, data):
    upload = store.uploads.create(repository)
    upload.write([data])
    upload.commit(Digest.of(data))
    return Digest.of(data)


def row(data, media_type="application/octet-stream"):
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}


def put(store, repository, document, tags=(), subject=None):
    raw = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, **document}).encode()
    descriptor = Descriptor(media_type=MANIFEST, digest=Digest.of(raw), size=len(raw))
    store.manifests.put(repository, StoredManifest(descriptor=descriptor, raw=raw, subject=subject), tags)
    return raw


def image(store, repository="a", name="x", tags=(), subject=None):
    config, layer = f"config {name}".encode(), f"layer {name}".encode()
    push(store, repository, config)
    push(store, repository, layer)
    return put(store, repository, {"config": row(config), "layers": [row(layer)]}, tags, subject)


def index(store, children, repository="a", tags=()):
    return put(store, repository, {"mediaType": INDEX, "manifests": [row(raw) for raw in children]}, tags)


def collect(store, clock, after=GRACE + 1, **options):
    clock.now += after
    return Collector(store, grace=GRACE, undelete=WEEK).collect(**options)


def has(store, raw, repository="a"):
    return os.path.exists(store.layout.member(repository, "manifests", Digest.of(raw)))


def has_blobs(store, name, repository="a"):
    return [
        os.path.exists(store.layout.member(repository, "blobs", Digest.of(f"{kind} {name}".encode())))
        and os.path.exists(store.layout.blob(Digest.of(f"{kind} {name}".encode())))
        for kind in ("config", "layer")
    ] == [True, True]


def test_only_garbage_goes(store, clock):
    """An untagged image goes with its blobs; a tagged one stays with its own, and bytes leave the disk."""
    kept, dead = image(store, name="kept", tags=["1"]), image(store, name="dead")
    report = collect(store, clock)
    assert has(store, kept)
    assert has_blobs(store, "kept")
    assert not has(store, dead)
    assert not os.path.exists(store.layout.blob(Digest.of(b"layer dead")))
    assert {item.kind for item in report.deletions} == {"manifest", "blob", "content"}
    assert report.freed == len(dead) + len(b"layer dead") + len(b"config dead")
    assert collect(store, clock).deletions == []


def test_nothing_goes_within_the_grace_period(store, clock):
    """What was pushed lately may be part of a push that goes on."""
    image(store, name="young")
    push(store, "a", b"a layer whose manifest comes later")
    assert collect(store, clock, after=GRACE - 1).deletions == []
    assert collect(store, clock, after=2).deletions


def test_what_an_index_lists_stays(store, clock):
    """Also in an index of an index, with all blobs (gate 10)."""
    children = [image(store, name=f"child {n}") for n in range(3)]
    inner = index(store, children[:2])
    outer = index(store, [inner, children[2]], tags=["all"])
    assert collect(store, clock).deletions == []
    assert all(has(store, raw) for raw in [*children, inner, outer])
    assert has_blobs(store, "child 0")


def test_what_refers_to_a_needed_manifest_stays(store, clock):
    """Signatures, and signatures of signatures, of whatever an index lists (gate 10)."""
    child = image(store, name="child")
    index(store, [child], tags=["all"])
    signature = image(store, name="signature", subject=Digest.of(child))
    counter = image(store, name="counter", subject=Digest.of(signature))
    orphan = image(store, name="orphan", subject=Digest.of(b"nothing"))
    collect(store, clock)
    assert has(store, signature)
    assert has(store, counter)
    assert has_blobs(store, "counter")
    assert not has(store, orphan)


def test_a_dead_image_goes_with_what_hangs_on_it(store, clock):
    """An index goes with its entries and their signatures once nothing needs it, in one collection."""
    child = image(store, name="child")
    top = index(store, [child])
    signature = image(store, name="signature", subject=Digest.of(child))
    collect(store, clock)
    assert not any(has(store, raw) for raw in (child, top, signature))
    assert list(store.tags.repositories()) == []


def test_what_refers_to_dead_images_goes_with_them_whatever_its_digest(store, clock):
    """In one collection, however the digests of images and signatures are sorted."""
    images = [image(store, name=f"image {number}") for number in range(12)]
    signatures = [
        image(store, name=f"signature {number}", subject=Digest.of(raw)) for number, raw in enumerate(images)
    ]
    first = [Digest.of(a).hex < Digest.of(b).hex for a, b in zip(images, signatures, strict=True)]
    assert {True, False} == set(first)
    collect(store, clock)
    assert not any(has(store, raw) for raw in (*images, *signatures))


def test_uses_start_the_grace_period_anew(store, clock):
    """A blob that a client was told of, a mount, and a pulled manifest are as good as pushed (gate 10)."""
    raw = image(store, name="pulled")
    for name in (b"asked", b"mounted", b"idle"):
        push(store, "a", name)
    clock.now += GRACE - 1
    assert store.blobs.stat("a", Digest.of(b"asked"))
    assert store.blobs.mount("b", Digest.of(b"mounted"), "a")
    assert store.manifests.touch("a", Digest.of(raw))
    collect(store, clock, after=2)
    assert store.blobs.stat("a", Digest.of(b"asked"))
    assert store.blobs.stat("b", Digest.of(b"mounted"))
    assert has(store, raw)
    assert has_blobs(store, "pulled")
    assert store.blobs.stat("a", Digest.of(b"idle")) is None


def test_shared_content_stays_for_the_others(store, clock):
    """A blob leaves one repository and stays in another one."""
    image(store, "a", "x")
    image(store, "b", "x", tags=["1"])
    collect(store, clock)
    assert has_blobs(store, "x", "b")
    assert not has_blobs(store, "x", "a")


def test_content_that_the_index_does_not_know_stays_when_a_repository_has_it(store, clock):
    """Before bytes go, the files are asked, because the index is only a copy of what they say."""
    digest = push(store, "a", b"bytes")
    store.index.delete_blob("a", digest)
    collect(store, clock)
    assert os.path.exists(store.layout.blob(digest))


def test_bytes_that_nobody_has_are_found(store, clock):
    """Content without a repository, as a crash or a deletion leaves it, goes as well."""
    digest = push(store, "a", b"bytes")
    store.blobs.delete("a", digest)
    report = collect(store, clock)
    assert [(item.kind, item.digest) for item in report.deletions] == [("content", digest)]


def test_a_dry_run_says_what_would_go(store, clock):
    """The same things, for the same reasons, and nothing is removed."""
    dead = image(store, name="dead")
    image(store, name="kept", tags=["1"])
    promised = collect(store, clock, dry_run=True)
    assert has(store, dead)
    assert has_blobs(store, "dead")
    done = collect(store, clock, after=0)
    assert {(i.kind, i.digest) for i in promised.deletions} == {(i.kind, i.digest) for i in done.deletions}
    assert {i.reason for i in promised.deletions} == {i.reason for i in done.deletions}


def test_a_use_between_decision_and_deletion_spares(store, clock):
    """A tag that comes then keeps its image whole; the log says that nothing happened."""
    child = image(store, name="child")
    top = index(store, [child])
    record = store.deletions.record

    def race(*arguments):
        made = record(*arguments)
        index(store, [child], tags=["now"])
        return made

    store.deletions.record = race
    collect(store, clock)
    assert has(store, top)
    assert has(store, child)
    assert has_blobs(store, "child")
    assert {r.state for r in store.deletions.of_digest(Digest.of(top))} == {"spared"}


def test_what_is_being_collected_is_not_there(store, clock):
    """From the decision on, nobody is told that it is here, so nobody builds on it."""
    digest = push(store, "a", b"going")
    seen = []
    delete = store.blobs.delete

    def watch(*arguments, **options):
        seen.append((store.blobs.stat("a", digest), store.blobs.touch("a", digest)))
        seen.append(store.blobs.mount("b", digest, "a"))
        return delete(*arguments, **options)

    store.blobs.delete = watch
    collect(store, clock)
    assert seen == [(None, False), False]
    store.blobs.delete = delete
    push(store, "a", b"going")
    assert store.blobs.stat("a", digest) == 5


def test_a_push_between_decision_and_deletion_wins(store, clock):
    """The blob that is pushed again at that moment stays."""
    digest = push(store, "a", b"going")
    record = store.deletions.record

    def race(*arguments):
        made = record(*arguments)
        push(store, "a", b"going")
        return made

    store.deletions.record = race
    collect(store, clock)
    assert store.blobs.stat("a", digest) == 5


def test_each_answer_has_its_chain(store, clock):
    """Kept things say through what they are needed, collected ones why they went."""
    child = image(store, name="child")
    index(store, [child], tags=["all"])
    dead = image(store, name="dead")
    lines = explain(store, Digest.of(b"layer child"), GRACE)
    assert len(lines) == 1
    assert "tag all" in lines[0]
    assert str(Digest.of(child)) in lines[0]
    clock.now += GRACE + 1
    assert "goes with the next collection" in explain(store, Digest.of(dead), GRACE)[0]
    collect(store, clock, after=0)
    (line,) = explain(store, Digest.of(dead), GRACE)
    assert "no tag" in line
    assert "collected (kept)" in line
    assert explain(store, Digest.of(b"never seen"), GRACE) == []


def test_what_went_can_come_back(store, clock):
    """An index comes back with its entries, their blobs and what referred to them; once."""
    child = image(store, name="child")
    top = index(store, [child])
    signature = image(store, name="signature", subject=Digest.of(child))
    collect(store, clock)
    assert not has(store, top)
    undelete(store, Digest.of(top))
    assert all(has(store, raw) for raw in (top, child, signature))
    assert has_blobs(store, "child")
    assert has_blobs(store, "signature")
    assert len(store.manifests.referrers("a", Digest.of(child))) == 1
    with pytest.raises(RegistryError, match="not in the trash"):
        undelete(store, Digest.of(top))
    assert collect(store, clock, after=GRACE - 1).deletions == []


def test_the_trash_is_emptied_in_the_end(store, clock):
    """After the time for undeleting, the bytes are gone and the reason is still known."""
    dead = image(store, name="dead")
    collect(store, clock)
    trash = store.layout.trash
    assert sum(not name.startswith("deletions") for name in os.listdir(trash)) == 5
    assert collect(store, clock, after=WEEK + 1).purged == 5
    assert all(name.startswith("deletions") for name in os.listdir(trash))
    assert "purged" in explain(store, Digest.of(dead), GRACE)[0]


def test_a_crash_delays_collections(tmp_path, clock):
    """Uses that were not written down before a kill are lost, so everything counts as used at the start."""
    root = str(tmp_path / "root")
    store = FilesystemStore(root, clock)
    digest = push(store, "a", b"asked for")
    store.settle()
    clock.now += GRACE + 1
    assert store.blobs.stat("a", digest)
    store.index._connection.close()
    os.close(store._lock_descriptor)
    again = FilesystemStore(root, clock)
    assert collect(again, clock, after=1).waiting > 0
    assert again.blobs.stat("a", digest)
    again.close()


def test_jumps_of_the_wall_clock_change_nothing(tmp_path, clock):
    """A day forward or back neither ends nor prolongs a grace period (gate 22)."""
    wall = Clock()
    store = FilesystemStore(str(tmp_path / "root"), clock, wall)
    digest = push(store, "a", b"x")
    wall.now += 86400
    assert collect(store, clock, after=1).deletions == []
    wall.now -= 2 * 86400
    assert {item.digest for item in collect(store, clock).deletions} == {digest}
    store.close()


def test_a_collection_stops_when_told(store, clock):
    """A server that ends does not wait for the rest."""
    image(store, name="dead")
    clock.now += GRACE + 1
    collector = Collector(store, grace=GRACE, undelete=WEEK)
    collector.stopped.set()
    assert collector.collect().deletions == []


def test_collections_race_pushes(tmp_path):
    """Collections in a tight loop: no push fails, nothing acknowledged is missing (gate 9, short)."""
    store = FilesystemStore(str(tmp_path / "root"))
    stop = threading.Event()
    collected = []

    def collecting():
        collector = Collector(store, grace=0.5, undelete=0.0)
        while not stop.is_set():
            collected.extend(collector.collect().deletions)

    def pushing(number):
        pushed = []
        end = time.monotonic() + 4
        while time.monotonic() < end:
            turn = len(pushed)
            shared = f"layer {turn % 3}".encode()
            if store.blobs.stat("a", Digest.of(shared)) is None:
                push(store, "a", shared)
            config = push(store, "a", f"config {number} {turn}".encode())
            assert store.blobs.stat("a", Digest.of(shared)) is not None
            assert store.blobs.stat("a", config) is not None
            document = {
                "config": row(f"config {number} {turn}".encode()),
                "layers": [row(shared)],
                "n": [number, turn],
            }
            raw = put(store, "a", document, [f"t{number}"])
            pushed.append((raw, document))
            if turn % 2:
                store.blobs.mount(f"m{number}", Digest.of(shared), "a")
        return pushed[-1]

    collectors = threading.Thread(target=collecting)
    collectors.start()
    with ThreadPoolExecutor(4) as pool:
        last = list(pool.map(pushing, range(4)))
    stop.set()
    collectors.join()
    for number, (raw, document) in enumerate(last):
        assert store.tags.get("a", f"t{number}") == Digest.of(raw)
        for item in (document["config"], *document["layers"]):
            with store.blobs.open("a", Digest.parse(item["digest"])) as file:
                assert Digest.of(file.read()) == Digest.parse(item["digest"])
    assert any(item.kind == "manifest" for item in collected)
    time.sleep(0.6)
    Collector(store, grace=0.5, undelete=0.0).collect()
    left = store.index.rows("SELECT count(*) FROM manifests WHERE repository = 'a'")
    assert left == [(4,)]
    store.close()
