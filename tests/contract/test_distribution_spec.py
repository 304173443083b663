"""The /v2 API as the OCI distribution-spec and its clients expect it, over every storage."""

import asyncio
import io
import json
import socket

import pytest
from yarl import URL

from oci_image import mediatypes
from oci_image.digest import Digest
from oci_image.jsonbytes import encode
from registry.protocol import headers, routes
from registry.server.app import create_app
from registry.server.config import RegistryConfig
from registry.server.store.filesystem import FilesystemStore
from registry.server.store.memory import MemoryStore

DATA = b"0123456789"
D = Digest.of(DATA)
D512 = Digest.of(DATA, "sha512")
ABSENT = Digest.of(b"absent")
CONFIG = b"{}"
UPLOADS = "/v2/lib/app/blobs/uploads/"
OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.fixture(params=["memory", "filesystem"])
def store(request, tmp_path):
    made = MemoryStore() if request.param == "memory" else FilesystemStore(str(tmp_path / "root"))
    yield made
    made.close()


@pytest.fixture
async def client(aiohttp_client, store):
    return await aiohttp_client(create_app(RegistryConfig(), store))


async def start(client, repository="lib/app", query=""):
    answer = await client.post(f"/v2/{repository}/blobs/uploads/{query}")
    assert answer.status == 202
    return answer.headers["Location"]


async def push_blob(client, data=DATA, repository="lib/app", algorithm="sha256"):
    digest = Digest.of(data, algorithm)
    answer = await client.post(
        f"/v2/{repository}/blobs/uploads/?digest={digest}", data=io.BytesIO(data), headers=OCTETS
    )
    assert answer.status == 201, await answer.text()
    return digest


def describe(data, media_type=mediatypes.OCI_LAYER, **members):
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)} | members


def image(layers=(), **members):
    value = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": describe(CONFIG, mediatypes.OCI_CONFIG),
        "layers": list(layers),
    }
    return encode(value | members)


async def put(client, reference, raw, repository="lib/app", media_type=mediatypes.OCI_MANIFEST, **more):
    more.setdefault("headers", {"Content-Type": media_type})
    body = io.BytesIO(raw) if isinstance(raw, bytes) else raw
    return await client.put(f"/v2/{repository}/manifests/{reference}", data=body, **more)


async def push_image(client, tag="1", repository="lib/app", **members):
    await push_blob(client, CONFIG, repository)
    raw = image(**members)
    answer = await put(client, tag, raw, repository)
    assert answer.status == 201, await answer.text()
    return raw


async def errors(answer):
    assert answer.content_type == "application/json"
    return [row["code"] for row in (await answer.json())["errors"]]


