"""Finding damaged bytes and inconsistent files, and mending them."""

import json
import os
import threading
import time

import pytest

from builder.cli.main import main
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from registry.server.housekeeping.fsck import check
from registry.server.housekeeping.scrub import Scrubber
from registry.server.store.base import StoredManifest
from registry.server.store.filesystem import FilesystemStore

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def root(tmp_path):
    return str(tmp_path / "root")


@pytest.fixture
def store(root):
    made = FilesystemStore(root)
    yield made
    made.close()


def push(store, repository, data):
    upload = store.uploads.create(repository)
    upload.write([data])
    upload.commit(Digest.of(data))
    return Digest.of(data)


def image(store, repository, data, tags=("1",)):
    digest = push(store, repository, data)
    rows = [{"mediaType": "application/octet-stream", "digest": str(digest), "size": len(data)}]
    raw = json.dumps({"schemaVersion": 2, "config": rows[0], "layers": rows}).encode()
    descriptor = Descriptor(media_type=MANIFEST, digest=Digest.of(raw), size=len(raw))
    store.manifests.put(repository, StoredManifest(descriptor=descriptor, raw=raw), tags)
    return Digest.of(raw)


def flip(path):
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        last = file.seek(-1, 2)
        byte = file.read(1)[0]
        file.seek(last)
        file.write(bytes([byte ^ 1]))


def test_flipped_bits_are_found_and_repaired(store):
    """All of a hundred damaged blobs, and no other; a push of each repairs it for everybody (gate 13)."""
    contents = [os.urandom(1000) for _ in range(120)]
    for data in contents:
        store.blobs.mount("b", push(store, "a", data), "a")
    for data in contents[:100]:
        flip(store.layout.blob(Digest.of(data)))
    told = []
    report = Scrubber(store, damaged=lambda *found: told.append(found)).scrub()
    assert set(report.damaged) == {Digest.of(data) for data in contents[:100]}
    assert dict(told) == report.damaged
    assert set(report.damaged.values()) == {("a", "b")}
    assert (report.checked, report.size) == (120, 120_000)
    for data in contents[:100]:
        assert store.blobs.stat("b", Digest.of(data)) is None
        push(store, "a", data)
        with store.blobs.open("b", Digest.of(data)) as file:
            assert file.read() == data
    assert Scrubber(store).scrub().damaged == {}
    assert check(store, repair=False) == []


def test_a_damaged_manifest_is_found(store):
    """With its repository; the tag comes back with the next push."""
    digest = image(store, "a", b"data")
    flip(store.layout.member("a", "manifests", digest))
    assert Scrubber(store).scrub().damaged == {digest: ("a",)}
    assert store.tags.get("a", "1") is None
    image(store, "a", b"data", tags=())
    assert store.tags.get("a", "1") == digest


def test_a_scrub_keeps_to_its_rate(store):
    """The disk is left to requests: a megabyte at four megabytes per second takes a quarter of a second."""
    push(store, "a", os.urandom(1_000_000))
    start = time.monotonic()
    Scrubber(store, rate=4e6).scrub()
    assert 0.2 < time.monotonic() - start < 3


def test_a_sound_directory_has_no_findings(store):
    """Also after deletions."""
    image(store, "a", b"one")
    digest = image(store, "b", b"two")
    store.manifests.delete("b", digest)
    assert check(store, repair=False) == []


def test_the_index_is_compared_and_mended(store):
    """What it made up goes, what it missed comes."""
    image(store, "a", b"one")
    store.index.put_blob("a", Digest.of(b"none"), 4)
    store.index.delete_tag("a", "1")
    assert {(f.place, f.problem) for f in check(store, repair=False)} == {
        ("index", "it missed 1 tags"),
        ("index", "it made up 1 blobs"),
    }
    assert check(store, repair=False) == []


def test_missing_content_is_reported(store):
    """A push repairs it; nothing is removed."""
    digest = image(store, "a", b"one")
    os.unlink(store.layout.blob(Digest.of(b"one")))
    (finding,) = check(store, repair=True)
    assert "push it again" in finding.problem
    assert not finding.repaired
    assert store.manifests.get("a", digest) is not None
    push(store, "b", b"one")
    assert check(store, repair=False) == []


def test_dangling_tags_and_missing_parts_are_reported(store):
    """With the names that somebody needs to push them again."""
    digest = image(store, "a", b"one")
    store.blobs.delete("a", Digest.of(b"one"))
    assert [f.problem for f in check(store, repair=False)] == [
        f"{digest} refers to {Digest.of(b'one')}, which is not here"
    ]
    os.unlink(store.layout.member("a", "manifests", digest))
    problems = [f.problem for f in check(store, repair=False)]
    assert f"the tag 1 leads to {digest}, which is not here" in problems


def test_parts_that_may_be_elsewhere_are_no_finding(store):
    """Layers with their own address, and everything in a sparse repository."""
    rows = [
        {"mediaType": "application/octet-stream", "digest": str(Digest.of(part)), "size": 1} | more
        for part, more in ((b"a", {}), (b"b", {"urls": ["https://elsewhere.example/b"]}))
    ]
    raw = json.dumps({"schemaVersion": 2, "layers": rows}).encode()
    descriptor = Descriptor(media_type=MANIFEST, digest=Digest.of(raw), size=len(raw))
    for repository in ("a", "sparse"):
        store.manifests.put(repository, StoredManifest(descriptor=descriptor, raw=raw), ["1"])
    found = check(store, repair=False, is_sparse=lambda name: name == "sparse")
    assert [(f.place, f.problem) for f in found] == [
        ("a", f"{Digest.of(raw)} refers to {Digest.of(b'a')}, which is not here")
    ]


