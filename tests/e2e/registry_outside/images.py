"""Images for clients to push, and what must be in a registry afterwards."""

import io
import json
import os
import tarfile

from oci_image.digest import Digest

USER = "ann"

SECRET = "secret"

INDEX = "application/vnd.oci.image.index.v1+json"

V2S2 = "application/vnd.docker.distribution.manifest.v2+json"


def archive(name, size=20_000):
    """A root filesystem with a file of new bytes, which no client remembers."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = size
        tar.addfile(member, io.BytesIO(os.urandom(size // 2) + bytes(size - size // 2)))
    return made.getvalue()


def write_blob(layout, data):
    digest = Digest.of(data)
    place = layout / "blobs" / "sha256"
    place.mkdir(parents=True, exist_ok=True)
    (place / digest.hex).write_bytes(data)
    return {"digest": str(digest), "size": len(data)}


def manifest_of(server, repository, reference):
    return json.loads(server.get(f"/v2/{repository}/manifests/{reference}"))


def assert_whole(server, repository, reference):
    """Everything that the manifest refers to comes back with its size and digest."""
    manifest = manifest_of(server, repository, reference)
    for child in manifest.get("manifests", []):
        assert_whole(server, repository, child["digest"])
    for row in [manifest["config"], *manifest["layers"]] if "config" in manifest else []:
        data = server.get(f"/v2/{repository}/blobs/{row['digest']}")
        assert len(data) == row["size"]
        assert str(Digest.of(data)) == row["digest"]
    return manifest
