"""
A registry's directory under kills, full disks and races.

The long forms, behind the marker ``slow``, have 200 kills and 10,000 rounds.
"""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from registry.errors import StorageFull
from registry.server.config import RegistryConfig
from registry.server.embedded import Registry
from registry.server.fsck import check
from registry.server.scrub import Scrubber
from registry.server.store.base import StoredManifest
from registry.server.store.filesystem import FilesystemStore

SOURCES = str(Path(__file__).resolve().parents[2])
MANIFEST = "application/vnd.oci.image.manifest.v1+json"

WORKLOAD = """
import json, os, random, sys, threading
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from registry.server.gc import Collector
from registry.server.store.base import StoredManifest
from registry.server.store.filesystem import FilesystemStore

store = FilesystemStore(sys.argv[1])
seed = int(sys.argv[2])
output = threading.Lock()

def say(*words):
    with output:
        os.write(1, (" ".join(words) + "\\n").encode())

def work(number):
    chance = random.Random(seed * 100 + number)
    repository = f"r{number}"
    turn = 0
    while True:
        turn += 1
        layer = f"{seed} {number} {turn}".encode() * chance.randrange(1, 3000)
        upload = store.uploads.create(repository)
        upload.write([layer])
        upload.commit(Digest.of(layer))
        rows = [{"digest": str(Digest.of(layer)), "size": len(layer), "mediaType": "x"}]
        raw = json.dumps({"schemaVersion": 2, "config": rows[0], "layers": rows}).encode()
        descriptor = Descriptor(media_type="application/x", digest=Digest.of(raw), size=len(raw))
        tag = f"t{chance.randrange(5)}"
        say("try", repository, tag, str(descriptor.digest))
        store.manifests.put(repository, StoredManifest(descriptor=descriptor, raw=raw), [tag])
        say("put", repository, tag, str(descriptor.digest))
        if chance.random() < 0.2:
            tag = f"t{chance.randrange(5)}"
            say("try", repository, tag, "-")
            store.tags.delete(repository, tag)
            say("put", repository, tag, "-")

say("started")
for number in range(3):
    threading.Thread(target=work, args=(number,), daemon=True).start()
collector = Collector(store, grace=0.3, undelete=0.5)
while True:
    collector.collect()
    store.settle_quiet()
"""


def check_after_kill(root, acknowledged, attempted):
    start = time.process_time()
    store = FilesystemStore(root)
    took = time.process_time() - start
    try:
        assert [item for item in check(store, repair=False) if "is empty" not in item.problem] == []
        assert Scrubber(store).scrub().damaged == {}
        for (repository, tag), wanted in acknowledged.items():
            held = str(store.tags.get(repository, tag) or "-")
            assert held in {wanted, attempted.get((repository, tag), wanted)}, (repository, tag)
        for repository in store.tags.repositories():
            for tag in store.tags.names(repository):
                manifest = store.manifests.get(repository, store.tags.get(repository, tag))
                layer = json.loads(manifest.raw)["layers"][0]
                assert store.blobs.stat(repository, Digest.parse(layer["digest"])) == layer["size"]
    finally:
        store.close()
    return took


def kill_matrix(root, kills):
    acknowledged: dict[tuple[str, str], str] = {}
    attempted: dict[tuple[str, str], str] = {}
    chance = random.Random(kills)
    for seed in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", WORKLOAD, root, str(seed)],
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": SOURCES, "PATH": os.environ["PATH"]},
        )
        lines = [process.stdout.readline()]
        assert lines == [b"started\n"]
        time.sleep(chance.uniform(0.02, 0.5))
        process.send_signal(signal.SIGKILL)
        lines = process.stdout.read().decode().splitlines()
        process.wait()
        process.stdout.close()
        for line in lines:
            word, *key, digest = line.split()
            (attempted if word == "try" else acknowledged)[tuple(key)] = digest
        assert check_after_kill(root, acknowledged, attempted) < 2
        attempted.clear()
        store = FilesystemStore(root)
        for key in acknowledged:
            acknowledged[key] = str(store.tags.get(*key) or "-")
        store.close()
    assert len(acknowledged) > 5