def test_empty_repositories_vanish(store, root):
    """With the last of their content; a repair removes what an earlier version left."""
    digest = push(store, "a/b", b"x")
    store.settle()
    store.blobs.delete("a/b", digest)
    store.settle()
    assert os.listdir(f"{root}/repositories") == []
    assert store.index.rows("SELECT * FROM repositories") == []
    os.makedirs(f"{root}/repositories/a~b/blobs/sha256")
    assert [(f.place, f.repaired) for f in check(store, repair=False)] == [("a/b", False)]
    assert [(f.place, f.repaired) for f in check(store, repair=True)] == [("a/b", True)]
    assert os.listdir(f"{root}/repositories") == []
    assert check(store, repair=False) == []
    push(store, "a/b", b"x")
    assert store.blobs.stat("a/b", digest) == 1


def test_files_that_nobody_knows_keep_a_repository(store, root):
    """Nothing goes that the index does not know of; a push is never in the way of the end."""
    digest = push(store, "a", b"x")
    store.blobs.delete("a", digest)
    strange = f"{root}/repositories/a/blobs/notes"
    with open(strange, "w") as file:
        file.write("mine")
    store.settle()
    assert os.path.exists(strange)
    os.unlink(strange)
    with store.index.altering("a"):
        store.settle()
        assert os.path.isdir(f"{root}/repositories/a")
    store.settle()
    assert not os.path.exists(f"{root}/repositories/a")


def test_pushes_race_the_end_of_repositories(store, root):
    """Whatever was pushed last is there, whether or not the directory went meanwhile."""
    digest = push(store, "a", b"x")
    stop = threading.Event()
    settler = threading.Thread(target=lambda: [store.settle() for _ in iter(stop.is_set, True)])
    settler.start()
    try:
        for number in range(300):
            store.blobs.delete("a", digest)
            if number % 3:
                time.sleep(0.001)
            push(store, "a", b"x")
            assert store.blobs.stat("a", digest) == 1
            assert store.index.rows("SELECT name FROM repositories") == [("a",)]
    finally:
        stop.set()
        settler.join()
    assert check(store, repair=False) == []


def command(capsys, *arguments):
    status = main(["registry", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_the_command_line_looks_after_a_directory(root, capsys):
    """Dry run, collection, explanation, undeletion, check and scrub of a directory that no server uses."""
    store = FilesystemStore(root)
    image(store, "a", b"kept")
    dead = image(store, "a", b"dead", tags=())
    store.close()
    options = ("--root", root)
    status, out, err = command(capsys, "gc", *options, "--grace", "0s", "--dry-run")
    assert status == 0
    assert f"manifest a@{dead}" in out
    assert "no tag" in out
    assert "would go" in err
    assert command(capsys, "gc", *options)[1] == ""
    assert f"a@{dead}" in command(capsys, "gc", *options, "--grace", "0s")[1]
    assert "collected (kept)" in command(capsys, "gc", *options, "--explain", str(dead))[1]
    assert f"manifest {dead}" in command(capsys, "gc", *options, "--undelete", str(dead))[1]
    assert "kept as a manifest" in command(capsys, "gc", *options, "--explain", str(dead))[1]
    assert command(capsys, "fsck", *options)[0] == 0
    assert command(capsys, "fsck", *options, "--rebuild")[0] == 0
    assert command(capsys, "scrub", *options)[0] == 0
    flip(store.layout.blob(Digest.of(b"kept")))
    status, out, err = command(capsys, "scrub", *options, "--rate", "100")
    assert status == 1
    assert str(Digest.of(b"kept")) in out
    assert command(capsys, "fsck", *options, "--repair")[0] == 1
    assert command(capsys, "rm", *options, "a")[0] == 0
    assert command(capsys, "fsck", *options, "--repair")[0] == 0
    assert command(capsys, "rm", *options, "a")[0] != 0
    assert os.listdir(f"{root}/repositories") == []


def test_the_settings_count_without_a_server(root, tmp_path, capsys):
    """Policies and times of the file, as the server that reads it would have it."""
    store = FilesystemStore(root)
    image(store, "a", b"kept", tags=("v1", "old"))
    gone = image(store, "a", b"dead", tags=())
    store.close()
    path = tmp_path / "registry.toml"
    path.write_text(
        f'[storage]\nroot = "{root}"\n[gc]\ngrace = 0\nundelete = 0\n'
        '[[policies]]\nrepositories = "a"\n[[policies.keep]]\ntags = ["v*"]\n'
    )
    for more in (("--dry-run",), ()):
        status, out, _err = command(capsys, "gc", "--config", str(path), *more)
        assert status == 0
        assert "tag a:old" in out
        assert "no rule keeps it" in out
        assert f"a@{gone}" in out
    store = FilesystemStore(root)
    assert store.tags.names("a") == ["v1"]
    store.close()


def test_the_command_line_refuses_what_it_cannot_do(root, tmp_path, capsys):
    """A directory of something else, one in use, and times that are none."""
    status, _out, err = command(capsys, "gc", "--root", str(tmp_path))
    assert status != 0
    assert "not the directory of a registry" in err
    store = FilesystemStore(root)
    status, _out, err = command(capsys, "gc", "--root", root)
    assert status != 0
    assert "another registry uses" in err
    store.close()
    status, _out, err = command(capsys, "gc", "--root", root, "--grace", "soon")
    assert status != 0
    assert "--grace soon" in err
