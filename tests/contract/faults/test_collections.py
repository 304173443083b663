"""Collections of garbage in a tight loop while clients push (gates 9 and 10)."""

import json
import threading
import time
from pathlib import Path

import pytest

from oci_image.digest import Digest
from registry.server.config import RegistryConfig
from registry.server.embedded import Registry
from registry.server.housekeeping.gc import Collector
from registry.server.store.filesystem import FilesystemStore
from tests.contract.faults.serving import MANIFEST, Session, image, percentile, row
from tests.contract.faults.stores import assert_sound

GRACE = 1.0


class Pusher(threading.Thread):
    """A client: shared layers that it asks for first, mounts, images, what refers to them, deletions."""

    def __init__(self, url, number, end):
        super().__init__()
        self.session = Session(url)
        self.number = number
        self.end = end
        self.repository = f"r{number % 3}"
        self.times = []
        self.pushed = {}
        self.problems = []

    def run(self):
        try:
            turn = 0
            while time.monotonic() < self.end:
                turn += 1
                started = time.perf_counter()
                self.push_image(turn)
                self.times.append(time.perf_counter() - started)
        except Exception as problem:  # noqa: BLE001 - shown by the test
            self.problems.append(problem)
        finally:
            self.session.close()

    def need(self, data):
        """Ask first, as docker does, and push only what is not there."""
        digest = Digest.of(data)
        if self.session("HEAD", f"/v2/{self.repository}/blobs/{digest}")[0] == 404:
            assert self.session.push(self.repository, data) == 201

    def push_image(self, turn):
        shared = f"shared {turn // 20}".encode() * 200
        own = f"own {self.number} {turn}".encode() * 100
        other = f"r{(self.number + 1) % 3}"
        mount = f"/v2/{self.repository}/blobs/uploads/?mount={Digest.of(shared)}&from={other}"
        if self.session("POST", mount)[0] != 201:
            self.need(shared)
        self.need(own)
        raw = image(own, shared, n=[self.number, turn])
        tag = f"t{self.number}-{turn % 5}"
        status = self.session.put(self.repository, tag, raw)
        assert status == 201, (status, self.number, turn)
        self.pushed[tag] = (raw, own, shared)
        if turn % 4 == 0:
            signed = image(own, subject=row(raw, MANIFEST), n=[self.number, turn])
            status = self.session.put(self.repository, Digest.of(signed), signed)
            assert status == 201, (status, "referrer")
            self.pushed[tag] = (raw, own, shared, signed)
        if turn % 7 == 0:
            gone = f"t{self.number}-{(turn + 2) % 5}"
            assert self.session("DELETE", f"/v2/{self.repository}/manifests/{gone}")[0] in (202, 404)
            self.pushed.pop(gone, None)


def push_for(url, seconds, clients):
    end = time.monotonic() + seconds
    pushers = [Pusher(url, number, end) for number in range(clients)]
    for pusher in pushers:
        pusher.start()
    for pusher in pushers:
        pusher.join()
    assert [problem for pusher in pushers for problem in pusher.problems] == []
    return pushers


def read_back(url, pushers):
    """Every tag leads to its image, whole; what refers to it is listed."""
    session = Session(url)
    for pusher in pushers:
        for tag, (raw, own, shared, *signed) in pusher.pushed.items():
            place = f"/v2/{pusher.repository}"
            assert session("GET", f"{place}/manifests/{tag}")[2] == raw
            for data in (own, shared):
                assert session("GET", f"{place}/blobs/{Digest.of(data)}")[2] == data
            listed = json.loads(session("GET", f"{place}/referrers/{Digest.of(raw)}")[2])["manifests"]
            assert {str(Digest.of(item)) for item in signed} <= {item["digest"] for item in listed}
    session.close()


@pytest.mark.parametrize(
    ("seconds", "worst"),
    [(2, 4.0), pytest.param(150, 1.5, marks=[pytest.mark.long, pytest.mark.timeout(1800)])],
)
def test_collections_race_pushes_over_http(tmp_path, seconds, worst, figure):
    """No push fails, nothing is missing, all true garbage goes, pushes are hardly slower (gate 9)."""
    times = {}
    for kind, interval in (("without", 0.0), ("with", 0.02)):
        root = str(tmp_path / kind)
        settings = {"gc_interval": interval, "gc_grace": GRACE, "gc_undelete": 0.0, "drain_seconds": 0.5}
        # A mount that is refused leaves an upload, and all clients have one address.
        settings |= {"max_uploads_per_caller": 1_000_000, "max_uploads": 1_000_000}
        with Registry(RegistryConfig(port=0, root=root, **settings)) as url:
            pushers = push_for(url, seconds, 4)
            read_back(url, pushers)
        times[kind] = [took for pusher in pushers for took in pusher.times]
    store = FilesystemStore(root)
    kept = {Digest.of(raw) for pusher in pushers for raw, *_ in pusher.pushed.values()}
    time.sleep(GRACE + 0.1)
    Collector(store, grace=GRACE, undelete=0.0).collect()
    left = {Digest.parse(text) for (text,) in store.index.rows("SELECT digest FROM manifests")}
    assert kept <= left
    tagged = store.index.rows("SELECT count(DISTINCT repository || digest) FROM tags")[0][0]
    signed = {Digest.of(item[3]) for pusher in pushers for item in pusher.pushed.values() if len(item) > 3}
    assert len(left) <= tagged + len(signed) + sum(len(pusher.pushed) for pusher in pushers)
    needed = {item["digest"] for raw in raws(store, left) for item in raw["layers"]}
    needed |= {raw["config"]["digest"] for raw in raws(store, left)}
    contents = {str(digest) for digest in store.blobs.contents()}
    assert contents == needed, "garbage stayed, or something needed went"
    assert_sound(store)
    store.close()
    without, with_collections = (percentile(times[kind], 0.99) for kind in ("without", "with"))
    assert with_collections <= worst * without + 0.05
    figure(
        9,
        f"{seconds} s: {len(times['with'])} image pushes, 0 failed, 0 missing; p99 {1000 * without:.0f} ms "
        f"without and {1000 * with_collections:.0f} ms with collections",
    )


def raws(store, digests):
    for digest in digests:
        for repository in store.tags.repositories():
            found = store.manifests.get(repository, digest)
            if found is not None:
                yield json.loads(found.raw)


def test_a_killed_collection_is_taken_up(tmp_path):
    """What a collection had decided when it was killed is finished by the next one (gate 10)."""
    root = str(tmp_path / "root")
    store = FilesystemStore(root)
    for number in range(30):
        upload = store.uploads.create("a")
        upload.write([f"garbage {number}".encode()])
        upload.commit(Digest.of(f"garbage {number}".encode()))
    time.sleep(0.02)
    removed = []
    real = store.blobs.delete

    def killed_after_ten(*args, **kwargs):
        if len(removed) == 10:
            raise KeyboardInterrupt
        removed.append(real(*args, **kwargs))
        return removed[-1]

    store.blobs.delete = killed_after_ten
    with pytest.raises(KeyboardInterrupt):
        Collector(store, grace=0.01, undelete=0.0).collect()
    store.blobs.delete = real
    store.close()
    again = FilesystemStore(root)
    report = Collector(again, grace=0.01, undelete=0.0).collect()
    assert len([item for item in report.deletions if item.kind == "content"]) == 30
    Collector(again, grace=0.01, undelete=0.0).collect()
    assert list(again.blobs.contents()) == []
    assert not [path for path in Path(root, "trash").rglob("*") if path.is_file() and "db" not in path.name]
    again.close()
