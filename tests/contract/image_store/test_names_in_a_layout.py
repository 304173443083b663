"""How names rest in the index of an image layout."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from oci_image import mediatypes
from oci_image.errors import StoreProblem
from oci_image.store.layout import LayoutBlobStore, LayoutTagStore
from tests.contract.image_store.names import APP, CONTAINERD_NAME, LOCAL, ONE, REF_NAME, TWO, descriptor


def entries(root: Path) -> list[dict]:
    return json.loads((root / "index.json").read_bytes())["manifests"]


def test_change_is_seen_at_once(tmp_path):
    """A reader that has looked before sees every later change, however fast the changes follow each other."""
    reader, writer = LayoutTagStore(tmp_path), LayoutTagStore(tmp_path)
    for number in range(200):
        wanted = descriptor(f"{number:06}")
        writer.set(APP, wanted)
        assert reader.get(APP) == wanted


def test_change_within_one_tick_of_the_clock_is_seen(tmp_path):
    """An index that changed is read again even when its inode, size and time look the same."""
    tags = LayoutTagStore(tmp_path)
    tags.set(APP, ONE)
    path = tmp_path / "index.json"
    before = path.stat()
    assert tags.get(APP) == ONE
    other = replace(ONE, digest=TWO.digest)
    path.write_text(path.read_text().replace(str(ONE.digest), str(other.digest)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert tags.get(APP) == other


def test_reader_does_not_parse_again_what_has_settled(tmp_path, monkeypatch):
    """The index is read once as long as it stays as it is."""
    LayoutTagStore(tmp_path).set(APP, ONE)
    os.utime(tmp_path / "index.json", (1_000_000, 1_000_000))
    reader = LayoutTagStore(tmp_path)
    assert reader.get(APP) == ONE
    monkeypatch.setattr(LayoutTagStore, "_load", None)
    assert reader.get(APP) == ONE


CHANGER = """
import sys
from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.store.layout import LayoutTagStore
tags = LayoutTagStore(sys.argv[1])
sys.stdin.readline()
for number in range(25):
    text = sys.argv[2] + str(number)
    one = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(text.encode()), size=len(text))
    tags.set("docker.io/library/shared:1", one)
    tags.set(f"docker.io/library/{sys.argv[2]}:{number}", one)