async def raw_request(client, text, wait=5.0):
    """Send bytes as they are; returns the status and the whole answer."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(text.encode("latin-1") if isinstance(text, str) else text)
    await writer.drain()
    try:
        data = await asyncio.wait_for(reader.read(), wait)
    finally:
        writer.close()
    return int(data.split(b" ", 2)[1]) if data.startswith(b"HTTP/") else None, data


# The table: (method, URL, body, headers) -> (status, code or None, headers that must be there).

SEEDED = {"Docker-Content-Digest": str(D), "Content-Length": "10"}
MANIFEST_METHODS = "DELETE, GET, HEAD, OPTIONS, PUT"

# fmt: off
TABLE = [
    ("GET", "/v2/", None, {}, 200, None, {"Docker-Distribution-Api-Version": "registry/2.0"}),
    ("GET", "/v2", None, {}, 200, None, {}),
    ("HEAD", "/v2/", None, {}, 200, None, {}),
    ("OPTIONS", "/v2/", None, {}, 204, None, {"Allow": "GET, HEAD, OPTIONS"}),
    ("POST", "/v2/", None, {}, 405, "UNSUPPORTED", {"Allow": "GET, HEAD, OPTIONS"}),
    ("GET", "/nowhere", None, {}, 404, "UNSUPPORTED", {"Docker-Distribution-Api-Version": "registry/2.0"}),
    ("GET", "/v2/lib/app", None, {}, 404, "UNSUPPORTED", {}),
    ("GET", "/v1/", None, {}, 404, "UNSUPPORTED", {}),
    ("GET", f"/v2/seed/blobs/{D}", None, {}, 200, None, SEEDED),
    ("HEAD", f"/v2/seed/blobs/{D}", None, {}, 200, None, SEEDED),
    ("HEAD", f"/v2/seed/blobs/{D512}", None, {}, 404, None, {}),
    ("GET", f"/v2/seed/blobs/{ABSENT}", None, {}, 404, "BLOB_UNKNOWN", {}),
    ("GET", f"/v2/other/blobs/{D}", None, {}, 404, "BLOB_UNKNOWN", {}),
    ("GET", "/v2/seed/blobs/sha256:zz", None, {}, 400, "DIGEST_INVALID", {}),
    ("GET", "/v2/seed/blobs/md5:00", None, {}, 400, "DIGEST_INVALID", {}),
    ("PUT", f"/v2/seed/blobs/{D}", b"", {}, 405, "UNSUPPORTED", {"Allow": "DELETE, GET, HEAD, OPTIONS"}),
    ("DELETE", f"/v2/seed/blobs/{ABSENT}", None, {}, 404, "BLOB_UNKNOWN", {}),
    ("DELETE", f"/v2/seed/blobs/{D}", None, {}, 202, None, {}),
    ("GET", "/v2/seed/manifests/1", None, {}, 200, None, {"Content-Type": mediatypes.OCI_MANIFEST}),
    ("GET", "/v2/seed/manifests/2", None, {}, 404, "MANIFEST_UNKNOWN", {}),
    ("GET", f"/v2/seed/manifests/{ABSENT}", None, {}, 404, "MANIFEST_UNKNOWN", {}),
    ("GET", "/v2/none/manifests/1", None, {}, 404, "MANIFEST_UNKNOWN", {}),
    ("GET", "/v2/seed/manifests/sha256:zz", None, {}, 400, "DIGEST_INVALID", {}),
    ("GET", "/v2/seed/manifests/-x", None, {}, 400, "TAG_INVALID", {}),
    ("PUT", "/v2/seed/manifests/.x", b"{}", {}, 400, "TAG_INVALID", {}),
    ("PUT", "/v2/seed/manifests/sha256:zz", b"{}", {}, 400, "DIGEST_INVALID", {}),
    ("POST", "/v2/seed/manifests/1", b"", {}, 405, "UNSUPPORTED", {"Allow": MANIFEST_METHODS}),
    ("DELETE", "/v2/seed/manifests/1", None, {}, 202, None, {}),
    ("DELETE", "/v2/seed/manifests/2", None, {}, 404, "MANIFEST_UNKNOWN", {}),
    ("GET", "/v2/seed/tags/list", None, {}, 200, None, {"Content-Type": "application/json"}),
    ("GET", "/v2/none/tags/list", None, {}, 404, "NAME_UNKNOWN", {}),
    ("GET", "/v2/seed/tags/list?n=-1", None, {}, 400, "PAGINATION_NUMBER_INVALID", {}),
    ("GET", "/v2/seed/tags/list?n=abc", None, {}, 400, "PAGINATION_NUMBER_INVALID", {}),
    ("GET", "/v2/_catalog?n=99999999999999999999", None, {}, 400, "PAGINATION_NUMBER_INVALID", {}),
    ("GET", f"/v2/seed/referrers/{ABSENT}", None, {}, 200, None, {"Content-Type": mediatypes.OCI_INDEX}),
    ("GET", f"/v2/none/referrers/{ABSENT}", None, {}, 200, None, {"Content-Type": mediatypes.OCI_INDEX}),
    ("GET", "/v2/seed/referrers/sha256:zz", None, {}, 400, "DIGEST_INVALID", {}),
    ("GET", "/v2/Seed/tags/list", None, {}, 400, "NAME_INVALID", {}),
    ("GET", "/v2/a..b/manifests/1", None, {}, 400, "NAME_INVALID", {}),
    ("GET", "/v2/_x/tags/list", None, {}, 400, "NAME_INVALID", {}),
    ("GET", f"/v2/{'a' * 256}/tags/list", None, {}, 400, "NAME_INVALID", {}),
    ("POST", "/v2/Seed/blobs/uploads/", b"", {}, 400, "NAME_INVALID", {}),
    ("POST", "/v2/seed/blobs/uploads/?digest=md5:00", b"x", {}, 400, "DIGEST_INVALID", {}),
    ("POST", f"/v2/seed/blobs/uploads/?digest={ABSENT}", b"x", {}, 400, "DIGEST_INVALID", {}),
    ("POST", "/v2/seed/blobs/uploads/?digest-algorithm=md5", b"", {}, 400, "DIGEST_INVALID", {}),
    ("POST", "/v2/seed/blobs/uploads", b"", {}, 202, None, {"Range": "0-0"}),
    ("GET", "/v2/seed/blobs/uploads/", None, {}, 405, "UNSUPPORTED", {"Allow": "OPTIONS, POST"}),
    ("GET", "/v2/seed/blobs/uploads/unknown", None, {}, 404, "BLOB_UPLOAD_UNKNOWN", {}),
    ("PATCH", "/v2/seed/blobs/uploads/unknown", b"x", {}, 404, "BLOB_UPLOAD_UNKNOWN", {}),
    ("PUT", f"/v2/seed/blobs/uploads/unknown?digest={D}", b"", {}, 404, "BLOB_UPLOAD_UNKNOWN", {}),
    ("DELETE", "/v2/seed/blobs/uploads/unknown", None, {}, 404, "BLOB_UPLOAD_UNKNOWN", {}),
    ("PUT", "/v2/seed/manifests/1", b"{}", {"Content-Encoding": "gzip"}, 415, "UNSUPPORTED", {}),
]
# fmt: on


@pytest.mark.parametrize(
    ("method", "url", "body", "sent", "status", "code", "expected"),
    TABLE,
    ids=[f"{row[0]} {row[1][:60]} {row[4]}" for row in TABLE],
)
async def test_the_table(client, method, url, body, sent, status, code, expected):
    """Each request has its status, its error code and its headers."""
    await push_blob(client, DATA, "seed")
    await push_image(client, "1", "seed")
    answer = await client.request(method, URL(url, encoded=True), data=body, headers=sent)
    assert answer.status == status, await answer.text()
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    if code is not None:
        assert await errors(answer) == [code]
    for name, value in expected.items():
        assert answer.headers[name] == value


# Gotchas of real clients, by number.


async def test_g1_a_new_upload_has_the_headers_of_docker(client):
    """202, no body, a relative Location that ends in the identifier, ``Range: 0-0`` (G1, G3)."""
    answer = await client.post(UPLOADS)
    assert answer.status == 202
    assert await answer.read() == b""
    assert answer.headers["Content-Length"] == "0"
    assert answer.headers["Range"] == "0-0"
    location = answer.headers["Location"]
    assert location == f"{UPLOADS}{answer.headers['Docker-Upload-UUID']}"


async def test_g2_the_range_of_an_upload_has_no_unit(client):
    """``0-<last>``; the offset itself is kept by the server even where the header is ambiguous."""
    location = await start(client)
    answer = await client.patch(location, data=b"0")
    assert answer.headers["Range"] == "0-0"
    answer = await client.patch(location, data=b"1", headers={"Content-Range": "1-1"})
    assert (answer.status, answer.headers["Range"]) == (202, "0-1")


async def test_g4_other_parameters_of_a_location_are_harmless(client):
    """Clients append the digest to whatever query there is."""
    location = await start(client)
    answer = await client.put(URL(f"{location}?_state=a%2Bb&digest={D}", encoded=True), data=DATA)
    assert answer.status == 201


async def test_g5_a_gap_is_refused_with_what_is_needed_to_resume(client):
    """416 with Location and Range, and nothing is stored; so is a replay (G8)."""
    location = await start(client)
    for content_range, data in (("0-4", DATA[:5]),):
        answer = await client.patch(location, data=data, headers={"Content-Range": content_range})
        assert answer.status == 202
    for content_range in ("6-9", "0-4", "4-8"):
        length = int(content_range[2:]) - int(content_range[0]) + 1
        answer = await client.patch(location, data=b"x" * length, headers={"Content-Range": content_range})
        assert answer.status == 416
        assert await errors(answer) == ["RANGE_INVALID"]
        assert (answer.headers["Location"], answer.headers["Range"]) == (location, "0-4")
    await client.patch(location, data=DATA[5:], headers={"Content-Range": "5-9"})
    assert (await client.put(f"{location}?digest={D}")).status == 201


@pytest.mark.parametrize("text", ["bytes 5-9/10", "bytes=0-4", "9-0", "x", ""])
async def test_g6_other_forms_of_a_chunks_range_are_400(client, text):
    """Never a 500, and nothing is stored."""
    location = await start(client)
    answer = await client.patch(location, data=b"01234", headers={"Content-Range": text})
    assert answer.status == 400
    assert await errors(answer) == ["BLOB_UPLOAD_INVALID"]
    assert (await client.get(location)).headers["Range"] == "0-0"


async def _chunks(*parts):
    for part in parts:
        yield part


async def test_g7_a_chunk_of_another_length_is_not_stored(client):
    """400 SIZE_INVALID, with a Content-Length or without one."""
    location = await start(client)
    for body in (b"0123", b"012345", _chunks(b"0123"), _chunks(b"0123", b"45"), _chunks(b"x" * 100_000)):
        answer = await client.patch(location, data=body, headers={"Content-Range": "0-4"})
        assert answer.status == 400
        assert await errors(answer) == ["SIZE_INVALID"]
    answer = await client.patch(location, data=_chunks(b"012", b"34"), headers={"Content-Range": "0-4"})
    assert (answer.status, answer.headers["Range"]) == (202, "0-4")
    answer = await client.put(f"{location}?digest={D}", data=DATA[5:], headers={"Content-Range": "5-9"})
    assert answer.status == 201


async def test_g9_a_chunk_is_answered_with_202(client):
    """Location, Range and the identifier again."""
    location = await start(client)
    answer = await client.patch(location, data=_chunks(b"01", b"23"))
    assert answer.status == 202
    assert (answer.headers["Location"], answer.headers["Range"]) == (location, "0-3")
    assert location.endswith(answer.headers["Docker-Upload-UUID"])


async def test_g10_the_last_chunk_may_come_with_the_put(client):
    """With a range or without; out of order it is a 416."""
    location = await start(client)
    await client.patch(location, data=DATA[:5])
    url = f"{location}?digest={D}"
    answer = await client.put(url, data=DATA[6:], headers={"Content-Range": "6-9"})
    assert answer.status == 416
    answer = await client.put(url, data=DATA[5:], headers={"Content-Range": "5-9"})
    assert answer.status == 201
    location = await start(client)
    await client.patch(location, data=DATA[:5])
    assert (await client.put(f"{location}?digest={D}", data=DATA[5:])).status == 201


async def test_g11_one_of_two_racing_chunks_wins(client):
    """No interleaving: the other one gets a 416."""
    location = await start(client)
    go = asyncio.Event()

    async def slow():
        yield b"0" * 70_000
        await go.wait()
        yield b"1" * 70_000

    first = asyncio.ensure_future(client.patch(location, data=slow()))
    await asyncio.sleep(0.2)
    second = await client.patch(location, data=b"2" * 1000)
    third = await client.delete(location)
    go.set()
    assert (await first).status == 202
    assert (second.status, third.status) == (416, 416)
    digest = Digest.of(b"0" * 70_000 + b"1" * 70_000)
    assert (await client.put(f"{location}?digest={digest}")).status == 201


async def test_g11_many_racing_chunks(client):
    """Of chunks for the same offset exactly one is stored."""
    location = await start(client)
    answers = await asyncio.gather(
        *(
            client.patch(location, data=bytes([n]) * 1000, headers={"Content-Range": "0-999"})
            for n in range(20)
        )
    )
    assert sorted(answer.status for answer in answers) == [202] + [416] * 19
    winner = [answer.status for answer in answers].index(202)
    digest = Digest.of(bytes([winner]) * 1000)
    assert (await client.put(f"{location}?digest={digest}")).status == 201


@pytest.mark.parametrize("digest", ["", "?digest=", "?digest=sha256:zz", "?digest=md5:00", "?digest=x"])
async def test_g12_a_put_needs_a_digest(client, digest):
    """Without a usable one it is a 400 and the upload goes on."""
    location = await start(client)
    await client.patch(location, data=DATA)
    answer = await client.put(location + digest)
    assert answer.status == 400
    assert await errors(answer) == ["DIGEST_INVALID"]
    assert (await client.put(f"{location}?digest={D}")).status == 201


async def test_g12_a_wrong_digest_ends_the_upload(client):
    """400, nothing is published, and the upload is gone."""
    location = await start(client)
    answer = await client.put(f"{location}?digest={ABSENT}", data=DATA)
    assert answer.status == 400
    assert await errors(answer) == ["DIGEST_INVALID"]
    assert (await client.head(f"/v2/lib/app/blobs/{ABSENT}")).status == 404
    assert (await client.get(location)).status == 404


@pytest.mark.parametrize("digest", [D, D512])
async def test_g13_a_finished_upload_has_the_digest_that_the_client_gave(client, digest):
    """201, a Location that can be pulled, the digest in the client's algorithm; readable at once (G14)."""
    location = await start(client, query=f"?digest-algorithm={digest.algorithm}")
    answer = await client.put(f"{location}?digest={digest}", data=DATA)
    assert answer.status == 201
    assert answer.headers["Docker-Content-Digest"] == str(digest)
    pulled = await client.get(answer.headers["Location"])
    assert (pulled.status, await pulled.read()) == (200, DATA)
    assert pulled.headers["Docker-Content-Digest"] == str(digest)
    assert (await client.head(f"/v2/lib/app/blobs/{digest}")).status == 200


