"""What the tests of the distribution API say to a registry, and how they read its answers."""

import asyncio
import io

from oci_image import mediatypes
from oci_image.digest import Digest
from oci_image.jsonbytes import encode

DATA = b"0123456789"
D = Digest.of(DATA)
D512 = Digest.of(DATA, "sha512")
ABSENT = Digest.of(b"absent")

CONFIG = b"{}"
UPLOADS = "/v2/lib/app/blobs/uploads/"
OCTETS = {"Content-Type": "application/octet-stream"}


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


async def chunks(*parts):
    for part in parts:
        yield part
