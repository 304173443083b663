"""Documents and headers that are meant to hurt (gates 17 and 18)."""

import contextlib
import http.client
import json
import re
import threading
import time

import pytest

from oci_image.digest import Digest
from registry.server.embedded import Registry
from tests.contract.faults.serving import (
    MANIFEST,
    Session,
    allowed,
    connect,
    image,
    percentile,
    probe,
    push,
    send,
    served,
    start,
)

BOMBS = {
    "brackets": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "open brackets": b"[" * 4_000_000,
    "duplicate keys": b'{"schemaVersion": 2, "schemaVersion": 2}',
    "half a surrogate": b'{"schemaVersion": 2, "a": "\\ud800"}',
    "not a number": b'{"schemaVersion": 2, "a": NaN}',
    "a huge number": b'{"schemaVersion": 2, "a": ' + b"9" * 100_000 + b"}",
    "too large": b'{"schemaVersion": 2, "annotations": {"a": "' + b"x" * 10_000_000 + b'"}}',
    "not UTF-8": b'{"schemaVersion": 2, "a": "\xff"}',
    "many layers": b'{"schemaVersion": 2, "config": {}, "layers": [' + b"{}," * 100_000 + b"{}]}",
    "many bad layers": image(b"{}").replace(b"[]", b"[" + b'{"mediaType":"x","size":1},' * 100_000 + b"{}]"),
}


def _plain_reading(bomb: bytes) -> float:
    """Seconds of this processor, which may be a slow one, to read the document and judge nothing."""
    took = []
    for _ in range(3):
        begun = time.process_time()
        with contextlib.suppress(ValueError, RecursionError):
            json.loads(bomb)
        took.append(time.process_time() - begun)
    return min(took)


@pytest.mark.parametrize("bomb", BOMBS)
def test_manifest_bombs_are_refused(bomb, figure):
    """With 400 or 413, in 200 ms, while the loop answers others (gate 17)."""
    with Registry() as url:
        headers = {"Content-Type": MANIFEST}
        took, stop, times = [], threading.Event(), []
        worst = allowed(url, 0.05)
        asking = threading.Thread(target=probe, args=(url, stop, times))
        asking.start()
        for _ in range(5):
            begun = time.process_time()
            try:
                status, _, _ = send("PUT", f"{url}/v2/a/manifests/t", BOMBS[bomb], headers)
            except OSError:
                status = 413  # the connection was closed while the body was sent
            took.append(time.process_time() - begun)
            assert status in (400, 413)
        stop.set()
        asking.join()
        assert send("GET", f"{url}/v2/a/manifests/t")[0] == 404
    # Time of the processor, because other processes use the machine as well; what others waited is real time.
    # A processor that needs 40 ms to read the largest one without judging it is a slow one.
    assert min(took) <= max(0.2, 5 * _plain_reading(BOMBS[bomb]))
    assert percentile(times, 0.5) <= worst
    figure(17, f"{bomb}: {1000 * min(took):.0f} ms, others {1000 * percentile(times, 0.5):.0f} ms")


LINES = "Host: h\r\nConnection: keep-alive\r\n"
PUT = f"PUT /v2/a/manifests/x HTTP/1.1\r\n{LINES}"
PATCH = f"PATCH @ HTTP/1.1\r\n{LINES}"
CODING = "Transfer-Encoding: "
SMUGGLED = "DELETE /v2/a/manifests/t HTTP/1.1\r\nHost: h\r\n\r\n"
BODY = f"{len(SMUGGLED):x}\r\n{SMUGGLED}\r\n0\r\n\r\n"
# What follows the blank line of the request is what another reader would take for a second request.
HEADS = {
    "a header of 64 KiB": (f"GET /v2/ HTTP/1.1\r\n{LINES}X: {'x' * 65536}\r\n\r\n", ""),
    "headers of 64 KiB": (
        f"GET /v2/ HTTP/1.1\r\n{LINES}" + "".join(f"X-{n}: {'x' * 50}\r\n" for n in range(1100)),
        "",
    ),
    "ten thousand tags": (
        f"PUT /v2/a/manifests/t?{'tag=t&' * 10_000} HTTP/1.1\r\n{LINES}Content-Length: 2\r\n\r\n{{}}",
        "",
    ),
    "length and chunks": (
        f"{PUT}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        SMUGGLED,
    ),
    "chunks and length": (
        f"{PUT}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{BODY}",
        "",
    ),
    "two lengths": (
        f"{PUT}Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
        SMUGGLED,
    ),
    "a signed length": (f"{PUT}Content-Length: +0\r\n\r\n", SMUGGLED),
    "a length in hexadecimal": (
        f"{PUT}Content-Length: 0x0\r\n\r\n",
        SMUGGLED,
    ),
    "a list of lengths": (
        f"{PUT}Content-Length: 0, 44\r\n\r\n",
        SMUGGLED,
    ),
    "a negative length": (f"{PUT}Content-Length: -1\r\n\r\n", SMUGGLED),
    "a blank before the colon": (
        f"{PUT}Content-Length : 44\r\n\r\n",
        SMUGGLED,
    ),
    "chunked twice": (
        f"{PUT}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        SMUGGLED,
    ),
    "chunks that are not": (
        f"{PUT}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        SMUGGLED,
    ),
    "chunked, then identity": (
        f"{PUT}{CODING}chunked\r\n{CODING}identity\r\n\r\n0\r\n\r\n",
        SMUGGLED,
    ),
    "a chunk without a number": (
        f"{PATCH}Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        SMUGGLED,
    ),
    "a negative chunk": (
        f"{PATCH}Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        SMUGGLED,
    ),
    "a huge chunk": (
        f"{PATCH}Transfer-Encoding: chunked\r\n\r\n{'f' * 40}\r\n\r\n",
        SMUGGLED,
    ),
    "a chunk with a tail": (
        f"{PATCH}Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
        "",
    ),
    "a NUL in a header": (f"GET /v2/ HTTP/1.1\r\n{LINES}X: a\0b\r\n\r\n", SMUGGLED),
    "a line break in a header": (f"GET /v2/ HTTP/1.1\r\n{LINES}X: a\rContent-Length: 44\r\n\r\n", SMUGGLED),
    "a folded header": (f"GET /v2/ HTTP/1.1\r\n{LINES}X: a\r\n Content-Length: 44\r\n\r\n", ""),
    "a header without a name": (f"GET /v2/ HTTP/1.1\r\n{LINES}: x\r\n\r\n", SMUGGLED),
    "no version": ("GET /v2/\r\n\r\n", SMUGGLED),
    "a version of its own": (f"GET /v2/ HTTP/9.9\r\n{LINES}\r\n", SMUGGLED),
}


