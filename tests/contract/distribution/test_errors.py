"""Every answer has its status, its code and its headers, and broken requests get one as well."""

import pytest
from yarl import URL

from oci_image import mediatypes
from tests.contract.distribution.exchange import (
    ABSENT,
    D512,
    DATA,
    UPLOADS,
    D,
    errors,
    push_blob,
    push_image,
    raw_request,
    start,
)

SEEDED = {"Docker-Content-Digest": str(D), "Content-Length": "10"}
MANIFEST_METHODS = "DELETE, GET, HEAD, OPTIONS, PUT"

# fmt: off
# (method, URL, body, headers) -> (status, code or None, headers that must be there).
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
    """Each request has its status, its error code and its headers (G24, G27, G28 and G30 among them)."""
    await push_blob(client, DATA, "seed")
    await push_image(client, "1", "seed")
    answer = await client.request(method, URL(url, encoded=True), data=body, headers=sent)
    assert answer.status == status, await answer.text()
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    if code is not None:
        assert await errors(answer) == [code]
    for name, value in expected.items():
        assert answer.headers[name] == value


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


async def test_g37_a_tls_greeting_is_answered_fast(client):
    """A plain port does not hang on a client that tries https first."""
    hello = bytes.fromhex("16030100") + b"\xc8" + bytes.fromhex("010000c40303") + b"x" * 200
    status, _ = await raw_request(client, hello, wait=3)
    assert status in (None, 400)


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


BAD_DIGESTS = ("sha256:", "sha256:baddigeststring", "sha256:" + "A" * 64, "sha512:" + "0" * 64, ":", "a:b:c")


@pytest.mark.parametrize("text", BAD_DIGESTS)
async def test_g24_a_malformed_digest_is_400(client, text):
    """Wherever a digest is expected."""
    await push_image(client, "1", "seed")
    for resource, methods in (
        ("manifests", ("GET", "HEAD", "PUT", "DELETE")),
        ("blobs", ("GET", "HEAD", "DELETE")),
        ("referrers", ("GET", "HEAD")),
        ("blobs/uploads/?digest=", ("POST",)),
    ):
        for method in methods:
            url = URL(f"/v2/seed/{resource}{'' if '?' in resource else '/'}{text}", encoded=True)
            answer = await client.request(method, url, data=b"{}" if method in ("PUT", "POST") else None)
            assert (answer.status, await answer.text() == "") == (400, method == "HEAD"), (method, resource)


async def test_g28_every_address_tells_its_methods(client):
    """In the answer to OPTIONS and in the refusal of every other method."""
    for path in (
        "",
        "_catalog",
        "seed/tags/list",
        "seed/manifests/1",
        f"seed/blobs/{D}",
        "seed/blobs/uploads/",
        "seed/blobs/uploads/x",
        f"seed/referrers/{D}",
        "seed/_pybuild/repository",
    ):
        answer = await client.options(f"/v2/{path}")
        allowed = answer.headers["Allow"].split(", ")
        assert (answer.status, "OPTIONS" in allowed) == (204, True)
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - set(allowed):
            answer = await client.request(method, f"/v2/{path}")
            assert (answer.status, answer.headers["Allow"].split(", ")) == (405, allowed), (method, path)


async def test_parameters_of_other_programs_are_ignored(client):
    """`ns` of containerd where nothing is mirrored, `origin` of crane, and whatever comes next."""
    await push_blob(client, DATA, "seed")
    await push_image(client, "1", "seed")
    for url in (
        "seed/manifests/1?ns=docker.io",
        f"seed/blobs/{D}?ns=docker.io&x=1",
        "seed/tags/list?ns=docker.io",
        f"seed/referrers/{ABSENT}?ns=docker.io",
    ):
        assert (await client.get(f"/v2/{url}")).status == 200
    answer = await client.post(f"/v2/new/blobs/uploads/?mount={D}&from=seed&origin=docker.io")
    assert answer.status == 201
