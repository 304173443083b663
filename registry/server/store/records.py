"""
The forms in which manifests and tags are stored.

A manifest is a line of JSON with what its bytes do not say, then the bytes; a tag is the digest that it
stands for.
"""

from __future__ import annotations

import json

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.errors import ImageError

from .base import StoredManifest


def encode_record(manifest: StoredManifest) -> bytes:
    """The content of the manifest's file."""
    header: dict[str, object] = {"descriptor": manifest.descriptor.to_json()}
    if manifest.subject is not None:
        header["subject"] = str(manifest.subject)
    return json.dumps(header).encode() + b"\n" + manifest.raw


def decode_record(data: bytes, digest: Digest) -> StoredManifest | None:
    """The manifest of a file; None when the file is damaged."""
    line, newline, raw = data.partition(b"\n")
    if not newline or Digest.of(raw, digest.algorithm) != digest:
        return None
    try:
        header = json.loads(line)
        descriptor = Descriptor.from_json(header["descriptor"], "stored manifest")
        subject = Digest.parse(header["subject"]) if "subject" in header else None
    except (ValueError, KeyError, TypeError, ImageError):
        return None
    return StoredManifest(descriptor=descriptor, raw=raw, subject=subject)


def encode_tag(digest: Digest) -> bytes:
    """What is written of a tag."""
    return f"{digest}\n".encode()


def decode_tag(data: bytes | None) -> Digest | None:
    """What a written tag stands for; None for what is missing or damaged."""
    try:
        return Digest.parse((data or b"").decode("ascii").strip())
    except (ImageError, UnicodeDecodeError):
        return None
