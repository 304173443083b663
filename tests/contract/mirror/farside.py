"""A registry behind a mirror that does what a test wants: late, wrong, limited, broken off, guarded."""

import asyncio
import base64
import hashlib
import json
import os
from pathlib import Path

from aiohttp import web

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def digest_of(raw):
    return "sha256:" + hashlib.sha256(raw).hexdigest()


class FarSide:
    """
    What is there, what was asked, and what goes wrong.

    `broken` answers everything with a status and headers; `cuts` breaks each GET of a blob off after so many
    bytes; `gate` holds a blob back after its first half; `lies` delivers other bytes of the same length;
    `silence` comes before each answer.
    """

    def __init__(self):
        self.tags = {}
        self.manifests = {}
        self.blobs = {}
        self.referrers = {}
        self.asked = []
        self.broken = None
        self.cuts = []
        self.gate = None
        self.silence = 0.0
        self.lies = set()
        self.says_digest = True
        self.knows_ranges = True
        self.knows_referrers = True
        self.says_length = True
        self.password = None
        self.elsewhere = ""
        self.server = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.port}"

    def app(self):
        app = web.Application()
        app.router.add_get("/token", self.token)
        app.router.add_get("/v2/", self.base)
        app.router.add_get("/v2/{name:.+}/manifests/{reference}", self.manifest)
        app.router.add_get("/v2/{name:.+}/blobs/{digest}", self.blob)
        app.router.add_get("/v2/{name:.+}/tags/list", self.list)
        app.router.add_get("/v2/{name:.+}/referrers/{digest}", self.referrer)
        return app

    def count(self, method="", part=""):
        return sum(1 for asked in self.asked if asked[0].startswith(method) and part in asked[1])

    def put(self, name, tag, raw, media_type=MANIFEST):
        digest = digest_of(raw)
        self.manifests[name, digest] = (media_type, raw)
        if tag:
            self.tags[name, tag] = digest
        return digest

    def image(self, name, tag, *layers, subject=None):
        """An image of these layers; gives its digest."""
        config = json.dumps({"of": [name, tag]}).encode()
        rows = []
        for raw in (config, *layers):
            self.blobs[name, digest_of(raw)] = raw
            rows.append({"mediaType": "application/x", "digest": digest_of(raw), "size": len(raw)})
        value = {"schemaVersion": 2, "mediaType": MANIFEST, "config": rows[0], "layers": rows[1:]}
        if subject:
            value |= {
                "subject": {"mediaType": MANIFEST, "digest": subject, "size": 1},
                "artifactType": "a/sig",
            }
        return self.put(name, tag, json.dumps(value).encode())

    async def admit(self, request):
        self.asked.append((request.method, request.path, dict(request.headers)))
        await asyncio.sleep(self.silence)
        if self.broken is not None:
            status, headers = self.broken
            raise _Failure(status, headers)
        if self.password is not None and request.headers.get("Authorization") != "Bearer let-me-in":
            challenge = f'Bearer realm="{self.url}/token",service="far"'
            raise _Failure(401, {"WWW-Authenticate": challenge})

    async def token(self, request):
        self.asked.append((request.method, request.path, dict(request.headers)))
        wanted = "Basic " + base64.b64encode(self.password.encode()).decode()
        if request.headers.get("Authorization") != wanted:
            return web.json_response({}, status=401)
        return web.json_response({"token": "let-me-in"})

    async def base(self, request):
        if self.password is not None:
            await self.admit(request)
        return web.json_response({})

    async def manifest(self, request):
        await self.admit(request)
        name, reference = request.match_info["name"], request.match_info["reference"]
        digest = self.tags.get((name, reference), reference)
        if (name, digest) not in self.manifests:
            return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status=404)
        media_type, raw = self.manifests[name, digest]
        headers = {"Content-Type": media_type, "ETag": f'"{digest}"'}
        if self.says_digest:
            headers["Docker-Content-Digest"] = digest
        if request.headers.get("If-None-Match") == f'"{digest}"':
            return web.Response(status=304, headers=headers)
        if digest in self.lies:
            raw = raw.replace(b"2", b"3")
        return web.Response(body=raw, headers=headers)

    async def blob(self, request):
        await self.admit(request)
        name, digest = request.match_info["name"], request.match_info["digest"]
        if self.elsewhere:
            raise web.HTTPTemporaryRedirect(f"{self.elsewhere}/v2/{name}/blobs/{digest}?signed=yes")
        raw = self.blobs.get((name, digest))
        if raw is None:
            return web.json_response({"errors": [{"code": "BLOB_UNKNOWN"}]}, status=404)
        if digest in self.lies:
            raw = raw[:-1] + bytes([raw[-1] ^ 1])
        response = web.StreamResponse(headers={"Docker-Content-Digest": digest})
        start = 0
        if self.knows_ranges and request.headers.get("Range", "").startswith("bytes="):
            start = int(request.headers["Range"].removeprefix("bytes=").rstrip("-"))
            response.set_status(206)
            response.headers["Content-Range"] = f"bytes {start}-{len(raw) - 1}/{len(raw)}"
        if self.says_length:
            response.content_length = len(raw) - start
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        half = start + (len(raw) - start) // 2
        if self.cuts:
            await response.write(raw[start : start + self.cuts.pop(0)])
            request.transport.abort()
            return response
        await response.write(raw[start:half])
        if self.gate is not None:
            await self.gate.wait()
        await response.write(raw[half:])
        await response.write_eof()
        return response

    async def list(self, request):
        await self.admit(request)
        name = request.match_info["name"]
        names = sorted(tag for repository, tag in self.tags if repository == name)
        if not names:
            return web.json_response({"errors": [{"code": "NAME_UNKNOWN"}]}, status=404)
        return web.json_response({"name": name, "tags": names})

    async def referrer(self, request):
        await self.admit(request)
        if not self.knows_referrers:
            return web.json_response({}, status=404)
        rows = self.referrers.get(request.match_info["digest"], [])
        return web.json_response(
            {"schemaVersion": 2, "mediaType": INDEX, "manifests": rows}, content_type=INDEX
        )


class _Failure(web.HTTPException):
    status_code = 500

    def __init__(self, status, headers):
        super().__init__(headers=headers, text="{}")
        self.set_status(status)


def damage(path, change):
    """Change a file, as a disk would."""
    os.chmod(path, 0o644)
    Path(path).write_bytes(change(Path(path).read_bytes()))


async def settled():
    """Wait until everything that was fetched is kept."""
    await until(lambda: not any(task.get_name().startswith("mirror ") for task in asyncio.all_tasks()))


async def until(condition):
    """Wait until something holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)