async def test_g15_an_upload_belongs_to_its_repository(client):
    """Under another name it does not exist."""
    location = await start(client)
    other = location.replace("lib/app", "lib/other")
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        answer = await client.request(method, f"{other}?digest={D}", data=None if method == "GET" else b"")
        assert answer.status == 404


async def test_g16_mounting(client):
    """201 when the blob is there, in the named repository or in any; everything else opens an upload."""
    await push_blob(client, DATA, "source")
    mount = f"/v2/target/blobs/uploads/?mount={D}"
    for url in (f"{mount}&from=source", f"{mount}&from=source&origin=localhost"):
        answer = await client.post(url)
        assert answer.status == 201
        assert answer.headers["Location"] == f"/v2/target/blobs/{D}"
        assert answer.headers["Docker-Content-Digest"] == str(D)
    assert await (await client.get(f"/v2/target/blobs/{D}")).read() == DATA
    anonymous = await client.post(f"/v2/third/blobs/uploads/?mount={D}")
    assert anonymous.status == 201
    for query in (
        f"mount={ABSENT}&from=source",
        f"mount={D}&from=nowhere",
        f"mount={D}&from=../../x",
        f"mount={ABSENT}",
        "mount=sha256:zz&from=source",
        "from=source",
    ):
        answer = await client.post(URL(f"/v2/fresh/blobs/uploads/?{query}", encoded=True))
        assert answer.status == 202, query
        assert (await client.get(answer.headers["Location"])).status == 204


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
    for body in (raw + b" ", _chunks(raw, b" ")):
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


