"""Uploads as the OCI distribution-spec and its clients expect them."""

import asyncio

import pytest
from yarl import URL

from oci_image.digest import Digest
from registry.protocol import headers
from registry.server.app import create_app
from registry.server.config import RegistryConfig
from tests.contract.distribution.exchange import (
    ABSENT,
    D512,
    DATA,
    UPLOADS,
    D,
    chunks,
    errors,
    start,
)


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


async def test_g7_a_chunk_of_another_length_is_not_stored(client):
    """400 SIZE_INVALID, with a Content-Length or without one."""
    location = await start(client)
    for body in (b"0123", b"012345", chunks(b"0123"), chunks(b"0123", b"45"), chunks(b"x" * 100_000)):
        answer = await client.patch(location, data=body, headers={"Content-Range": "0-4"})
        assert answer.status == 400
        assert await errors(answer) == ["SIZE_INVALID"]
    answer = await client.patch(location, data=chunks(b"012", b"34"), headers={"Content-Range": "0-4"})
    assert (answer.status, answer.headers["Range"]) == (202, "0-4")
    answer = await client.put(f"{location}?digest={D}", data=DATA[5:], headers={"Content-Range": "5-9"})
    assert answer.status == 201


async def test_g9_a_chunk_is_answered_with_202(client):
    """Location, Range and the identifier again."""
    location = await start(client)
    answer = await client.patch(location, data=chunks(b"01", b"23"))
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


async def test_g38_cancelling_an_upload(client):
    """204, and then it is unknown to every verb."""
    location = await start(client)
    await client.patch(location, data=DATA)
    assert (await client.delete(location)).status == 204
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        answer = await client.request(method, f"{location}?digest={D}")
        assert answer.status == 404
        assert await errors(answer) == ["BLOB_UPLOAD_UNKNOWN"]


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