"""


def test_processes_change_names_at_once(tmp_path, run_python):
    """No change of another process is lost."""
    workers = [run_python(CHANGER, tmp_path / "store", f"own{number}") for number in range(4)]
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    assert [worker.communicate()[1] for worker in workers] == [""] * 4
    names = [name for name, _ in LayoutTagStore(tmp_path / "store").items()]
    assert len(names) == 4 * 25 + 1
    assert len(entries(tmp_path / "store")) == 4 * 25 + 1


def test_entries_carry_both_names(tmp_path):
    """An entry has the familiar name for skopeo and umoci, and the full one for containerd and Docker."""
    tags = LayoutTagStore(tmp_path)
    tags.set(APP, ONE)
    tags.set(LOCAL, ONE)
    names = [entry["annotations"] for entry in entries(tmp_path)]
    assert names == [
        {REF_NAME: "app:1", CONTAINERD_NAME: APP},
        {REF_NAME: "localhost:5000/team/app:1", CONTAINERD_NAME: LOCAL},
    ]


@pytest.mark.parametrize(
    ("annotations", "name"),
    [
        ({REF_NAME: "app:1"}, APP),
        ({REF_NAME: "app"}, "docker.io/library/app:latest"),
        ({REF_NAME: "localhost:5000/team/app:1"}, LOCAL),
        ({REF_NAME: "1", CONTAINERD_NAME: APP}, APP),
    ],
)
def test_names_of_other_tools(tmp_path, annotations, name):
    """Entries of skopeo, umoci, containerd and Docker are found, and replaced instead of doubled."""
    tags = LayoutTagStore(tmp_path)
    tags.add_untagged(TWO)
    document = json.loads((tmp_path / "index.json").read_bytes())
    document["manifests"] = [ONE.to_json() | {"annotations": annotations}]
    (tmp_path / "index.json").write_text(json.dumps(document))
    assert LayoutTagStore(tmp_path).get(name) == ONE
    tags.set(name, TWO)
    assert len(entries(tmp_path)) == 1
    assert tags.delete(name) is True
    assert entries(tmp_path) == []


def test_foreign_entries_are_kept(tmp_path):
    """Entries and members that mean nothing to us survive every change as they were."""
    foreign = [
        {"mediaType": "application/x", "digest": "blake3:00", "size": 1, "annotations": {REF_NAME: "?? !!"}},
        ONE.to_json() | {"annotations": {REF_NAME: "Not A Reference"}, "x": [1]},
        "strange",
        {"mediaType": mediatypes.OCI_MANIFEST, "annotations": None},
    ]
    (tmp_path / "index.json").write_text(
        json.dumps({"schemaVersion": 2, "manifests": foreign, "annotations": {"k": "v"}, "z": 1})
    )
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    tags = LayoutTagStore(tmp_path)
    assert list(tags.items()) == []
    tags.set(APP, ONE)
    tags.set(APP, TWO)
    tags.delete(APP)
    document = json.loads((tmp_path / "index.json").read_bytes())
    assert document == {"schemaVersion": 2, "manifests": foreign, "annotations": {"k": "v"}, "z": 1}
    assert [one.digest for one in tags.entries()] == [ONE.digest]


def test_manifests_of_go_tools_may_be_null(tmp_path):
    """An index whose list was never set is an empty one."""
    LayoutBlobStore(tmp_path, durable=False).writer().discard()
    (tmp_path / "index.json").write_text('{"schemaVersion":2,"manifests":null}')
    tags = LayoutTagStore(tmp_path)
    assert list(tags.items()) == []
    tags.set(APP, ONE)
    assert tags.get(APP) == ONE


@pytest.mark.parametrize("content", ["", "{", "[]", '{"manifests": {}}', "\udcff"])
def test_broken_index_is_told_and_left_alone(tmp_path, content):
    """An index that cannot be read is an error that names the file; it is never overwritten."""
    LayoutTagStore(tmp_path).set(APP, ONE)
    raw = content.encode(errors="surrogateescape")
    (tmp_path / "index.json").write_bytes(raw)
    tags = LayoutTagStore(tmp_path)
    for change in (lambda: tags.get(APP), lambda: tags.set(APP, TWO), lambda: tags.delete(APP)):
        with pytest.raises(StoreProblem, match=r"index\.json"):
            change()
    assert (tmp_path / "index.json").read_bytes() == raw


def test_unknown_layout_version_is_refused(tmp_path):
    """A layout of another version is not touched."""
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}')
    with pytest.raises(StoreProblem, match=r"2\.0\.0"):
        LayoutTagStore(tmp_path).set(APP, ONE)


def test_untagged_manifests(tmp_path):
    """A manifest may be listed without a name, once, and stops to be when it gets one."""
    tags = LayoutTagStore(tmp_path)
    tags.add_untagged(ONE)
    tags.add_untagged(ONE)
    tags.add_untagged(TWO)
    assert list(tags.items()) == []
    assert [one.digest for one in tags.entries()] == [ONE.digest, TWO.digest]
    tags.set(APP, ONE)
    tags.add_untagged(ONE)
    assert len(tags.entries()) == 2
    assert tags.remove_untagged(ONE.digest) is False
    assert tags.remove_untagged(TWO.digest) is True
    assert [one.digest for one in tags.entries()] == [ONE.digest]
    assert tags.get(APP) == ONE


def test_full_disk_keeps_the_names(tiny_disk):
    """When the index cannot be written, the old one stays and the problem is told."""
    tags = LayoutTagStore(tiny_disk / "store")
    tags.set(APP, ONE)
    free = os.statvfs(tiny_disk)
    (tiny_disk / "ballast").write_bytes(b"x" * free.f_bavail * free.f_bsize)
    with pytest.raises(StoreProblem, match="no space left"):
        tags.set(LOCAL, TWO)
    assert list(LayoutTagStore(tiny_disk / "store").items()) == [(APP, ONE)]
    (tiny_disk / "ballast").unlink()
    tags.set(LOCAL, TWO)
    assert tags.get(LOCAL) == TWO


def test_change_is_durable(tmp_path, monkeypatch):
    """The new index and its name reach the disk before a change returns."""
    tags = LayoutTagStore(tmp_path)
    tags.set(APP, ONE)
    calls = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(number: int) -> None:
        calls.append("fsync " + os.path.relpath(os.readlink(f"/proc/self/fd/{number}"), tmp_path))
        real_fsync(number)

    def rename(source: str, target: str) -> None:
        calls.append("rename " + os.path.relpath(target, tmp_path))
        real_rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    tags.set(APP, TWO)
    assert calls == ["fsync pybuild/index.new", "rename index.json", "fsync ."]
