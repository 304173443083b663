"""What a stored manifest refers to, read from its bytes without judging them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from oci_image.digest import Digest
from oci_image.errors import ImageError
from oci_image.mediatypes import is_foreign


@dataclass(frozen=True, slots=True)
class References:
    """
    The digests that a manifest names.

    Attributes:
        blobs: configuration and layers.
        manifests: entries of an index.
        foreign: those of the blobs that clients get elsewhere.
    """

    blobs: tuple[Digest, ...] = ()
    manifests: tuple[Digest, ...] = ()
    foreign: tuple[Digest, ...] = ()


def read_references(raw: bytes) -> References:
    """What the manifest refers to; nothing for bytes that are no JSON object."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return References()
    if not isinstance(value, dict):
        return References()
    blobs = [value.get("config"), *_rows(value, "layers"), *_rows(value, "blobs")]
    foreign = [row for row in blobs if isinstance(row, dict) and _is_foreign(row)]
    return References(_digests(blobs), _digests(_rows(value, "manifests")), _digests(foreign))


def _is_foreign(row: dict[str, Any]) -> bool:
    return bool(row.get("urls")) or is_foreign(str(row.get("mediaType")))


def _rows(value: dict[str, Any], member: str) -> list[Any]:
    rows = value.get(member)
    return rows if isinstance(rows, list) else []


def _digests(rows: list[Any]) -> tuple[Digest, ...]:
    found: dict[Digest, None] = {}
    for row in rows:
        if isinstance(row, dict) and isinstance(row.get("digest"), str):
            try:
                found[Digest.parse(row["digest"])] = None
            except ImageError:
                continue
    return tuple(found)
