"""What skopeo and umoci make of our image layouts, and we of theirs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from oci_image.config import History, ImageConfig, RunConfig
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Index, Manifest, author_config, author_index, author_manifest, describe
from oci_image.image import Image
from oci_image.layer.compression import compress
from oci_image.layer.encoders import parse_encoder
from oci_image.platform import Platform
from oci_image.store.layout import LayoutBlobStore, LayoutTagStore
from oci_image.verify import check_image
from tests.contract.image_store.names import APP, LOCAL


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