NAMES = [
    "a/blobs/uploads",
    "x/tags/list",
    "blobs/uploads",
    "manifests/blobs",
    "tags/list",
    "referrers/a",
    "a__b/c--d",
]


@pytest.mark.parametrize("name", NAMES)
async def test_g25_names_that_look_like_routes(client, name):
    """The suffix decides: such a repository works as any other one."""
    raw = await push_image(client, "list", name)
    location = await start(client, name)
    assert (await client.put(f"{location}?digest={D}", data=DATA)).status == 201
    assert await (await client.get(f"/v2/{name}/manifests/list")).read() == raw
    assert await (await client.get(f"/v2/{name}/blobs/{D}")).read() == DATA
    assert (await (await client.get(f"/v2/{name}/tags/list")).json()) == {"name": name, "tags": ["list"]}
    assert (await (await client.get("/v2/_catalog")).json()) == {"repositories": [name]}


CORPUS = [
    "/v2/../../etc/passwd",
    "/v2/a/../../b/manifests/1",
    "/v2/%2e%2e/%2e%2e/manifests/1",
    "/v2/a%2f..%2fb/manifests/1",
    "/v2/a/manifests/..%2f..%2fx",
    "/v2/a/manifests/%2e%2e",
    "/v2/a/manifests/..",
    "/v2/a//b/manifests/1",
    "/v2//manifests/1",
    "/v2/a/blobs/uploads/../../x",
    "/v2/a/blobs/uploads/%2e%2e",
    "/v2/a/blobs/..%00",
    "/v2/a%00/manifests/1",
    "/v2/a\\b/manifests/1",
    "/v2/a/blobs/sha256:" + "../" * 21 + "x",
    "/v2/a/blobs/sha256:" + "A" * 64,
    "/v2/" + "a" * 4096 + "/manifests/1",
    "/v2/~/manifests/1",
    "/v2/a~b/tags/list",
    "/v2/.a/tags/list",
    "/v2/%ff/tags/list",
    "/v2/a/tags/list%2f",
]


