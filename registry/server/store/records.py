"""The form of a manifest on disk: a line of JSON with what the bytes do not say, then the bytes."""

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
