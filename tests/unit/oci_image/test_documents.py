"""Manifests, indexes, configurations and descriptors, as real tools write them."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_image import jsonbytes, mediatypes
from oci_image.config import Healthcheck, History, ImageConfig, RunConfig
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import (
    Index,
    Manifest,
    author_config,
    author_index,
    author_manifest,
    describe,
    read_config,
    read_manifest,
)
from oci_image.errors import InvalidDocument
from oci_image.image import Image, Layer, chain_id
from oci_image.platform import Platform

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")

DOCKER_MANIFEST = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
    "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 1457, "digest": A},
    "layers": [
        {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": 2802957, "digest": B},
        {
            "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "size": 1718332879,
            "digest": C,
            "urls": ["https://layers.example.com/base.tgz"],
        },
    ],
}
BUILDKIT_INDEX = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.index.v1+json",
    "manifests": [
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": A,
            "size": 480,
            "platform": {"architecture": "arm", "os": "linux", "variant": "v7"},
        },
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": B,
            "size": 566,
            "annotations": {
                "vnd.docker.reference.digest": A,
                "vnd.docker.reference.type": "attestation-manifest",
            },
            "platform": {"architecture": "unknown", "os": "unknown"},
        },
    ],
}
SIGNATURE = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "artifactType": "application/vnd.example.signature",
    "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": A, "size": 2, "data": "e30="},
    "layers": [{"mediaType": "application/x", "digest": B, "size": 3}],
    "subject": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": C, "size": 4},
    "annotations": {"b": "2", "a": "1"},
}
DOCKER_CONFIG = {
    "architecture": "amd64",
    "config": {
        "Hostname": "",
        "Domainname": "",
        "User": "app",
        "AttachStdin": False,
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Env": ["PATH=/usr/bin:/bin", "EMPTY="],
        "Cmd": None,
        "Entrypoint": ["/entry"],
        "Image": "sha256:old",
        "Volumes": {"/data": {}},
        "WorkingDir": "/srv",
        "OnBuild": ["RUN make"],
        "Labels": {"maintainer": "somebody"},
        "StopSignal": "SIGQUIT",
        "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 30000000000, "Retries": 3},
        "Shell": ["/bin/bash", "-c"],
        "MacAddress": "x",
    },
    "container": "0123",
    "container_config": {"Cmd": ["x"]},
    "created": "2024-01-27T00:30:48.743965523Z",
    "docker_version": "20.10.23",
    "history": [
        {"created": "2024-01-27T00:30:48Z", "created_by": "/bin/sh -c #(nop) ADD file:ca6d in / "},
        {"created_by": 'CMD ["/bin/sh"]', "empty_layer": True, "comment": "buildkit.dockerfile.v0"},
    ],
    "os": "linux",
    "os.version": "1.2",
    "os.features": ["win32k"],
    "variant": "v2",
    "rootfs": {"type": "layers", "diff_ids": [A]},
    "moby.buildkit.buildinfo.v1": "e30=",
}


def raw(value: object) -> bytes:
    return json.dumps(value, indent=3).encode()


def with_layer(**members: object) -> dict:
    return SIGNATURE | {"layers": [members]}


def config_of(value: dict) -> ImageConfig:
    return ImageConfig.from_json(value, "config of app")


def test_docker_manifest():
    """A manifest of Docker, with a layer that is not distributed, keeps its bytes and its digest."""
    document = read_manifest(raw(DOCKER_MANIFEST), mediatypes.DOCKER_MANIFEST, "app")
    assert isinstance(document.value, Manifest)
    assert document.raw == raw(DOCKER_MANIFEST)
    assert document.digest == Digest.of(raw(DOCKER_MANIFEST))
    assert document.descriptor.media_type == mediatypes.DOCKER_MANIFEST
    assert [mediatypes.is_foreign(layer.media_type) for layer in document.value.layers] == [False, True]
    assert document.value.layers[1].urls == ("https://layers.example.com/base.tgz",)
    assert author_manifest(document.value).value == document.value


def test_buildkit_index():
    """An index with attestations keeps platforms and annotations."""
    document = read_manifest(raw(BUILDKIT_INDEX), "application/octet-stream", "app")
    assert isinstance(document.value, Index)
    first, second = document.value.manifests
    assert str(first.platform) == "linux/arm/v7"
    assert second.annotations["vnd.docker.reference.type"] == "attestation-manifest"
    assert json.loads(author_index(document.value).raw) == BUILDKIT_INDEX


def test_artifact_with_subject():
    """An artifact keeps its type and the image that it is about."""
    value = read_manifest(raw(SIGNATURE), mediatypes.OCI_MANIFEST, "app").value
    assert value.artifact_type == "application/vnd.example.signature"
    assert value.subject is not None
    assert str(value.subject.digest) == C
    assert list(json.loads(author_manifest(value).raw)["annotations"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"schemaVersion": 2, "manifests": []}, mediatypes.OCI_INDEX),
        ({"schemaVersion": 2, "manifests": None}, mediatypes.OCI_INDEX),
        ({"schemaVersion": 2, "config": SIGNATURE["config"], "layers": []}, mediatypes.OCI_MANIFEST),
        ({"schemaVersion": 2, "config": SIGNATURE["config"], "layers": None}, mediatypes.OCI_MANIFEST),
        (DOCKER_MANIFEST, mediatypes.DOCKER_MANIFEST),
    ],
)
def test_kind_without_media_type(document, kind):
    """Where nobody says what a document is, its members do; null lists of Go are empty ones."""
    assert read_manifest(raw(document), "", "app").descriptor.media_type == kind


@pytest.mark.parametrize(
    ("document", "media_type", "words"),
    [
        ({"schemaVersion": 1, "fsLayers": []}, mediatypes.DOCKER_MANIFEST_V1_SIGNED, "unsupported"),
        ({"schemaVersion": 1, "fsLayers": []}, "", "unsupported"),
        ({}, mediatypes.OCI_MANIFEST, "unsupported"),
        (DOCKER_MANIFEST, mediatypes.OCI_MANIFEST, "says that it is"),
        ({"schemaVersion": 2, "mediaType": "text/plain"}, "", "unsupported manifest type text/plain"),
        ({"schemaVersion": 2, "config": SIGNATURE["config"]}, "", "no list of layers"),
        ({"schemaVersion": 2, "config": SIGNATURE["config"], "layers": {}}, "", "no list of layers"),
        ({"schemaVersion": 2, "layers": []}, "", "config: descriptor is not an object"),
        ({"schemaVersion": 2, "manifests": [3]}, "", "manifest 0"),
        ({"schemaVersion": 2, "manifests": [], "layers": []}, "", "both"),
        (SIGNATURE | {"manifests": []}, mediatypes.OCI_MANIFEST, "both"),
        (SIGNATURE | {"subject": "x"}, mediatypes.OCI_MANIFEST, "subject"),
        (with_layer(digest=B, size=-1), mediatypes.OCI_MANIFEST, "layer 0.*valid size"),
        (with_layer(digest=B, size=True), mediatypes.OCI_MANIFEST, "valid size"),
        (with_layer(digest=B, size=1.5), mediatypes.OCI_MANIFEST, "valid size"),
        (with_layer(digest=B), mediatypes.OCI_MANIFEST, "valid size"),
        (with_layer(digest="x", size=1), mediatypes.OCI_MANIFEST, "invalid digest"),
    ],
)
def test_unusable_manifests_are_refused(document, media_type, words):
    """The message names the document and what is wrong with it."""
    with pytest.raises(InvalidDocument, match=f"^app.*{words}"):
        read_manifest(raw(document), media_type, "app")


def test_old_schema_gets_a_hint():
    """Images of schema 1 are explained."""
    with pytest.raises(InvalidDocument) as caught:
        read_manifest(raw({"schemaVersion": 1}), mediatypes.DOCKER_MANIFEST_V1, "app")
    assert "schema 1" in (caught.value.hint or "")


def test_docker_config():
    """A configuration of Docker is read; what we do not know in it survives being written again."""
    config = config_of(DOCKER_CONFIG)
    assert config.platform == Platform(os="linux", architecture="amd64", variant="v2", os_version="1.2")
    assert config.config.exposed_ports == ("80/tcp", "53/udp")
    assert config.config.cmd is None
    assert config.config.healthcheck == Healthcheck(
        test=("CMD-SHELL", "true"), interval=30_000_000_000, retries=3
    )
    assert [entry.empty_layer for entry in config.history] == [False, True]
    again = config.to_json()
    kept = {key: value for key, value in DOCKER_CONFIG["config"].items() if value is not None}
    assert again.pop("config") == kept
    assert again == {key: value for key, value in DOCKER_CONFIG.items() if key != "config"}


def test_config_round_trip_of_the_document():
    """A configuration that we write is read back to the same value."""
    document = author_config(config_of(DOCKER_CONFIG))
    assert read_config(document.raw, document.descriptor, "app").value == document.value
    assert document.descriptor == describe(document.raw, mediatypes.OCI_CONFIG)


def test_null_members_everywhere():
    """Null, as Go writes what was never set, means not set."""
    nothing = dict.fromkeys(("config", "history", "rootfs", "created", "author", "os.features"))
    assert config_of({"os": "linux", "architecture": "amd64", **nothing}) == config_of({})
    members = ("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels")
    more = ("StopSignal", "ArgsEscaped", "Healthcheck", "Shell", "OnBuild", "Hostname")
    assert RunConfig.from_json(dict.fromkeys(members + more)) == RunConfig()


def test_set_but_empty_is_kept():
    """An empty command is a command; it resets that of the base image."""
    config = RunConfig.from_json({"Cmd": [], "Entrypoint": [], "Shell": []})
    assert (config.cmd, config.entrypoint, config.shell) == ((), (), ())
    assert config.to_json() == {"Cmd": [], "Entrypoint": [], "Shell": []}


def test_history_entry_without_members_counts():
    """An empty history entry stands for a layer."""
    assert config_of({"history": [{}, {"empty_layer": True}]}).history == (
        History(),
        History(empty_layer=True),
    )


@pytest.mark.parametrize("diff_ids", ["x", 3, ["x"], [None]])
def test_unusable_layer_lists_are_refused(diff_ids):
    """Without its layers a configuration is of no use."""
    with pytest.raises(InvalidDocument, match="config of app"):
        config_of({"rootfs": {"diff_ids": diff_ids}})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def with_members(*names: str) -> st.SearchStrategy[dict]:
    return st.dictionaries(st.sampled_from(names), json_values, max_size=len(names))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "config": json_values
            | with_members("Env", "Labels", "Cmd", "ExposedPorts", "Volumes", "Healthcheck"),
            "rootfs": json_values | with_members("type", "diff_ids"),
            "history": json_values | st.lists(with_members("created", "empty_layer")),
            "created": json_values,
            "os": json_values,
            "architecture": json_values,
            "os.features": json_values,
            "x": json_values,
        },
    )
)
def test_any_object_is_a_config_or_refused(value):
    """Whatever a registry serves is read or refused with the one error; what is read can be written."""
    with contextlib.suppress(InvalidDocument):
        config = config_of(value)
        again = config_of(jsonbytes.decode_object(author_config(config).raw, "again"))
        assert author_config(again).raw == author_config(config).raw


@given(with_members("Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"))
def test_any_object_is_a_healthcheck(value):
    """A health check of any shape is read."""
    check = Healthcheck.from_json(value)
    assert Healthcheck.from_json(check.to_json()) == check


descriptors = with_members("mediaType", "digest", "size", "platform", "annotations", "urls", "artifactType")


@given(
    st.fixed_dictionaries(
        {"schemaVersion": st.just(2)},
        optional={
            "mediaType": st.sampled_from(mediatypes.ALL_MANIFESTS) | json_values,
            "config": descriptors | json_values,
            "layers": st.lists(descriptors | json_values, max_size=3) | json_values,
            "manifests": st.lists(descriptors | json_values, max_size=3) | json_values,
            "subject": descriptors | json_values,
            "annotations": json_values,
        },
    ),
    st.sampled_from(("", *mediatypes.ALL_MANIFESTS)),
)
def test_any_object_is_a_manifest_or_refused(value, media_type):
    """Whatever a client pushes is read, or refused with the one error."""
    with contextlib.suppress(InvalidDocument):
        read_manifest(jsonbytes.encode(value), media_type, "it")


@given(
    st.builds(
        Descriptor,
        media_type=st.sampled_from([mediatypes.OCI_LAYER, ""]),
        digest=st.binary(max_size=2).map(Digest.of),
        size=st.integers(0, 2**63),
        platform=st.none() | st.just(Platform(os="linux", architecture="arm", variant="v6")),
        annotations=st.dictionaries(st.text(), st.text(), max_size=3),
        urls=st.lists(st.text(), max_size=2).map(tuple),
        artifact_type=st.sampled_from(["", "a/b"]),
    )
)
def test_descriptor_round_trip(value):
    """A descriptor keeps everything; equal ones have equal hashes, whatever their annotations."""
    again = Descriptor.from_json(value.to_json(), "it")
    assert again == value
    assert hash(again) == hash(value)


def test_images_pair_layers_with_diff_ids():
    """The layers of an image know both of their digests; a mismatch in number is refused."""
    config = author_config(config_of({"rootfs": {"diff_ids": [A]}}))
    layer = Descriptor(media_type=mediatypes.OCI_LAYER_GZIP, digest=Digest.parse(B), size=1)
    image = Image(author_manifest(Manifest(config=config.descriptor, layers=(layer,))), config)
    assert image.layers == (Layer(Digest.parse(A), layer),)
    assert image.id == config.digest
    with pytest.raises(InvalidDocument, match="2 layers in the manifest, 1 in the configuration"):
        _ = Image(author_manifest(Manifest(config=config.descriptor, layers=(layer, layer))), config).layers


def test_chain_id():
    """The ChainID is that of the specification's recursion."""
    a, b = Digest.parse(A), Digest.parse(B)
    assert chain_id(()) is None
    assert chain_id((a,)) == a
    assert chain_id((a, b)) == Digest.of(f"{A} {B}".encode())
    assert chain_id((a, b, a)) == Digest.of(f"{chain_id((a, b))} {A}".encode())


@pytest.mark.parametrize(
    ("media_type", "compression"),
    [
        (mediatypes.OCI_LAYER, "none"),
        (mediatypes.OCI_LAYER_GZIP, "gzip"),
        (mediatypes.OCI_LAYER_ZSTD, "zstd"),
        (mediatypes.DOCKER_LAYER, "none"),
        (mediatypes.DOCKER_LAYER_GZIP, "gzip"),
        (mediatypes.DOCKER_LAYER_FOREIGN_GZIP, "gzip"),
        (mediatypes.DOCKER_LAYER + ".zstd", "zstd"),
    ],
)
def test_layer_types(media_type, compression):
    """Media types say how a layer is compressed, and the other way round."""
    assert mediatypes.layer_compression(media_type) == compression
    for docker in (False, True):
        written = mediatypes.layer_type(compression, docker=docker)
        assert mediatypes.layer_compression(written) == compression
