"""Names and paths: what looks like a route, and what would lead out of a repository."""

import pytest

from tests.contract.distribution.exchange import DATA, D, push_image, raw_request, start

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