@pytest.mark.parametrize("path", CORPUS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST", "PATCH"])
async def test_g26_no_path_leaves_the_repository(client, tmp_path, path, method):
    """A 4xx in the protocol's form, no redirect, no file."""
    before = {str(entry) for entry in tmp_path.rglob("*")}
    status, data = await raw_request(
        client, f"{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )
    assert status in (400, 404, 405), data
    assert b"Location" not in data
    assert {str(entry) for entry in tmp_path.rglob("*")} == before


async def test_g26_the_absolute_form_is_understood(client):
    """A proxy may send the whole URL."""
    text = "GET http://somewhere:80/v2/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    assert (await raw_request(client, text))[0] == 200


async def test_g27_a_repository_without_tags_has_an_empty_list(client):
    """``[]``, never ``null``, and also past the end."""
    await push_blob(client)
    assert await (await client.get("/v2/lib/app/tags/list")).json() == {"name": "lib/app", "tags": []}
    await push_image(client)
    assert (await (await client.get("/v2/lib/app/tags/list?last=zzz")).json())["tags"] == []


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


async def test_g31_bytes_before_a_disconnect_are_kept(client):
    """The status says how many, and the upload goes on from there."""
    location = await start(client)
    reader, writer = await asyncio.open_connection(client.host, client.port)
    head = f"PATCH {location} HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n"
    writer.write(head.encode() + b"x" * 300_000)
    await writer.drain()
    await asyncio.sleep(0.3)
    writer.transport.abort()
    del reader
    for _ in range(50):
        held = headers.parse_upload_range((await client.get(location)).headers["Range"])
        if held:
            break
        await asyncio.sleep(0.1)
    assert 0 < held <= 300_000
    for _ in range(50):
        answer = await client.patch(location, data=b"y", headers={"Content-Range": f"{held}-{held}"})
        if answer.status == 202:
            break
        await asyncio.sleep(0.1)
    digest = Digest.of(b"x" * held + b"y")
    assert (await client.put(f"{location}?digest={digest}")).status == 201


@pytest.mark.parametrize("media_type", ["text/plain", "application/vnd.oci.image.layer.v1.tar+gzip", "a"])
async def test_g32_chunks_may_have_any_content_type(client, media_type):
    """Streaming clients send the layer's type, others none."""
    location = await start(client)
    answer = await client.patch(location, data=DATA, headers={"Content-Type": media_type})
    assert answer.status == 202


async def test_g33_errors_come_before_the_body_is_asked_for(client):
    """No ``100 Continue`` for what is refused; one for what is wanted."""
    expect = "Host: h\r\nExpect: 100-continue\r\nContent-Length: 10\r\nConnection: close\r\n\r\n"
    status, data = await raw_request(client, f"PUT {UPLOADS}unknown?digest={D} HTTP/1.1\r\n{expect}")
    assert status == 404
    assert b"100 Continue" not in data
    location = await start(client)
    status, data = await raw_request(client, f"PUT {location}?digest={D} HTTP/1.1\r\n{expect}0123456789")
    assert data.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 ")
    assert status == 100


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


async def test_g37_a_tls_greeting_is_answered_fast(client):
    """A plain port does not hang on a client that tries https first."""
    hello = bytes.fromhex("16030100") + b"\xc8" + bytes.fromhex("010000c40303") + b"x" * 200
    status, _ = await raw_request(client, hello, wait=3)
    assert status in (None, 400)


async def test_g38_cancelling_an_upload(client):
    """204, and then it is unknown to every verb."""
    location = await start(client)
    await client.patch(location, data=DATA)
    assert (await client.delete(location)).status == 204
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        answer = await client.request(method, f"{location}?digest={D}")
        assert answer.status == 404
        assert await errors(answer) == ["BLOB_UPLOAD_UNKNOWN"]


async def test_g39_blobs_can_be_cached_and_are_never_encoded(client):
    """ETag, a long life, ranges; no Content-Encoding whatever the client accepts."""
    await push_blob(client)
    url = f"/v2/lib/app/blobs/{D}"
    answer = await client.get(url, headers={"Accept-Encoding": "gzip, zstd"})
    assert answer.headers["ETag"] == f'"{D}"'
    assert "max-age" in answer.headers["Cache-Control"]
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert "Content-Encoding" not in answer.headers
    for method in ("GET", "HEAD"):
        again = await client.request(method, url, headers={"If-None-Match": f'"{D}"'})
        assert (again.status, await again.read()) == (304, b"")
    other = await client.get(url, headers={"If-None-Match": '"x"'})
    assert other.status == 200


# Ranges.

BIG = bytes(range(256)) * 4096  # 1 MiB: not sent from memory
RANGES = [
    ("bytes=0-9", [(0, 10)]),
    ("bytes=1048566-", [(1048566, 1048576)]),
    ("bytes=-5", [(1048571, 1048576)]),
    ("bytes=1000000-9999999", [(1000000, 1048576)]),
    ("bytes=0-0,100-199,-1", [(0, 1), (100, 200), (1048575, 1048576)]),
]


@pytest.mark.parametrize(("text", "parts"), RANGES)
async def test_ranges_of_a_blob(client, text, parts):
    """206 with exactly the bytes; several ranges as multipart."""
    digest = await push_blob(client, BIG)
    answer = await client.get(f"/v2/lib/app/blobs/{digest}", headers={"Range": text})
    assert answer.status == 206
    body = await answer.read()
    assert int(answer.headers["Content-Length"]) == len(body)
    if len(parts) == 1:
        start, stop = parts[0]
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(BIG)}"
        assert body == BIG[start:stop]
        return
    boundary = answer.headers["Content-Type"].partition("boundary=")[2]
    sections = body.split(b"\r\n--" + boundary.encode())
    assert sections[0] == b""
    assert sections[-1] == b"--\r\n"
    for section, (start, stop) in zip(sections[1:-1], parts, strict=True):
        head, _, content = section.partition(b"\r\n\r\n")
        assert f"Content-Range: bytes {start}-{stop - 1}/{len(BIG)}".encode() in head
        assert content == BIG[start:stop]


@pytest.mark.parametrize("text", ["bytes=1048576-", "bytes=500-0", "bytes=-0"])
async def test_ranges_outside_a_blob(client, text):
    """416 with the size, and a proper body."""
    digest = await push_blob(client, BIG)
    answer = await client.get(f"/v2/lib/app/blobs/{digest}", headers={"Range": text})
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(BIG)}"
    assert await errors(answer) == ["RANGE_INVALID"]


