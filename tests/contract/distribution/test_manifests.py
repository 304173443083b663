"""Manifests: what is accepted, and that it is served byte for byte."""

import json

import pytest

from oci_image import mediatypes
from oci_image.digest import Digest
from oci_image.jsonbytes import encode
from registry.server.app import create_app
from registry.server.config import RegistryConfig
from registry.server.policies import Policy
from tests.contract.distribution.exchange import (
    CONFIG,
    DATA,
    D,
    chunks,
    describe,
    errors,
    image,
    push_blob,
    push_image,
    put,
)


async def test_g17_every_missing_blob_has_its_error(client):
    """One entry per digest, which the detail names (G40); subject and foreign layers are exempt."""
    missing = [describe(b"one"), describe(b"two"), describe(b"one")]
    answer = await put(client, "1", image(missing))
    assert answer.status == 400
    body = (await answer.json())["errors"]
    assert [row["code"] for row in body] == ["MANIFEST_BLOB_UNKNOWN"] * 3
    named = {row["detail"]["digest"] for row in body}
    assert named == {str(Digest.of(data)) for data in (CONFIG, b"one", b"two")}
    await push_blob(client, CONFIG)
    foreign = [
        describe(b"f", mediatypes.DOCKER_LAYER_FOREIGN_GZIP),
        describe(b"g", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
        describe(b"h", urls=["https://example.com/h"]),
    ]
    assert (await put(client, "1", image(foreign, subject=describe(b"s")))).status == 201


async def test_g17_the_entries_of_an_index_must_be_there(client):
    """Manifests of the repository; a missing one is named."""
    raw = await push_image(client)
    index = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX}
    good = encode(index | {"manifests": [describe(raw, mediatypes.OCI_MANIFEST)]})
    assert (await put(client, "i", good, media_type=mediatypes.OCI_INDEX)).status == 201
    bad = encode(index | {"manifests": [describe(b"gone", mediatypes.OCI_MANIFEST)]})
    answer = await put(client, "i", bad, media_type=mediatypes.OCI_INDEX)
    assert await errors(answer) == ["MANIFEST_BLOB_UNKNOWN"]
    nested = encode(index | {"manifests": [describe(good, mediatypes.OCI_INDEX)]})
    assert (await put(client, "n", nested, media_type=mediatypes.OCI_INDEX)).status == 201


async def test_g17_verification_of_references_can_be_turned_off(aiohttp_client, store):
    """For sparse images and indexes, whose other parts live elsewhere."""
    client = await aiohttp_client(create_app(RegistryConfig(verify_references=False), store))
    assert (await put(client, "1", image([describe(b"elsewhere")]))).status == 201


async def test_g17_some_repositories_may_be_sparse(aiohttp_client, store):
    """As their policy says; others are as strict as ever."""
    config = RegistryConfig(policies=(Policy(repositories="partial/**", sparse=True),))
    client = await aiohttp_client(create_app(config, store))
    raw = image([describe(b"elsewhere")])
    assert (await put(client, "1", raw, repository="partial/app")).status == 201
    answer = await put(client, "1", raw, repository="whole/app")
    assert (answer.status, await errors(answer)) == (400, ["MANIFEST_BLOB_UNKNOWN"] * 2)


async def test_g18_a_wrong_size_is_refused(client):
    """Clients would fail to pull what both distributions accept."""
    await push_blob(client, CONFIG)
    await push_blob(client)
    answer = await put(client, "1", image([describe(DATA) | {"size": 11}]))
    assert answer.status == 400
    assert await errors(answer) == ["MANIFEST_INVALID"]
    assert (await answer.json())["errors"][0]["detail"]["digest"] == str(D)


async def test_g19_manifests_are_verbatim(client):
    """Blanks, order and unknown members are part of the digest."""
    await push_blob(client, CONFIG)
    raw = image(foo={"b": 1, "a": 2}).replace(b",", b" ,\n") + b"\n\n  "
    answer = await put(client, "1", raw)
    assert answer.headers["Docker-Content-Digest"] == str(Digest.of(raw))
    assert await (await client.get(f"/v2/lib/app/manifests/{Digest.of(raw)}")).read() == raw
    answer = await put(client, Digest.of(raw.strip()), raw)
    assert answer.status == 400
    assert await errors(answer) == ["DIGEST_INVALID"]


@pytest.mark.parametrize(
    ("sent", "stated", "status", "served"),
    [
        (mediatypes.OCI_MANIFEST + "; charset=utf-8", mediatypes.OCI_MANIFEST, 201, mediatypes.OCI_MANIFEST),
        ("application/octet-stream", mediatypes.OCI_MANIFEST, 201, mediatypes.OCI_MANIFEST),
        ("application/json", mediatypes.DOCKER_MANIFEST, 201, mediatypes.DOCKER_MANIFEST),
        (mediatypes.OCI_MANIFEST, None, 201, mediatypes.OCI_MANIFEST),
        ("application/octet-stream", None, 201, mediatypes.OCI_MANIFEST),
        (mediatypes.DOCKER_MANIFEST, mediatypes.OCI_MANIFEST, 400, None),
        (mediatypes.OCI_INDEX, None, 400, None),
        (mediatypes.DOCKER_MANIFEST_V1_SIGNED, None, 400, None),
        ("application/vnd.example.thing+json", "application/vnd.example.thing+json", 201, "same"),
    ],
)
async def test_g20_media_types(client, sent, stated, status, served):
    """Parameters are ignored, a generic type gives way to the document's, a contradiction is refused."""
    await push_blob(client, CONFIG)
    value = json.loads(image())
    del value["mediaType"]
    if stated:
        value["mediaType"] = stated
    answer = await put(client, "1", encode(value), media_type=sent)
    assert answer.status == status
    if served:
        got = await client.get("/v2/lib/app/manifests/1")
        assert got.headers["Content-Type"] == (stated if served == "same" else served)