def exchange(port, text):
    """Everything that is answered until the server closes."""
    answer = b""
    with connect(port, 5) as held:
        try:
            held.sendall(text.encode("latin-1"))
            while chunk := held.recv(65536):
                answer += chunk
        except TimeoutError:
            return answer, False
        except ConnectionError:
            pass
    return answer, True


@pytest.fixture(scope="module")
def bombed(tmp_path_factory):
    """One server for all headers."""
    with served(tmp_path_factory.mktemp("bombed") / "root", header_seconds=3.0, stall_seconds=2.0) as server:
        assert push(server.url, "a", b"{}") == 201
        yield server
        server.stop()


@pytest.mark.parametrize("name", HEADS)
def test_header_bombs_are_refused(bombed, name):
    """With a 4xx and a closed connection; what hides behind the request is never taken for one (gate 18)."""
    session = Session(bombed.url)
    raw = image(b"{}")
    assert session.put("a", "t", raw) == 201
    first, hidden = HEADS[name]
    answer, closed = exchange(bombed.port, first.replace("@", start(bombed.url)) + hidden)
    assert session("GET", "/v2/a/manifests/t")[2] == raw, "the hidden request was carried out"
    session.close()
    assert closed
    assert 400 <= int(answer[9:12]) < 500, answer[:200]
    assert len(re.findall(rb"(?m)^HTTP/1\.", answer)) == 1
    headers, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/json" in headers
    assert [*json.loads(body)] == ["errors"]


NO_HTTP = {
    "a secret": b"s3cr3t-bytes and more\r\n\r\n",
    "a secret in a header": b"GET /v2/ HTTP/1.1\r\ns3cr3t-bytes\r\n\r\n",
    "a secret address": b"GET s3cr3t-bytes \x01 HTTP/1.1\r\n\r\n",
    "a greeting of TLS": bytes.fromhex("160301010001000100fc0303") + b"s3cr3t-bytes" * 9,
    "a script": b"<script>alert('s3cr3t-bytes')</script>\r\n\r\n",
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n s3cr3t-bytes",
}


@pytest.mark.parametrize("name", NO_HTTP)
def test_what_is_no_http_is_not_repeated(bombed, name):
    """The answer is an error of the registry in JSON without a byte of it, and the connection is closed."""
    answer, closed = exchange(bombed.port, NO_HTTP[name].decode("latin-1"))
    headers, _, body = answer.partition(b"\r\n\r\n")
    assert closed
    assert re.match(rb"HTTP/1\.[01] 400 ", headers)
    assert b"docker-distribution-api-version: registry/2.0" in headers.lower()
    assert json.loads(body)["errors"][0]["code"] == "UNSUPPORTED"
    assert b"s3cr3t" not in answer
    assert "s3cr3t" not in bombed.complaints


def test_ten_thousand_accepted_types(bombed):
    """Refused as too long, or answered; never an error of the server (gate 18)."""
    lines = "".join(f"Accept: application/x{number}\r\n" for number in range(10_000))
    answer, closed = exchange(
        bombed.port, f"GET /v2/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{lines}\r\n"
    )
    assert closed
    assert int(answer[9:12]) in (200, 400, 431)
    assert send("GET", f"{bombed.url}/v2/")[0] == 200


def test_pipelined_requests_have_their_answers(bombed):
    """In order, one for each; a body that is too short takes nothing of the next request (gate 18)."""
    digest = Digest.of(b"{}")
    text = f"HEAD /v2/a/blobs/{digest} HTTP/1.1\r\nHost: h\r\n\r\n" * 20
    text += "GET /v2/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
    answer, closed = exchange(bombed.port, text)
    assert closed
    assert answer.count(b"HTTP/1.1 200") == 21
    connection = http.client.HTTPConnection("127.0.0.1", bombed.port, timeout=10)
    connection.request("GET", "/v2/")
    assert connection.getresponse().status == 200
    connection.close()