@pytest.mark.parametrize("sent", [{"Range": "bytes=x"}, {"Range": "bytes=0-1", "If-Range": '"other"'}])
async def test_ignored_ranges(client, sent):
    """An unparsable range, or one for other content, gets the whole."""
    await push_blob(client)
    answer = await client.get(f"/v2/lib/app/blobs/{D}", headers=sent)
    assert (answer.status, await answer.read()) == (200, DATA)
    answer = await client.get(f"/v2/lib/app/blobs/{D}", headers={"Range": "bytes=0-1", "If-Range": f'"{D}"'})
    assert (answer.status, await answer.read()) == (206, DATA[:2])


@pytest.mark.parametrize("size", [0, 1, 262_143, 262_144, 262_145, 3_000_001])
async def test_blobs_of_every_size_come_back(client, size):
    """Sent from memory or by the kernel, verified or trusted: the same bytes."""
    data = (b"abc" * (size // 3 + 1))[:size]
    digest = await push_blob(client, data)
    for _ in range(2):
        answer = await client.get(f"/v2/lib/app/blobs/{digest}")
        assert answer.headers["Content-Length"] == str(size)
        assert await answer.read() == data


# Tags, pages, conditions.


async def test_tags_come_in_pages(client):
    """Sorted; ``last`` is exclusive and works alone; Link leads through all of them."""
    raw = await push_image(client, "t0")
    names = [f"t{number}" for number in range(7)] + ["Z", "_", "a.b"]
    for name in names:
        await put(client, name, raw)
    expected = sorted(names)

    async def tags(query):
        answer = await client.get(f"/v2/lib/app/tags/list{query}")
        return (await answer.json())["tags"], answer.headers.get("Link")

    assert await tags("") == (expected, None)
    assert await tags("?n=0") == ([], None)
    assert await tags("?n=100") == (expected, None)
    assert await tags(f"?n={len(expected)}") == (expected, None)
    assert await tags(f"?last={expected[3]}") == (expected[4:], None)
    following = f'</v2/lib/app/tags/list?last={expected[5]}&n=2>; rel="next"'
    assert await tags(f"?n=2&last={expected[3]}x") == (expected[4:6], following)
    collected, url = [], "/v2/lib/app/tags/list?n=3"
    while url:
        answer = await client.get(url)
        collected += (await answer.json())["tags"]
        url = headers.parse_next_link(answer.headers.get("Link", ""))
    assert collected == expected


async def test_pages_have_a_limit(aiohttp_client, store):
    """A larger ``n`` is cut, and Link says that there is more."""
    client = await aiohttp_client(create_app(RegistryConfig(page_limit=2), store))
    raw = await push_image(client, "a")
    for tag in ("b", "c"):
        await put(client, tag, raw)
    for query in ("", "?n=100"):
        answer = await client.get(f"/v2/lib/app/tags/list{query}")
        assert (await answer.json())["tags"] == ["a", "b"]
        assert headers.parse_next_link(answer.headers["Link"]) == "/v2/lib/app/tags/list?last=b&n=2"


async def test_the_catalog_comes_in_pages(client):
    """Sorted by whole names, with Link."""
    names = ["b", "a/b", "a-b", "a"]
    for name in names:
        await push_image(client, "1", name)
    answer = await client.get("/v2/_catalog?n=3")
    assert await answer.json() == {"repositories": sorted(names)[:3]}
    answer = await client.get(headers.parse_next_link(answer.headers["Link"]))
    assert await answer.json() == {"repositories": ["b"]}
    assert "Link" not in answer.headers


async def test_several_tags_in_one_push(client):
    """One OCI-Tag for each; all of them are there at once; a bad one refuses all."""
    await push_blob(client, CONFIG)
    raw = image()
    tags = [f"t{number}" for number in range(12)]
    url = f"/v2/lib/app/manifests/{Digest.of(raw)}?" + "&".join(f"tag={tag}" for tag in tags)
    answer = await client.put(url, data=raw, headers={"Content-Type": mediatypes.OCI_MANIFEST})
    assert answer.status == 201
    assert answer.headers.getall("OCI-Tag") == tags
    assert sorted((await (await client.get("/v2/lib/app/tags/list")).json())["tags"]) == sorted(tags)
    answer = await client.put(f"{url}&tag=-bad", data=raw)
    assert await errors(answer) == ["TAG_INVALID"]
    answer = await client.put(url + "".join(f"&tag=x{number}" for number in range(100)), data=raw)
    assert answer.status == 414


async def test_compare_and_swap_on_a_tag(client):
    """``If-Match`` and ``If-None-Match`` guard pushes and deletions with 412."""
    await push_blob(client, CONFIG)
    first, second = image(), image(annotations={"n": "2"})
    kind = {"Content-Type": mediatypes.OCI_MANIFEST}
    etag = f'"{Digest.of(first)}"'
    assert (await put(client, "t", first, headers=kind | {"If-Match": etag})).status == 412
    assert (await put(client, "t", first, headers=kind | {"If-None-Match": "*"})).status == 201
    answer = await put(client, "t", second, headers=kind | {"If-None-Match": "*"})
    assert answer.status == 412
    await errors(answer)
    assert (await client.get(f"/v2/lib/app/manifests/{Digest.of(second)}")).status == 404
    assert (await put(client, "t", second, headers=kind | {"If-Match": etag})).status == 201
    assert (await client.delete("/v2/lib/app/manifests/t", headers={"If-Match": etag})).status == 412
    current = (await client.head("/v2/lib/app/manifests/t")).headers["ETag"]
    assert current == f'"{Digest.of(second)}"'
    assert (await client.get("/v2/lib/app/manifests/t", headers={"If-None-Match": current})).status == 304
    assert (await client.delete("/v2/lib/app/manifests/t", headers={"If-Match": current})).status == 202


async def test_racing_appends_lose_nothing(client):
    """Clients that add to one index with ``If-Match`` keep every entry (the fall-back of referrers)."""
    tag, kind = "sha256-x", {"Content-Type": mediatypes.OCI_INDEX}
    base = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX}
    await put(client, tag, encode(base | {"manifests": []}), headers=kind)

    async def append(number):
        while True:
            answer = await client.get(f"/v2/lib/app/manifests/{tag}")
            value = json.loads(await answer.read())
            value["annotations"] = value.get("annotations", {}) | {str(number): ""}
            sent = kind | {"If-Match": answer.headers["ETag"]}
            if (await put(client, tag, encode(value), headers=sent)).status == 201:
                return

    await asyncio.gather(*(append(number) for number in range(10)))
    value = json.loads(await (await client.get(f"/v2/lib/app/manifests/{tag}")).read())
    assert len(value["annotations"]) == 10


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


# Referrers.


async def test_referrers_of_a_manifest(client):
    """Sorted descriptors with artifact type and annotations; the filter is named in the answer."""
    subject = await push_image(client)
    described = describe(subject, mediatypes.OCI_MANIFEST)
    artifact = image(subject=described, artifactType="application/x", annotations={"k": "v"})
    plain = image(subject=described)
    index = encode(
        {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [], "subject": described}
    )
    for raw, media_type in (
        (artifact, mediatypes.OCI_MANIFEST),
        (plain, mediatypes.OCI_MANIFEST),
        (index, mediatypes.OCI_INDEX),
    ):
        answer = await put(client, Digest.of(raw), raw, media_type=media_type)
        assert (answer.status, answer.headers["OCI-Subject"]) == (201, str(Digest.of(subject)))
    url = f"/v2/lib/app/referrers/{Digest.of(subject)}"
    answer = await client.get(url)
    assert answer.headers["Content-Type"] == mediatypes.OCI_INDEX
    found = {row["digest"]: row for row in (await answer.json())["manifests"]}
    assert found[str(Digest.of(artifact))] == describe(
        artifact, mediatypes.OCI_MANIFEST, artifactType="application/x", annotations={"k": "v"}
    )
    assert found[str(Digest.of(plain))]["artifactType"] == mediatypes.OCI_CONFIG
    assert "artifactType" not in found[str(Digest.of(index))]
    assert "OCI-Filters-Applied" not in answer.headers
    answer = await client.get(f"{url}?artifactType=application/x")
    assert [row["digest"] for row in (await answer.json())["manifests"]] == [str(Digest.of(artifact))]
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    await client.delete(f"/v2/lib/app/manifests/{Digest.of(artifact)}")
    assert len((await (await client.get(url)).json())["manifests"]) == 2
    elsewhere = await client.get(f"/v2/other/referrers/{Digest.of(subject)}")
    assert (await elsewhere.json())["manifests"] == []


async def test_referrers_of_the_fallback_tag_are_listed(client):
    """What clients kept under ``sha256-<hex>`` before is part of the answer, once."""
    subject = Digest.of(b"subject")
    await push_blob(client, CONFIG)
    raw = image(subject=describe(b"subject"))
    await put(client, "x", raw)
    old = await push_image(client, "old")
    index = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX}
    index["manifests"] = [describe(old, mediatypes.OCI_MANIFEST), describe(raw, mediatypes.OCI_MANIFEST)]
    await put(client, routes.referrers_tag(subject), encode(index), media_type=mediatypes.OCI_INDEX)
    answer = await client.get(f"/v2/lib/app/referrers/{subject}")
    digests = [row["digest"] for row in (await answer.json())["manifests"]]
    assert sorted(digests) == sorted([str(Digest.of(old)), str(Digest.of(raw))])


