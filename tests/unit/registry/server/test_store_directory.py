"""The directory of a registry: image layouts for other tools, the index, and older versions of both."""

import json
import os
import shutil
import sqlite3
import subprocess

import pytest

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from registry.server.store.base import StoredManifest
from registry.server.store.database import VERSION
from registry.server.store.filesystem import FilesystemStore
from registry.server.store.links import share
from registry.server.store.steady import SteadyClock

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


@pytest.fixture
def root(tmp_path):
    return str(tmp_path / "root")


def push(store, repository, data):
    upload = store.uploads.create(repository)
    upload.write([data])
    upload.commit(Digest.of(data))
    return Digest.of(data)


def row(media_type, data):
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}


def put(store, repository, document, tags=(), subject=None):
    raw = json.dumps(document).encode()
    descriptor = Descriptor(media_type=document["mediaType"], digest=Digest.of(raw), size=len(raw))
    store.manifests.put(repository, StoredManifest(descriptor=descriptor, raw=raw, subject=subject), tags)
    return raw


def image(store, repository, layer=b"\0" * 1024, tags=("v1",)):
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(layer))]},
        }
    ).encode()
    push(store, repository, layer)
    push(store, repository, config)
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": row(CONFIG, config)}
    return put(store, repository, {**document, "layers": [row(LAYER, layer)]}, tags)


def test_each_repository_is_an_image_layout(root):
    """Tags name the entries of index.json, and every blob and manifest is where the specification says."""
    store = FilesystemStore(root)
    raw = image(store, "team/app", tags=("v1", "v2"))
    untagged = image(store, "team/app", b"\1" * 512, tags=())
    listed = put(
        store,
        "team/app",
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": [row(MANIFEST, raw)]},
        ["all"],
    )
    assert store.settle() == 1
    assert store.settle() == 0
    directory = f"{root}/repositories/team~app"
    with open(f"{directory}/oci-layout") as file:
        assert json.load(file) == {"imageLayoutVersion": "1.0.0"}
    with open(f"{directory}/index.json") as file:
        entries = json.load(file)["manifests"]
    names = {
        (e.get("annotations", {}).get("org.opencontainers.image.ref.name"), e["digest"]) for e in entries
    }
    assert names == {
        ("v1", str(Digest.of(raw))),
        ("v2", str(Digest.of(raw))),
        ("all", str(Digest.of(listed))),
        (None, str(Digest.of(untagged))),
    }
    for name in os.listdir(f"{directory}/blobs/sha256"):
        with open(f"{directory}/blobs/sha256/{name}", "rb") as file:
            assert Digest.of(file.read()).hex == name
    layer = f"blobs/sha256/{Digest.of(bytes(1024)).hex}"
    assert os.path.samefile(f"{directory}/{layer}", store.layout.blob(Digest.of(bytes(1024))))
    store.close()


def test_a_deleted_manifest_leaves_the_image_layout(root):
    """Its bytes go with it, and its tags; a blob that happens to have the same bytes stays."""
    store = FilesystemStore(root)
    raw = image(store, "a")
    store.settle()
    exposed = store.layout.member("a", "blobs", Digest.of(raw))
    assert os.path.exists(exposed)
    assert store.blobs.stat("a", Digest.of(raw)) is None
    assert not store.blobs.delete("a", Digest.of(raw))
    store.manifests.delete("a", Digest.of(raw))
    assert not os.path.exists(exposed)
    store.close()
    with open(f"{root}/repositories/a/index.json") as file:
        assert json.load(file)["manifests"] == []


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs skopeo")
def test_skopeo_reads_the_directory(root, tmp_path):
    """An image that was pushed here can be copied out of the directory by its tag, without a server."""
    store = FilesystemStore(root)
    image(store, "team/app")
    store.close()
    target = tmp_path / "copy"
    subprocess.run(
        ["skopeo", "copy", "-q", f"oci:{root}/repositories/team~app:v1", f"dir:{target}"],
        check=True,
        capture_output=True,
        timeout=30,
    )
    assert (target / Digest.of(bytes(1024)).hex).read_bytes() == bytes(1024)


def test_a_tree_of_the_first_version_opens(root):
    """Empty marks become links to the content; nothing is lost and nothing is copied."""
    store = FilesystemStore(root)
    raw = image(store, "a")
    digest = Digest.of(bytes(1024))
    store.close()
    for name in ("index.db", "format", "repositories/a/index.json", "repositories/a/oci-layout"):
        os.unlink(f"{root}/{name}")
    os.unlink(store.layout.member("a", "blobs", Digest.of(raw)))
    for name in os.listdir(f"{root}/repositories/a/blobs/sha256"):
        os.unlink(f"{root}/repositories/a/blobs/sha256/{name}")
        with open(f"{root}/repositories/a/blobs/sha256/{name}", "w"):
            pass
    again = FilesystemStore(root)
    assert again.blobs.stat("a", digest) == 1024
    assert os.path.samefile(again.layout.member("a", "blobs", digest), again.layout.blob(digest))
    assert list(again.tags.names("a")) == ["v1"]
    assert list(again.blobs.holders(digest)) == ["a"]
    again.close()


def seen(store):
    return {
        table: sorted(store.index.rows(statement))
        for table, statement in {
            "manifests": "SELECT repository, digest, media_type, size, subject FROM manifests",
            "tags": "SELECT repository, name, digest FROM tags",
            "links": "SELECT * FROM links",
            "blobs": "SELECT repository, digest, size FROM blobs",
        }.items()
    }