async def test_g21_manifests_have_up_to_4_mib(client):
    """That much is accepted; one byte more is a 413, announced or not."""
    await push_blob(client, CONFIG)
    limit = RegistryConfig().manifest_limit
    frame = len(image(annotations={"a": ""}))
    raw = image(annotations={"a": "x" * (limit - frame)})
    assert len(raw) == limit
    assert (await put(client, "big", raw)).status == 201
    for body in (raw + b" ", chunks(raw, b" ")):
        answer = await put(client, "bigger", body)
        assert answer.status == 413
        assert await errors(answer) == ["SIZE_INVALID"]


@pytest.mark.parametrize(
    "accept", [None, "*/*", "text/html", "application/vnd.docker.distribution.manifest.v2+json"]
)
async def test_g22_accept_does_not_hide_a_manifest(client, accept):
    """What is stored is served as it is stored."""
    raw = await push_image(client)
    answer = await client.get("/v2/lib/app/manifests/1", headers={"Accept": accept} if accept else {})
    assert (answer.status, await answer.read()) == (200, raw)
    assert answer.headers["Content-Type"] == mediatypes.OCI_MANIFEST


async def test_g23_blobs_and_manifests_are_apart(client):
    """A manifest is no blob and a blob is no manifest, unless it was pushed as both."""
    raw = await push_image(client)
    assert (await client.head(f"/v2/lib/app/blobs/{Digest.of(raw)}")).status == 404
    assert (await client.get(f"/v2/lib/app/manifests/{Digest.of(CONFIG)}")).status == 404
    await push_blob(client, raw)
    assert await (await client.get(f"/v2/lib/app/blobs/{Digest.of(raw)}")).read() == raw


async def test_g29_deleting(client):
    """A tag once; a digest with all its tags."""
    raw = await push_image(client, "a")
    for tag in ("b", "c"):
        await put(client, tag, raw)
    assert (await client.delete("/v2/lib/app/manifests/a")).status == 202
    again = await client.delete("/v2/lib/app/manifests/a")
    assert (again.status, await errors(again)) == (404, ["MANIFEST_UNKNOWN"])
    assert (await client.get("/v2/lib/app/manifests/b")).status == 200
    assert (await client.delete(f"/v2/lib/app/manifests/{Digest.of(raw)}")).status == 202
    for reference in ("b", "c", Digest.of(raw)):
        assert (await client.get(f"/v2/lib/app/manifests/{reference}")).status == 404
    assert (await (await client.get("/v2/lib/app/tags/list")).json())["tags"] == []
    assert (await (await client.get("/v2/_catalog")).json())["repositories"] == []


async def test_g35_manifests_tell_their_digest(client):
    """GET and HEAD by tag and by digest, with the length of the whole."""
    raw = await push_image(client)
    for reference in ("1", Digest.of(raw)):
        for method in ("GET", "HEAD"):
            answer = await client.request(method, f"/v2/lib/app/manifests/{reference}")
            assert answer.status == 200
            assert answer.headers["Docker-Content-Digest"] == str(Digest.of(raw))
            assert answer.headers["Content-Length"] == str(len(raw))
            assert await answer.read() == (raw if method == "GET" else b"")


@pytest.mark.parametrize(
    "media_type",
    [
        mediatypes.OCI_LAYER_ZSTD,
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        "application/vnd.dev.cosign.simplesigning.v1+json",
        "application/vnd.in-toto+json",
    ],
)
async def test_g36_layers_of_every_type_are_accepted(client, media_type):
    """There is no list of allowed types; the config's type is the artifact's (helm, cosign, attestations)."""
    await push_blob(client)
    await push_blob(client, CONFIG)
    config = describe(CONFIG, "application/vnd.cncf.helm.config.v1+json")
    answer = await put(client, "1", image([describe(DATA, media_type)], config=config))
    assert answer.status == 201


async def test_a_read_after_a_change_sees_it(client):
    """Caches are invisible: every answer reflects all changes that were answered before."""
    await push_blob(client, CONFIG)
    for number in range(20):
        raw = image(annotations={"n": str(number)})
        await put(client, "t", raw)
        answer = await client.head("/v2/lib/app/manifests/t")
        assert answer.headers["Docker-Content-Digest"] == str(Digest.of(raw))
    await client.delete(f"/v2/lib/app/manifests/{Digest.of(raw)}")
    assert (await client.head("/v2/lib/app/manifests/t")).status == 404
    assert (await client.head(f"/v2/lib/app/blobs/{Digest.of(CONFIG)}")).status == 200
    await client.delete(f"/v2/lib/app/blobs/{Digest.of(CONFIG)}")
    assert (await client.head(f"/v2/lib/app/blobs/{Digest.of(CONFIG)}")).status == 404