# Policy.


async def test_a_read_only_registry(aiohttp_client, store):
    """Pulls work, changes are 405 with what is allowed."""
    writable = await aiohttp_client(create_app(RegistryConfig(), store))
    raw = await push_image(writable)
    client = await aiohttp_client(create_app(RegistryConfig(read_only=True), store))
    assert await (await client.get("/v2/lib/app/manifests/1")).read() == raw
    for method, url in (
        ("POST", UPLOADS),
        ("PUT", "/v2/lib/app/manifests/2"),
        ("DELETE", "/v2/lib/app/manifests/1"),
        ("DELETE", f"/v2/lib/app/blobs/{D}"),
        ("PATCH", UPLOADS + "x"),
    ):
        answer = await client.request(method, url, data=b"{}")
        assert (answer.status, await errors(answer)) == (405, ["UNSUPPORTED"])
        assert method not in answer.headers["Allow"]


async def test_deletion_can_be_disabled(aiohttp_client, store):
    """Only of content: an upload may still be cancelled."""
    client = await aiohttp_client(create_app(RegistryConfig(delete_enabled=False), store))
    await push_image(client)
    for url in ("manifests/1", f"blobs/{Digest.of(CONFIG)}"):
        answer = await client.delete(f"/v2/lib/app/{url}")
        assert (answer.status, await errors(answer)) == (405, ["UNSUPPORTED"])
    assert (await client.delete(await start(client))).status == 204


