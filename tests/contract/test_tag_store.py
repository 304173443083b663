"""What every tag store guarantees, and how the names of an image layout look to other tools."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from oci_image import mediatypes
from oci_image.config import History, ImageConfig, RunConfig
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Index, Manifest, author_config, author_index, author_manifest, describe
from oci_image.errors import StoreProblem
from oci_image.image import Image
from oci_image.layer.compression import compress, parse_encoder
from oci_image.platform import Platform
from oci_image.store.layout import LayoutBlobStore, LayoutTagStore
from oci_image.verify import check_image

APP = "docker.io/library/app:1"
LOCAL = "localhost:5000/team/app:1"
REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"


def descriptor(text: str, **members: object) -> Descriptor:
    plain = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(text.encode()), size=len(text))
    return replace(plain, **members)


ONE, TWO = descriptor("one"), descriptor("second")


def entries(root: Path) -> list[dict]:
    return json.loads((root / "index.json").read_bytes())["manifests"]


def test_unknown_names(tag_store):
    """A name that was never set is absent, also before the store exists."""
    assert tag_store.get(APP) is None
    assert tag_store.delete(APP) is False
    assert list(tag_store.items()) == []


def test_name_is_found(tag_store):
    """A name stands for its descriptor."""
    tag_store.set(APP, ONE)
    assert tag_store.get(APP) == ONE
    assert tag_store.get(LOCAL) is None
    assert tag_store.get("docker.io/library/app:2") is None


def test_descriptor_comes_back_whole(tag_store):
    """Media type, platform, annotations and artifact type are kept."""
    full = descriptor(
        "full",
        media_type=mediatypes.DOCKER_MANIFEST_LIST,
        platform=Platform(os="linux", architecture="arm", variant="v7"),
        annotations={"org.example": "ä \U0001f680"},
        artifact_type="application/x.example",
    )
    tag_store.set(APP, full)
    assert tag_store.get(APP) == full
    assert dict(tag_store.items()) == {APP: full}


def test_naming_annotations_belong_to_the_store(tag_store):
    """A descriptor that was named elsewhere takes the new name, and comes back without one."""
    tag_store.set(APP, replace(ONE, annotations={REF_NAME: "other", CONTAINERD_NAME: LOCAL, "a": "b"}))
    assert tag_store.get(APP) == replace(ONE, annotations={"a": "b"})
    assert tag_store.get(LOCAL) is None


def test_name_moves(tag_store):
    """Setting a name again moves it."""
    tag_store.set(APP, ONE)
    tag_store.set(APP, TWO)
    assert list(tag_store.items()) == [(APP, TWO)]


def test_names_are_sorted_and_independent(tag_store):
    """Several names may stand for one descriptor; deleting one keeps the others."""
    for name in (LOCAL, APP, "docker.io/library/app:latest"):
        tag_store.set(name, ONE)
    assert [name for name, _ in tag_store.items()] == [APP, "docker.io/library/app:latest", LOCAL]
    assert tag_store.delete(APP) is True
    assert tag_store.delete(APP) is False
    assert tag_store.get(APP) is None
    assert tag_store.get(LOCAL) == ONE


def test_items_is_a_picture_of_one_moment(tag_store):
    """Names may be changed while they are listed."""
    for number in range(5):
        tag_store.set(f"docker.io/library/app:{number}", ONE)
    for name, found in tag_store.items():
        assert found == ONE
        tag_store.delete(name)
    assert list(tag_store.items()) == []


def test_threads_change_names_at_once(tag_store):
    """No change is lost, and readers always see one of the descriptors that were set."""
    allowed = {ONE.digest, TWO.digest}
    wrong = []

    def work(number: int) -> None:
        for _ in range(10):
            tag_store.set(APP, (ONE, TWO)[number % 2])
            tag_store.set(f"docker.io/library/own:{number}", ONE)
            found = tag_store.get(APP)
            if found is None or found.digest not in allowed:
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert [name for name, _ in tag_store.items()] == [
        APP,
        *(f"docker.io/library/own:{number}" for number in range(8)),
    ]


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


# Other tools


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        if "clients" in os.environ.get("PYBUILD_REQUIRE", "").split(","):
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: object) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def stored_image(root: Path, encoder: str = "uncompressed") -> tuple[Image, Descriptor]:
    """A small image whose layer, an archive without members, is compressed by the encoder."""
    blobs = LayoutBlobStore(root, durable=False)
    chosen = parse_encoder(encoder)

    def put(data: bytes) -> bytes:
        with blobs.writer() as writer:
            writer.write(data)
            writer.commit(Digest.of(data))
        return data

    archive = bytes(1_500_160)
    layer = put(b"".join(compress([archive], chosen, threads=2)))
    config = author_config(
        ImageConfig(
            platform=Platform(os="linux", architecture="amd64"),
            config=RunConfig(cmd=("/hello",), env=("A=1",), labels={"l": "v"}),
            diff_ids=(Digest.of(archive),),
            history=(History(created_by="COPY hello /"), History(created_by="CMD", empty_layer=True)),
            created="1980-01-01T00:00:00Z",
        )
    )
    manifest = author_manifest(
        Manifest(config=config.descriptor, layers=(describe(layer, chosen.media_type()),))
    )
    put(config.raw)
    put(manifest.raw)
    return Image(manifest, config), manifest.descriptor


@pytest.mark.clients
@pytest.mark.parametrize("encoder", ["gzip", "gzip-fast", "zstd"])
def test_skopeo_decompresses_our_layers(tmp_path, encoder):
    """The decompressors of Go give back the archive that we compressed."""
    skopeo = tool("skopeo")
    image, found = stored_image(tmp_path / "store", encoder)
    assert check_image(LayoutBlobStore(tmp_path / "store", durable=False), found) == []
    LayoutTagStore(tmp_path / "store").set(APP, found)
    source, target = f"oci:{tmp_path}/store:app:1", f"dir:{tmp_path}/out"
    run(skopeo, "--insecure-policy", "copy", "--dest-decompress", source, target)
    (diff_id,) = image.config.value.diff_ids
    assert Digest.of((tmp_path / "out" / diff_id.hex).read_bytes()) == diff_id


@pytest.mark.clients
@pytest.mark.parametrize("name", ["app:1", "localhost:5000/team/app:1"])
def test_skopeo_reads_our_layout(tmp_path, name):
    """skopeo finds an image under its familiar name."""
    skopeo = tool("skopeo")
    image, found = stored_image(tmp_path / "store")
    tags = LayoutTagStore(tmp_path / "store")
    tags.set(APP, found)
    tags.set(LOCAL, found)
    raw = run(skopeo, "inspect", "--raw", f"oci:{tmp_path}/store:{name}")
    assert raw.encode() == image.manifest.raw
    shown = json.loads(run(skopeo, "inspect", f"oci:{tmp_path}/store:{name}"))
    assert shown["Digest"] == str(found.digest)
    assert shown["Labels"] == {"l": "v"}
    assert shown["Env"] == ["A=1"]


@pytest.mark.clients
def test_skopeo_reads_an_index(tmp_path):
    """skopeo chooses a platform from an index of ours."""
    skopeo = tool("skopeo")
    image, found = stored_image(tmp_path)
    child = replace(found, platform=image.config.value.platform)
    index = author_index(Index(manifests=(child,)))
    with LayoutBlobStore(tmp_path, durable=False).writer() as writer:
        writer.write(index.raw)
        writer.commit(index.digest)
    LayoutTagStore(tmp_path).set(APP, index.descriptor)
    shown = json.loads(run(skopeo, "--override-arch", "amd64", "inspect", f"oci:{tmp_path}:app:1"))
    assert shown["Architecture"] == "amd64"
    assert check_image(LayoutBlobStore(tmp_path, durable=False), index.descriptor) == []


@pytest.mark.clients
def test_umoci_reads_our_layout(tmp_path):
    """umoci lists and shows an image of ours."""
    umoci = tool("umoci")
    _, found = stored_image(tmp_path / "store")
    LayoutTagStore(tmp_path / "store").set(APP, found)
    assert run(umoci, "list", "--layout", tmp_path / "store").split() == ["app:1"]
    shown = json.loads(run(umoci, "stat", "--json", "--image", f"{tmp_path}/store:app:1"))
    assert [entry["created_by"] for entry in shown["history"]] == ["COPY hello /", "CMD"]


@pytest.mark.clients
def test_skopeo_copies_out_of_and_into_our_layout(tmp_path):
    """What skopeo copies out is whole; what it copies in is found by us, beside what was there."""
    skopeo = tool("skopeo")
    store = tmp_path / "store"
    _, found = stored_image(store)
    tags = LayoutTagStore(store)
    tags.set(APP, found)
    policy = "--insecure-policy"
    run(skopeo, policy, "copy", f"oci:{store}:app:1", f"oci:{tmp_path}/other:new:2")
    other = LayoutTagStore(tmp_path / "other").get("docker.io/library/new:2")
    assert other is not None
    assert check_image(LayoutBlobStore(tmp_path / "other", durable=False), other) == []
    run(skopeo, policy, "copy", f"oci:{tmp_path}/other:new:2", f"oci:{store}:in:3")
    names = dict(tags.items())
    assert set(names) == {APP, "docker.io/library/in:3"}
    assert names[APP] == found
    blobs = LayoutBlobStore(store, durable=False)
    for one in names.values():
        assert check_image(blobs, one) == []


@pytest.mark.clients
def test_layout_of_umoci_is_taken_over(tmp_path):
    """A layout that umoci made is used as it is: its image is found, ours are added."""
    umoci = tool("umoci")
    store = tmp_path / "store"
    run(umoci, "init", "--layout", store)
    run(umoci, "new", "--image", f"{store}:theirs:1")
    _, found = stored_image(store)
    tags = LayoutTagStore(store)
    tags.set(APP, found)
    assert [name for name, _ in tags.items()] == [APP, "docker.io/library/theirs:1"]
    assert sorted(run(umoci, "list", "--layout", store).split()) == ["app:1", "theirs:1"]
    theirs = tags.get("docker.io/library/theirs:1")
    assert theirs is not None
    assert check_image(LayoutBlobStore(store, durable=False), theirs) == []