def test_kills_lose_nothing_that_was_acknowledged(tmp_path):
    """Pushes, deletions and collections, killed at random points: no tag is lost or wrong (gate 1)."""
    kill_matrix(str(tmp_path / "root"), 6)


@pytest.mark.slow
def test_two_hundred_kills(tmp_path):
    """The long form of the test above."""
    kill_matrix(str(tmp_path / "root"), 200)


def push(store, repository, data):
    upload = store.uploads.create(repository)
    upload.write([data])
    upload.commit(Digest.of(data))
    return Digest.of(data)


def manifest(raw):
    descriptor = Descriptor(media_type=MANIFEST, digest=Digest.of(raw), size=len(raw))
    return StoredManifest(descriptor=descriptor, raw=raw)


def test_many_writers_of_one_blob(tmp_path):
    """Sixty-four pushes at once leave one file, with a link for each repository (gate 5)."""
    store = FilesystemStore(str(tmp_path / "root"))
    data = os.urandom(100_000)
    with ThreadPoolExecutor(64) as pool:
        digests = set(pool.map(lambda number: push(store, f"r{number % 8}", data), range(64)))
    (digest,) = digests
    assert os.stat(store.layout.blob(digest)).st_nlink == 9
    assert sorted(store.index.holders(digest)) == [f"r{number}" for number in range(8)]
    assert os.listdir(store.layout.temporary) == []
    assert [files for _path, _names, files in os.walk(store.layout.uploads) if files] == []
    store.close()


def test_many_writers_of_one_tag(tmp_path):
    """Whoever reads gets a whole manifest that somebody pushed, at every moment (gate 6, short)."""
    store = FilesystemStore(str(tmp_path / "root"))
    sent = {Digest.of(f"{n}".encode()): f"{n}".encode() for n in range(32)}
    stop = threading.Event()
    store.manifests.put("a", manifest(b"0"), ["t"])

    def read(_number):
        reads = 0
        while not stop.is_set():
            found = store.manifests.get("a", store.tags.get("a", "t"))
            assert sent[found.digest] == found.raw
            reads += 1
        return reads

    def write(number):
        for _ in range(5):
            store.manifests.put("a", manifest(f"{number}".encode()), ["t"])

    with ThreadPoolExecutor(40) as pool:
        readers = [pool.submit(read, number) for number in range(8)]
        list(pool.map(write, range(32)))
        stop.set()
        assert all(reader.result() for reader in readers)
    assert store.index.rows("SELECT digest FROM tags") == [(str(store.tags.get("a", "t")),)]
    store.close()


def race_deletions(root, rounds):
    store = FilesystemStore(root)
    made = manifest(b"{}")
    with ThreadPoolExecutor(3) as pool:
        for _ in range(rounds):
            put = pool.submit(store.manifests.put, "a", made, ["t"])
            gone = pool.submit(store.manifests.delete, "a", made.digest)
            listed = pool.submit(store.tags.names, "a")
            put.result()
            gone.result()
            listed.result()
            names = store.tags.names("a") or []
            here = store.manifests.get("a", made.digest) is not None
            assert list(names) == (["t"] if here else [])
            assert (store.tags.get("a", "t") is not None) == here
    assert [item for item in check(store, repair=False) if "is empty" not in item.problem] == []
    store.close()


def test_deleting_and_tagging_again(tmp_path):
    """No tag dangles, and the index agrees with the files, whoever comes first (gate 7, short)."""
    race_deletions(str(tmp_path / "root"), 200)


@pytest.mark.slow
def test_ten_thousand_rounds_of_deleting_and_tagging(tmp_path):
    """The long form of the test above."""
    race_deletions(str(tmp_path / "root"), 10_000)


FULL = """
import os, resource, sys
from oci_image.digest import Digest
from registry.errors import StorageFull
from registry.server.store.filesystem import FilesystemStore

store = FilesystemStore(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))
for turn in range(3):
    upload = store.uploads.create("a")
    try:
        for _ in range(20):
            upload.write([b"x" * (1 << 19)])
    except StorageFull as problem:
        assert sys.argv[1] not in str(problem), problem
    else:
        raise SystemExit("no error")
    assert store.uploads.count() == 0
    for number in range(200):
        data = b"small %d %d" % (turn, number)
        upload = store.uploads.create("a")
        upload.write([data])
        upload.commit(Digest.of(data))
        assert store.blobs.stat("a", Digest.of(data)) == len(data)
store.close()
"""


