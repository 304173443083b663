"""
What a pushed manifest says: its media type, what it refers to, its subject.

Invariants: the bytes are only read, never written again; every media type is accepted, but one that is known
must have its form; JSON that two parsers could read differently (duplicate keys, NaN, half surrogates) is
refused.
Governing sources: OCI image-spec manifest.md and image-index.md; distribution-spec "Pushing Manifests".
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.errors import InvalidDocument

from ..errors import ApiError
from ..protocol.errors import ErrorCode
from .store.base import StoredManifest

_GENERIC = (
    "",
    "application/octet-stream",
    "application/json",
    "text/plain",
    "application/x-www-form-urlencoded",
)
_SCHEMA1 = (mediatypes.DOCKER_MANIFEST_V1, mediatypes.DOCKER_MANIFEST_V1_SIGNED)


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedManifest:
    """
    A manifest on its way in.

    Attributes:
        stored: as the storage keeps it.
        blobs: configuration and layers that the repository must have.
        manifests: entries of an index that the repository must have.
    """

    stored: StoredManifest
    blobs: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] = ()


def invalid(message: str, detail: object = None) -> ApiError:
    """MANIFEST_INVALID with a sentence that says why."""
    return ApiError(ErrorCode.MANIFEST_INVALID, detail, message=f"manifest invalid: {message}")


def read(raw: bytes, content_type: str, digest: Digest) -> PushedManifest:
    """
    Read a manifest whose digest was checked. May take a while for a large one.

    Raises:
        ApiError: MANIFEST_INVALID.
    """
    value = _decode(raw)
    media_type = _media_type(value, content_type)
    try:
        subject = value.get("subject")
        referred = None if subject is None else Descriptor.from_json(subject, "subject").digest
        manifests = _descriptors(value, "manifests")
        blobs = _blobs(value)
    except InvalidDocument as problem:
        raise invalid(problem.message) from problem
    annotations = value.get("annotations") if referred is not None else None
    descriptor = Descriptor(
        media_type=media_type,
        digest=digest,
        size=len(raw),
        artifact_type=_artifact_type(value, media_type),
        annotations={str(k): str(v) for k, v in annotations.items()} if isinstance(annotations, dict) else {},
    )
    return PushedManifest(
        stored=StoredManifest(descriptor=descriptor, raw=raw, subject=referred),
        blobs=tuple(item for item in blobs if not item.urls and not mediatypes.is_foreign(item.media_type)),
        manifests=tuple(manifests),
    )


def _decode(raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode()
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as problem:
        raise invalid("it is nested too deeply") from problem
    except ValueError as problem:
        raise invalid(f"it is not acceptable JSON: {str(problem)[:200]}") from problem
    if not isinstance(value, dict):
        raise invalid("it is not an object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _media_type(value: dict[str, Any], content_type: str) -> str:
    sent = content_type.partition(";")[0].strip().lower()
    stated = value.get("mediaType", "")
    if not isinstance(stated, str):
        raise invalid("mediaType is not a string")
    if sent in _SCHEMA1 or value.get("schemaVersion") == 1:
        raise invalid("schema 1 is not supported; push it again with a current client")
    if sent in _GENERIC:
        sent = ""
    if stated and sent and stated != sent:
        raise invalid("Content-Type and mediaType differ", {"contentType": sent, "mediaType": stated})
    media_type = stated or sent or _guess(value)
    if not media_type.isprintable() or not media_type.isascii() or len(media_type) > 255:
        raise invalid("the media type is not acceptable")
    is_index, is_manifest = mediatypes.is_index(media_type), mediatypes.is_manifest(media_type)
    if (is_index or is_manifest) and value.get("schemaVersion") != 2:
        raise invalid("schemaVersion is not 2")
    if is_index and ("manifests" not in value or "layers" in value or "config" in value):
        raise invalid("it does not have the form of an index")
    if is_manifest and ("config" not in value or "layers" not in value or "manifests" in value):
        raise invalid("it does not have the form of an image manifest")
    return media_type


def _guess(value: dict[str, Any]) -> str:
    if "manifests" in value:
        return mediatypes.OCI_INDEX
    if "config" in value:
        return mediatypes.OCI_MANIFEST
    raise invalid("neither Content-Type nor mediaType says what it is")


def _blobs(value: dict[str, Any]) -> Iterable[Descriptor]:
    found = _descriptors(value, "layers") + _descriptors(value, "blobs")
    config = value.get("config")
    return found if config is None else [Descriptor.from_json(config, "config"), *found]


def _descriptors(value: dict[str, Any], member: str) -> list[Descriptor]:
    rows = value.get(member)
    if rows is None:
        return []
    if not isinstance(rows, list):
        raise InvalidDocument(f"{member} is not a list")
    return [Descriptor.from_json(row, f"{member}[{number}]") for number, row in enumerate(rows)]


def _artifact_type(value: dict[str, Any], media_type: str) -> str:
    stated = value.get("artifactType")
    if isinstance(stated, str) and stated:
        return stated
    config = value.get("config")
    if mediatypes.is_index(media_type) or not isinstance(config, dict):
        return ""
    return str(config.get("mediaType") or "")
