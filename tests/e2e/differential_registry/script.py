"""
The same requests for two registries, in order, and what is compared of their answers.

A `Request` may use what earlier answers gave: ``{name}`` in its path stands for a Location that was kept.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from oci_image.digest import Digest

OCTETS = "application/octet-stream"
IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
ACCEPTED = f"{IMAGE}, {INDEX}, {DOCKER}"

DATA = b"0123456789"
CONFIG = b'{"architecture":"amd64","os":"linux"}'
BIG = bytes(range(256)) * 4096
D, C, B = Digest.of(DATA), Digest.of(CONFIG), Digest.of(BIG)
D512 = Digest.of(DATA, "sha512")
ABSENT = Digest.of(b"absent")


@dataclass(frozen=True)
class Request:
    """
    One request.

    Attributes:
        name: what it is about; unique.
        method: of HTTP.
        path: with ``{kept}`` for a kept Location.
        body: of the request.
        headers: of the request.
        keep: name under which the Location of the answer is kept.
    """

    name: str
    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    keep: str = ""


def row(data, media_type=OCTETS, **more):
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data), **more}


def manifest(layers, kind=IMAGE, **more):
    value = {"schemaVersion": 2, "mediaType": kind, "config": row(CONFIG), "layers": layers, **more}
    return json.dumps(value).encode()


ONE = manifest([row(DATA)])
TWO = manifest([row(DATA), row(BIG)])
OLD = manifest([row(DATA)], DOCKER)
CHILDREN = [row(ONE, IMAGE), row(TWO, IMAGE)]
BOTH = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": CHILDREN}).encode()
ARTIFACT = manifest([], subject=row(ONE, IMAGE), artifactType="application/x")


def get(name, path, **headers):
    return Request(
        name, "GET", path, headers={key.replace("_", "-"): value for key, value in headers.items()}
    )


def head(name, path, **headers):
    return Request(
        name, "HEAD", path, headers={key.replace("_", "-"): value for key, value in headers.items()}
    )


def delete(name, path):
    return Request(name, "DELETE", path)


def open_upload(name, repository="a", query="", keep=""):
    return Request(name, "POST", f"/v2/{repository}/blobs/uploads/{query}", b"", keep=keep)


def send(name, where, data, content_range=""):
    headers = {"Content-Type": OCTETS} | ({"Content-Range": content_range} if content_range else {})
    return Request(name, "PATCH", where, data, headers, keep=where.strip("{}"))


def finish(name, where, digest, data=b""):
    return Request(name, "PUT", f"{where}?digest={digest}", data, {"Content-Type": OCTETS})


def put(name, path, raw, kind=IMAGE):
    return Request(name, "PUT", path, raw, {"Content-Type": kind} if kind else {})


def push(name, data, repository="a"):
    return [
        open_upload(f"{name}: open", repository, keep=name),
        finish(f"{name}: finish", f"{{{name}}}", Digest.of(data), data),
    ]


BASICS = [
    get("base", "/v2/"),
    head("base by HEAD", "/v2/"),
    Request("base by POST", "POST", "/v2/", b""),
    get("an address of nobody", "/nowhere"),
    get("an address below /v2/", "/v2/a"),
    get("tags before anything", "/v2/a/tags/list"),
    get("a manifest before anything", "/v2/a/manifests/1", Accept=ACCEPTED),
    get("a blob before anything", f"/v2/a/blobs/{D}"),
    get("the catalog before anything", "/v2/_catalog"),
]
UPLOADS = [
    *push("data", DATA),
    *push("config", CONFIG),
    *push("big", BIG),
    *push("data again", DATA),
    open_upload("an upload in one request", query=f"?digest={C}"),
    open_upload("chunks: open", keep="chunks"),
    get("chunks: status of nothing", "{chunks}"),
    send("chunks: first", "{chunks}", DATA[:4], "0-3"),
    get("chunks: status", "{chunks}"),
    send("chunks: a gap", "{chunks}", DATA[6:8], "6-7"),
    send("chunks: a replay", "{chunks}", DATA[:4], "0-3"),
    send("chunks: a range as in downloads", "{chunks}", DATA[4:6], "bytes 4-5/10"),
    open_upload("stream: open", keep="stream"),
    send("stream: all", "{stream}", DATA),
    finish("stream: finish", "{stream}", D),
    get("stream: status after the end", "{stream}"),
    finish("stream: finish again", "{stream}", D),
    open_upload("wrong: open", keep="wrong"),
    finish("wrong: digest", "{wrong}", ABSENT, DATA),
    open_upload("bad: open", keep="bad"),
    finish("bad: digest", "{bad}", "sha256:zz", DATA),
    open_upload("none: open", keep="none"),
    Request("none: digest", "PUT", "{none}", DATA, {"Content-Type": OCTETS}),
    open_upload("cancel: open", keep="cancel"),
    delete("cancel: cancel", "{cancel}"),
    delete("cancel: again", "{cancel}"),
    get("an upload that never was", "/v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000"),
    Request("a method of nobody on uploads", "PUT", "/v2/a/blobs/uploads/", b""),
    open_upload("an upload with a bad name", "A"),
    open_upload("longer: open", keep="longer"),
    finish("longer: sha512", "{longer}", D512, DATA),
]
BLOBS = [
    get("a blob", f"/v2/a/blobs/{D}"),
    head("a blob by HEAD", f"/v2/a/blobs/{D}"),
    head("an absent blob by HEAD", f"/v2/a/blobs/{ABSENT}"),
    get("an absent blob", f"/v2/a/blobs/{ABSENT}"),
    get("a blob of another repository", f"/v2/b/blobs/{D}"),
    get("a blob with a bad digest", "/v2/a/blobs/sha256:zz"),
    get("a part", f"/v2/a/blobs/{B}", Range="bytes=10-19"),
    get("the end", f"/v2/a/blobs/{B}", Range="bytes=-10"),
    get("from somewhere", f"/v2/a/blobs/{B}", Range="bytes=1048570-"),
    get("a part that is too long", f"/v2/a/blobs/{B}", Range="bytes=1048570-9999999"),
    get("a part beyond the end", f"/v2/a/blobs/{B}", Range="bytes=2000000-"),
    get("a part backwards", f"/v2/a/blobs/{B}", Range="bytes=19-10"),
    get("a part of other units", f"/v2/a/blobs/{B}", Range="lines=1-2"),
    open_upload("mount", "b", f"?mount={D}&from=a"),
    open_upload("mount of an absent blob", "b", f"?mount={ABSENT}&from=a", keep="absent mount"),
    open_upload("mount from nowhere", "b", f"?mount={D}&from=nowhere"),
    open_upload("mount without a source", "c", f"?mount={D}"),
    head("a mounted blob", f"/v2/b/blobs/{D}"),
    delete("deleting a mounted blob", f"/v2/b/blobs/{D}"),
    head("a deleted blob", f"/v2/b/blobs/{D}"),
    head("the blob where it came from", f"/v2/a/blobs/{D}"),
    delete("deleting an absent blob", f"/v2/b/blobs/{ABSENT}"),
]
MANIFESTS = [
    put("an image", "/v2/a/manifests/1", ONE),
    put("another image", "/v2/a/manifests/2", TWO),
    put("an image of Docker", "/v2/a/manifests/docker", OLD, DOCKER),
    put("an image by digest", f"/v2/a/manifests/{Digest.of(TWO)}", TWO),
    put("an image by a wrong digest", f"/v2/a/manifests/{ABSENT}", ONE),
    put("an index", "/v2/a/manifests/both", BOTH, INDEX),
    put("an artifact with a subject", f"/v2/a/manifests/{Digest.of(ARTIFACT)}", ARTIFACT),
    put("an image with a missing layer", "/v2/a/manifests/x", manifest([row(b"absent")])),
    put("an image with a wrong size", "/v2/a/manifests/x", manifest([row(DATA) | {"size": 11}])),
    put("no JSON", "/v2/a/manifests/x", b"{"),
    put("no manifest", "/v2/a/manifests/x", b"{}"),
    put("an image without a type", "/v2/a/manifests/untyped", ONE, ""),
    put("an image with another type", "/v2/a/manifests/x", ONE, DOCKER),
    put("a bad tag", "/v2/a/manifests/-x", ONE),
    put("a bad name", "/v2/A/manifests/1", ONE),
    put("several tags", f"/v2/a/manifests/{Digest.of(ONE)}?tag=t1&tag=t2", ONE),
    get("the image", "/v2/a/manifests/1", Accept=ACCEPTED),
    head("the image by HEAD", "/v2/a/manifests/1", Accept=ACCEPTED),
    get("the image by digest", f"/v2/a/manifests/{Digest.of(ONE)}", Accept=ACCEPTED),
    get("the image of Docker", "/v2/a/manifests/docker", Accept=ACCEPTED),
    get("the index", "/v2/a/manifests/both", Accept=ACCEPTED),
    get("the image for anybody", "/v2/a/manifests/1", Accept="*/*"),
    get("an absent image", "/v2/a/manifests/absent", Accept=ACCEPTED),
    get("an absent digest", f"/v2/a/manifests/{ABSENT}", Accept=ACCEPTED),
    get("a bad digest", "/v2/a/manifests/sha256:zz", Accept=ACCEPTED),
    get("a blob as a manifest", f"/v2/a/manifests/{D}", Accept=ACCEPTED),
    get("a manifest as a blob", f"/v2/a/blobs/{Digest.of(ONE)}"),
    Request("a method of nobody on manifests", "POST", "/v2/a/manifests/1", b""),
    get("an image that is known", "/v2/a/manifests/1", Accept=ACCEPTED, If_None_Match=f'"{Digest.of(ONE)}"'),
]
LISTS = [
    get("tags", "/v2/a/tags/list"),
    get("tags of nobody", "/v2/nobody/tags/list"),
    get("a page of tags", "/v2/a/tags/list?n=2"),
    get("the next page of tags", "/v2/a/tags/list?n=2&last=2"),
    get("no tags", "/v2/a/tags/list?n=0"),
    get("a bad number of tags", "/v2/a/tags/list?n=x"),
    get("the catalog", "/v2/_catalog"),
    get("a page of the catalog", "/v2/_catalog?n=1"),
    get("a bad number of the catalog", "/v2/_catalog?n=x"),
    get("referrers", f"/v2/a/referrers/{Digest.of(ONE)}"),
    get("tags of a repository with blobs only", "/v2/c/tags/list"),
]
DELETIONS = [
    delete("deleting a tag", "/v2/a/manifests/docker"),
    delete("deleting an absent tag", "/v2/a/manifests/absent"),
    delete("deleting an image", f"/v2/a/manifests/{Digest.of(TWO)}"),
    delete("deleting it again", f"/v2/a/manifests/{Digest.of(TWO)}"),
    get("a tag of a deleted image", "/v2/a/manifests/2", Accept=ACCEPTED),
    delete("deleting a bad digest", "/v2/a/manifests/sha256:zz"),
    delete("deleting the other image", f"/v2/a/manifests/{Digest.of(ONE)}"),
    get("tags afterwards", "/v2/a/tags/list"),
]
PATHS = [
    get("two slashes", "/v2//a/tags/list"),
    get("dots", "/v2/a/../b/tags/list"),
    get("encoded dots", "/v2/%2e%2e/tags/list"),
    get("an encoded slash", "/v2/a%2fb/tags/list"),
    get("a name that is too long", f"/v2/{'a' * 256}/tags/list"),
    get("a name like a route", "/v2/x/tags/list/tags/list"),
    get("no slash at the end", "/v2"),
]
SCRIPT = (*BASICS, *UPLOADS, *BLOBS, *MANIFESTS, *LISTS, *DELETIONS, *PATHS)

COMPARED = (
    *("Content-Range", "Docker-Content-Digest", "Range", "Link", "WWW-Authenticate", "Accept-Ranges"),
    *("OCI-Subject", "OCI-Tag", "Docker-Distribution-Api-Version", "Content-Encoding"),
)


@dataclass(frozen=True)
class Answer:
    """What is compared: the status, codes of errors, headers, and the body of a success."""

    status: int
    codes: tuple[str, ...]
    headers: dict[str, str]
    body: object

    def differences(self, other):
        """One line for each."""
        found = []
        if self.status != other.status:
            found.append(f"status: {self.status}, theirs {other.status}")
        elif self.codes != other.codes:
            found.append(f"codes: {' '.join(self.codes)}, theirs {' '.join(other.codes)}")
        both = self.status == other.status
        for name in (*COMPARED, "Location", "Content-Type"):
            ours, theirs = self.headers.get(name), other.headers.get(name)
            if ours != theirs and both:
                found.append(f"{name}: {ours}, theirs {theirs}")
        if both and self.status < 300 and self.body != other.body:
            found.append(f"body: {str(self.body)[:60]}, theirs {str(other.body)[:60]}")
        return found


def location(text):
    """A Location without what names the server or the upload."""
    parts = urlsplit(text or "")
    if "/blobs/uploads/" in parts.path:
        return parts.path.rpartition("/")[0] + "/<upload>"
    return parts.path


def read(status, headers, body):
    """An answer in the form that is compared."""
    codes: tuple[str, ...] = ()
    shown: object = body
    kind = (headers.get("Content-Type") or "").partition(";")[0]
    if kind == "application/json" and body:
        value = json.loads(body)
        if status >= 400:
            codes = tuple(sorted({item["code"] for item in value.get("errors", [])}))
        shown = value
    kept = {name: headers[name] for name in COMPARED if headers.get(name) is not None}
    if headers.get("Location"):
        kept["Location"] = location(headers["Location"])
    if body and status < 300:
        kept["Content-Type"] = kind
    return Answer(status, codes, kept, shown)


def ask(address, method, path, body, headers):
    """One request over a connection of its own; a body that ends early is told as such."""
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        try:
            data = answer.read()
        except http.client.IncompleteRead:
            data = b""
            answer.headers["Content-Type"] = "cut short"
        return answer.status, answer.headers, data
    finally:
        connection.close()


def play(address):
    """Every answer by the name of its request."""
    places: dict[str, str] = {}
    answers = {}
    for request in SCRIPT:
        path = request.path
        for name, place in places.items():
            if f"{{{name}}}" in path:
                path = path.replace(f"{{{name}}}", place)
                if path.count("?") == 2:
                    path = "&".join(path.rsplit("?", 1))
        assert "{" not in path, f"{request.name}: nothing is known for {path}"
        status, headers, body = ask(address, request.method, path, request.body, request.headers)
        answers[request.name] = read(status, headers, b"" if request.method == "HEAD" else body)
        if request.keep and headers.get("Location"):
            parts = urlsplit(headers["Location"])
            places[request.keep] = parts.path + (f"?{parts.query}" if parts.query else "")
    return answers
