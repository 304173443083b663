"""Documents that are meant to hurt."""

import pytest

from oci_image import mediatypes
from oci_image.digest import Digest
from oci_image.jsonbytes import encode
from tests.contract.distribution.exchange import CONFIG, describe, errors, image, push_blob, put

BOMBS = {
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep member": b'{"schemaVersion":2,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nan": b'{"schemaVersion":2,"x":NaN}',
    "infinity": b'{"schemaVersion":2,"x":-Infinity}',
    "duplicate": image().replace(b"{", b'{"schemaVersion":2,', 1),
    "surrogate": image(annotations={"a": "@"}).replace(b"@", b"\\ud800"),
    "utf-16": image().decode().encode("utf-16"),
    "latin-1": image(annotations={"a": "@"}).replace(b"@", b"\xe9"),
    "empty": b"",
    "null": b"null",
    "list": b"[]",
    "truncated": image()[:-5],
    "big number": b'{"schemaVersion":' + b"9" * 5000 + b"}",
    "negative size": image([describe(b"x") | {"size": -1}]),
    "huge size": image([describe(b"x") | {"size": 12345}]).replace(b"12345", b"1e999"),
    "text size": image([describe(b"x") | {"size": "1"}]),
    "bad digest": image([describe(b"x") | {"digest": "sha256:x"}]),
    "bad subject": image(subject={"digest": "../../x", "size": 1, "mediaType": "x"}),
    "layers no list": image().replace(b'"layers":[]', b'"layers":{}'),
    "no config": encode({"schemaVersion": 2, "mediaType": mediatypes.OCI_MANIFEST, "layers": []}),
    "type no text": encode({"schemaVersion": 2, "mediaType": 5}),
    "type with newline": encode({"schemaVersion": 2, "mediaType": "a\r\nX-Evil: 1"}),
    "schema 1": encode({"schemaVersion": 1, "name": "x"}),
}


@pytest.mark.parametrize("name", BOMBS)
async def test_hostile_manifests_are_400(client, name):
    """Fast, without an exception, and nothing is stored."""
    await push_blob(client, CONFIG)
    answer = await put(client, "1", BOMBS[name], media_type="application/octet-stream")
    assert answer.status == 400, await answer.text()
    assert await errors(answer) == ["MANIFEST_INVALID"]
    assert (await client.get("/v2/lib/app/manifests/1")).status == 404


async def test_a_manifest_with_very_many_layers(client):
    """The limit is the size in bytes; such a manifest does not stop others from being served."""
    await push_blob(client, CONFIG)
    await push_blob(client, b"")
    layer = {"mediaType": "x", "digest": str(Digest.of(b"")), "size": 0}
    raw = image([layer] * 30_000)
    assert (await put(client, "1", raw)).status == 201
