"""Blobs: mounts, ranges, caches, and who waits for whom."""

import asyncio
import socket

import pytest
from yarl import URL

from oci_image.digest import Digest
from tests.contract.distribution.exchange import ABSENT, DATA, D, errors, push_blob


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


async def test_a_small_blob_that_was_sent_before_is_answered_as_the_first_time(client):
    """Headers, bytes, ranges and conditions; not in other repositories, and not after it was deleted."""
    await push_blob(client)
    url = f"/v2/lib/app/blobs/{D}"
    first, second, third = [await client.get(url) for _ in range(3)]
    assert [await each.read() for each in (first, second, third)] == [DATA] * 3
    kept = (
        "Content-Length",
        "Content-Type",
        "ETag",
        "Docker-Content-Digest",
        "Cache-Control",
        "Accept-Ranges",
    )
    assert {name: first.headers[name] for name in kept} == {name: third.headers[name] for name in kept}
    part = await client.get(url, headers={"Range": "bytes=1-2"})
    assert (part.status, await part.read()) == (206, DATA[1:3])
    assert (await client.get(url, headers={"If-None-Match": f'"{D}"'})).status == 304
    assert (await client.head(url)).headers["Content-Length"] == str(len(DATA))
    assert (await client.get(f"/v2/other/blobs/{D}")).status == 404
    assert (await client.delete(url)).status == 202
    assert (await client.get(url)).status == 404
    await push_blob(client)
    assert await (await client.get(url)).read() == DATA


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


async def test_racing_pushes_of_one_blob_all_succeed(client):
    """And nothing is left over."""
    data = b"x" * 500_000
    answers = await asyncio.gather(*(push_blob(client, data, f"r{n % 4}") for n in range(24)))
    assert set(answers) == {Digest.of(data)}
    for number in range(4):
        assert await (await client.get(f"/v2/r{number}/blobs/{Digest.of(data)}")).read() == data


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