@pytest.mark.parametrize("damage", ["missing", "empty", "garbage", "old", "truncated"])
def test_the_index_is_made_again(root, damage):
    """Whatever happened to its file, it holds the same as before after the next start."""
    store = FilesystemStore(root)
    raw = image(store, "a")
    image(store, "b/c", tags=("x", "y"))
    put(store, "a", {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}, subject=Digest.of(raw))
    before = seen(store)
    store.close()
    path = f"{root}/index.db"
    if damage == "missing":
        os.unlink(path)
    elif damage == "old":
        connection = sqlite3.connect(path)
        connection.execute(f"PRAGMA user_version={VERSION + 1}")
        connection.close()
    else:
        with open(path, "r+b") as file:
            file.truncate(0 if damage == "empty" else 5000)
            file.write(b"garbage!" * 100 if damage == "garbage" else b"")
    again = FilesystemStore(root)
    assert seen(again) == before
    assert len(again.manifests.referrers("a", Digest.of(raw))) == 1
    again.close()


def crash(store):
    """Leave the directory as a killed process does."""
    store.index._connection.close()
    os.close(store._lock_descriptor)


def test_only_repositories_that_changed_are_read_again(root):
    """After a kill, what was about to change is read from the files; the rest is believed."""
    store = FilesystemStore(root)
    image(store, "changed")
    image(store, "quiet")
    store.settle()
    store.index.mark("changed")
    os.unlink(f"{root}/repositories/changed/tags/v1")
    os.unlink(f"{root}/repositories/quiet/tags/v1")
    crash(store)
    again = FilesystemStore(root)
    assert list(again.tags.names("changed")) == []
    assert list(again.tags.names("quiet")) == ["v1"]
    again.close()


def test_everything_is_read_again_after_a_crash_of_the_machine(root):
    """The index is never flushed, so another boot does not believe it."""
    store = FilesystemStore(root)
    image(store, "quiet")
    store.settle()
    store.index.set_meta("running", "an earlier boot")
    os.unlink(f"{root}/repositories/quiet/tags/v1")
    crash(store)
    again = FilesystemStore(root)
    assert list(again.tags.names("quiet")) == []
    again.close()


def test_pages_of_lists(root):
    """A page holds what comes after a name, up to its length."""
    store = FilesystemStore(root)
    for name in ("c", "a", "b", "a/x"):
        image(store, name, tags=("1", "2", "3"))
    assert list(store.tags.repositories("a", 2)) == ["a/x", "b"]
    assert list(store.tags.repositories("b")) == ["c"]
    assert list(store.tags.names("a", "1", 1)) == ["2"]
    assert list(store.tags.names("a", "3", 1)) == []
    assert store.tags.names("none", "3", 1) is None
    store.close()


def test_pages_cost_what_they_hold(root):
    """Every list is read along an index: no statement looks at whole tables or sorts."""
    store = FilesystemStore(root)
    plans = []
    rows = store.index.rows

    def explain(statement, *values):
        plans.append([row[3] for row in rows("EXPLAIN QUERY PLAN " + statement, *values)])
        return rows(statement, *values)

    store.index.rows = explain
    store.tags.names("a", "b", 5)
    store.tags.repositories("a", 5)
    store.manifests.referrers("a", Digest.of(b""))
    list(store.index.holders(Digest.of(b"")))
    assert len(plans) >= 4
    for plan in plans:
        assert not any(step.startswith("SCAN") or "TEMP B-TREE" in step for step in plan), plan
    store.close()


def test_a_second_push_repairs_the_links_of_everybody(root):
    """Damage in one repository's link is the same file, and so is the repair."""
    store = FilesystemStore(root)
    digest = push(store, "a", b"content")
    store.blobs.mount("b", digest, "a")
    path = store.layout.blob(digest)
    os.chmod(path, 0o644)
    with open(path, "wb") as file:
        file.write(b"damaged")
    push(store, "c", b"content")
    for name in "abc":
        assert os.path.samefile(store.layout.member(name, "blobs", digest), path)
    with open(path, "rb") as file:
        assert file.read() == b"content"
    store.close()


def test_a_blob_pushed_twice_stays_one_file(root):
    """However often and wherever it is pushed, its bytes are on disk once."""
    store = FilesystemStore(root)
    for name in ("a", "b", "a"):
        digest = push(store, name, b"content")
    status = os.stat(store.layout.blob(digest))
    assert status.st_nlink == 3
    store.close()


def test_content_is_copied_where_links_are_impossible(tmp_path, monkeypatch):
    """A file system without hard links costs space, not correctness."""

    def refuse(*_arguments, **_options):
        raise PermissionError(1, "no links")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "source").write_bytes(b"x" * 3_000_000)
    (tmp_path / "target").mkdir()
    share(str(tmp_path / "source"), str(tmp_path), str(tmp_path / "target"), "name")
    assert (tmp_path / "target" / "name").read_bytes() == b"x" * 3_000_000
    assert sorted(os.listdir(tmp_path)) == ["source", "target"]


def test_the_steady_clock_goes_on():
    """Over a restart of the process it advances, over one of the machine it stands still; it never jumps."""
    now = [100.0]
    first = SteadyClock(lambda: now[0], "", "boot")
    now[0] += 50
    saved, reached = first.save(), first()
    now[0] += 10
    assert SteadyClock(lambda: now[0], saved, "boot")() == reached + 10
    now[0] = 3.0
    assert SteadyClock(lambda: now[0], saved, "other")() == reached
    assert SteadyClock(lambda: now[0], "nonsense", "boot")() == 3.0