async def test_uploads_in_progress_are_limited(aiohttp_client, store):
    """The next one is 429 with Retry-After; a finished one makes room."""
    client = await aiohttp_client(create_app(RegistryConfig(max_uploads=2), store))
    location = await start(client)
    await start(client)
    answer = await client.post(UPLOADS)
    assert (answer.status, await errors(answer)) == (429, ["TOOMANYREQUESTS"])
    assert int(answer.headers["Retry-After"]) > 0
    await client.delete(location)
    await start(client)


async def test_abandoned_uploads_disappear(aiohttp_client, store):
    """After the configured time without use."""
    client = await aiohttp_client(create_app(RegistryConfig(upload_idle_seconds=0.2), store))
    location = await start(client)
    for _ in range(50):
        await asyncio.sleep(0.1)
        if (await client.get(location)).status == 404:
            return
    pytest.fail("the upload is still there")


async def test_racing_pushes_of_one_blob_all_succeed(client):
    """And nothing is left over."""
    data = b"x" * 500_000
    answers = await asyncio.gather(*(push_blob(client, data, f"r{n % 4}") for n in range(24)))
    assert set(answers) == {Digest.of(data)}
    for number in range(4):
        assert await (await client.get(f"/v2/r{number}/blobs/{Digest.of(data)}")).read() == data


async def test_racing_writers_of_one_tag(client):
    """Every read is a whole manifest that somebody wrote, never an error."""
    await push_blob(client, CONFIG)
    written = [image(annotations={"n": str(number)}) for number in range(30)]
    await put(client, "t", written[0])
    stop = asyncio.Event()
    seen = set()

    async def read():
        while not stop.is_set():
            answer = await client.get("/v2/lib/app/manifests/t")
            assert answer.status == 200
            seen.add(await answer.read())

    readers = [asyncio.ensure_future(read()) for _ in range(3)]
    answers = await asyncio.gather(*(put(client, "t", raw) for raw in written))
    stop.set()
    await asyncio.gather(*readers)
    assert {answer.status for answer in answers} == {201}
    assert seen <= set(written)


# Hostile documents.

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


HEADER_ATTACKS = {
    "both lengths": "PUT {} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",  # noqa: E501
    "two lengths": "PUT {} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n123456",
    "bad chunk": "PATCH {} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "long header": "GET {} HTTP/1.1\r\nHost: h\r\nX: " + "x" * 65536 + "\r\n\r\n",
    "bad method": "G(T {} HTTP/1.1\r\nHost: h\r\n\r\n",
}


@pytest.mark.parametrize("name", HEADER_ATTACKS)
async def test_broken_framing_is_4xx_and_closed(client, name):
    """The connection is not used any further."""
    location = await start(client)
    status, data = await raw_request(client, HEADER_ATTACKS[name].format(location))
    assert status is not None, data
    assert 400 <= status < 500
    assert (await client.get(location)).headers["Range"] == "0-0"


async def test_a_slow_reader_holds_nobody_up(client):
    """Others are served while a client does not read what it asked for."""
    digest = await push_blob(client, b"x" * 20_000_000)
    sleeper = socket.create_connection((client.host, client.port))
    sleeper.sendall(f"GET /v2/lib/app/blobs/{digest} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    await asyncio.sleep(0.2)
    async with asyncio.timeout(5):
        for _ in range(20):
            assert (await client.get("/v2/")).status == 200
    sleeper.close()
