"""A disk without room: one push is lost, pulls and small pushes are not, and monitoring is told (gate 11)."""

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap

import pytest

from oci_image.digest import Digest
from registry.errors import StorageFull
from registry.server.config import RegistryConfig
from registry.server.embedded import Registry
from registry.server.housekeeping.fsck import check
from registry.server.store.filesystem import FilesystemStore
from tests.contract.faults.serving import MANIFEST, OCTETS, SOURCES, image, push, send
from tests.contract.faults.stores import assert_sound, manifest
from tests.contract.faults.stores import push as push_to_store

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


def test_a_file_that_may_not_grow_costs_one_upload(tmp_path):
    """The partial upload is removed at once, the message names no path, small pushes go on."""
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


def test_a_limit_at_every_file(tmp_path):
    """Whatever file the space ends at, the push fails with the one error, and later pushes work."""
    store = FilesystemStore(str(tmp_path / "root"))
    push_to_store(store, "a", b"first")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    failures = 0
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for size in (0, 1, 16, 100):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
            try:
                push_to_store(store, "b", b"x" * 50)
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
    push_to_store(store, "b", b"x" * 50)
    store.manifests.put("b", manifest(b"{}"), ["t"])
    store.close()
    again = FilesystemStore(str(tmp_path / "root"))
    assert list(again.tags.names("b")) == ["t"]
    assert again.blobs.stat("a", Digest.of(b"first")) == 5
    assert check(again, repair=False) == []
    again.close()


def fill(place, spare):
    """Leave so many bytes free."""
    status = os.statvfs(place)
    free = status.f_bavail * status.f_frsize
    with open(f"{place}/ballast", "ab") as file:
        file.write(b"\0" * max(0, free - spare))


def code(body):
    return json.loads(body)["errors"][0]["code"]


def ready(url):
    return send("GET", f"{url}/readyz")[0]


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.long), 4])
def test_a_full_filesystem(small_disk, every, figure):
    """At each number of free blocks: 201 or 507 without a path, pulls work, readiness is red, then green."""
    root = small_disk / "root"
    config = RegistryConfig(port=0, root=str(root), reserve_bytes=1 << 20, drain_seconds=0.5)
    outcomes = {}
    kept = b"kept" * 1000
    with Registry(config) as url:
        assert push(url, "a", kept) == 201
        assert ready(url) == 200
        for blocks in range(0, 40, every):
            fill(small_disk, blocks * 4096)
            layer, settings = os.urandom(9000), os.urandom(100)
            answers = []
            for data in (layer, settings, os.urandom(3_000_000)):
                path = f"{url}/v2/b/blobs/uploads/?digest={Digest.of(data)}"
                answers.append(send("POST", path, data, {"Content-Type": OCTETS}))
            raw = image(settings, layer)
            answers.append(send("PUT", f"{url}/v2/b/manifests/t{blocks}", raw, {"Content-Type": MANIFEST}))
            for status, _, body in answers:
                outcomes[status] = outcomes.get(status, 0) + 1
                assert status in (201, 400, 500, 507)
                assert str(small_disk).encode() not in body
                if status in (500, 507):
                    assert code(body) == "UNKNOWN"
            assert answers[2][0] in (500, 507)
            assert send("GET", f"{url}/v2/a/blobs/{Digest.of(kept)}")[2] == kept
            assert send("GET", f"{url}/livez")[0] == 200
            os.unlink(small_disk / "ballast")
            assert push(url, "b", f"after {blocks}".encode()) == 201
            if answers[3][0] == 201:
                assert send("GET", f"{url}/v2/b/manifests/t{blocks}")[2] == raw
        fill(small_disk, 200_000)
        wait_for_status(url, 503)
        os.unlink(small_disk / "ballast")
        wait_for_status(url, 200)
    assert [files for _path, _names, files in os.walk(root / "uploads") if files] == []
    store = FilesystemStore(str(root))
    assert_sound(store)
    store.close()
    figure(
        11,
        f"4 MiB, {len(range(0, 40, every))} amounts of free space: answers {dict(sorted(outcomes.items()))}",
    )


def wait_for_status(url, wanted):
    """Probes of the storage are a second apart."""
    for _ in range(30):
        if ready(url) == wanted:
            return
        signal.sigtimedwait([], 0.1)
    raise AssertionError(f"readiness does not become {wanted}")
