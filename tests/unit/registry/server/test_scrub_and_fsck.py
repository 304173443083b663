"""Finding damaged bytes and inconsistent files, and mending them."""

import json
import os
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


def test_empty_repositories_vanish(store, root):
    """A repair removes their directories."""
    store.blobs.delete("a/b", push(store, "a/b", b"x"))
    store.settle()
    assert [(f.place, f.repaired) for f in check(store, repair=False)] == [("a/b", False)]
    assert [(f.place, f.repaired) for f in check(store, repair=True)] == [("a/b", True)]
    assert os.listdir(f"{root}/repositories") == []
    assert check(store, repair=False) == []
    push(store, "a/b", b"x")


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