def test_a_full_disk_costs_one_upload(tmp_path):
    """The partial upload is removed at once, the message names no path, small pushes go on (gate 11)."""
    root = str(tmp_path / "root")
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL), root],
        env={"PYTHONPATH": SOURCES, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    store = FilesystemStore(root)
    assert check(store, repair=False) == []
    assert [files for _path, _names, files in os.walk(store.layout.uploads) if files] == []
    store.close()


def test_a_full_disk_at_every_file(tmp_path):
    """Whatever file the space ends at, the push fails with the one error, and later pushes work (gate 11)."""
    store = FilesystemStore(str(tmp_path / "root"))
    push(store, "a", b"first")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    failures = 0
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for size in (0, 1, 16, 100):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
            try:
                push(store, "b", b"x" * 50)
                store.manifests.put("b", manifest(b"{}" + b" " * 50), ["t"])
            except StorageFull:
                failures += 1
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
    finally:
        signal.signal(signal.SIGXFSZ, previous)
    assert failures == 4
    assert store.uploads.count() == 0
    assert os.listdir(store.layout.temporary) == []
    push(store, "b", b"x" * 50)
    store.manifests.put("b", manifest(b"{}"), ["t"])
    store.close()
    again = FilesystemStore(str(tmp_path / "root"))
    assert list(again.tags.names("b")) == ["t"]
    assert again.blobs.stat("a", Digest.of(b"first")) == 5
    assert check(again, repair=False) == []
    again.close()


def send(method, url, body=None, headers=None):
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as problem:
        with problem:
            return problem.code, problem.headers


BOMBS = {
    "brackets": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "open brackets": b"[" * 4_000_000,
    "duplicate keys": b'{"schemaVersion": 2, "schemaVersion": 2}',
    "half a surrogate": b'{"schemaVersion": 2, "a": "\\ud800"}',
    "not a number": b'{"schemaVersion": 2, "a": NaN}',
    "a huge number": b'{"schemaVersion": 2, "a": ' + b"9" * 100_000 + b"}",
    "too large": b'{"schemaVersion": 2, "annotations": {"a": "' + b"x" * 10_000_000 + b'"}}',
    "not UTF-8": b'{"schemaVersion": 2, "a": "\xff"}',
    "many layers": b'{"schemaVersion": 2, "config": {}, "layers": [' + b"{}," * 100_000 + b"{}]}",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_manifest_bombs_are_refused(bomb):
    """With 400 or 413, soon, and the server goes on (gate 17)."""
    with Registry() as url:
        headers = {"Content-Type": MANIFEST}
        start = time.monotonic()
        try:
            status, _ = send("PUT", f"{url}/v2/a/manifests/t", bomb, headers)
        except urllib.error.URLError:
            status = 413  # the connection was closed while the body was sent
        assert status in (400, 413)
        assert time.monotonic() - start < 3
        assert send("GET", f"{url}/v2/")[0] == 200
        assert send("GET", f"{url}/v2/a/manifests/t")[0] == 404


def test_hoarded_uploads_are_bounded(tmp_path):
    """Beyond the limit come 429 and the time to wait; what nobody uses is gone soon (gate 19)."""
    root = str(tmp_path / "root")
    config = RegistryConfig(port=0, root=root, max_uploads=50, upload_idle_seconds=0.5)
    with Registry(config) as url:
        answers = [send("POST", f"{url}/v2/a/blobs/uploads/", b"") for _ in range(60)]
        assert {status for status, _ in answers} == {202, 429}
        assert all(headers["Retry-After"] for status, headers in answers if status == 429)
        end = time.monotonic() + 8
        while any(files for _path, _names, files in os.walk(f"{root}/uploads")) and time.monotonic() < end:
            time.sleep(0.1)
        assert [files for _path, _names, files in os.walk(f"{root}/uploads") if files] == []
        assert send("POST", f"{url}/v2/a/blobs/uploads/", b"")[0] == 202
