"""
The error codes of the distribution protocol: one table for both ends, with the JSON form of an error answer.

Invariants: each code appears once and carries its HTTP status and its message; an answer is always
``{"errors": [{"code", "message", "detail"}]}``. Codes that the specification does not name but that clients
know from the reference implementation come last. Governing source: OCI distribution-spec, "Error Codes".
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

BODY_LIMIT = 64 * 1024
"""Largest error body that is decoded, in bytes."""


class ErrorCode(Enum):
    """One row: (status, message); the name of the member is the code on the wire."""

    BLOB_UNKNOWN = (404, "blob unknown to registry")
    BLOB_UPLOAD_INVALID = (400, "blob upload invalid")
    BLOB_UPLOAD_UNKNOWN = (404, "blob upload unknown to registry")
    DIGEST_INVALID = (400, "provided digest did not match uploaded content")
    MANIFEST_BLOB_UNKNOWN = (400, "manifest references a manifest or blob unknown to registry")
    MANIFEST_INVALID = (400, "manifest invalid")
    MANIFEST_UNKNOWN = (404, "manifest unknown to registry")
    NAME_INVALID = (400, "invalid repository name")
    NAME_UNKNOWN = (404, "repository name not known to registry")
    SIZE_INVALID = (400, "provided length did not match content length")
    UNAUTHORIZED = (401, "authentication required")
    DENIED = (403, "requested access to the resource is denied")
    UNSUPPORTED = (405, "the operation is unsupported")
    TOOMANYREQUESTS = (429, "too many requests")
    # Known to clients from distribution/distribution, not part of the specification's table.
    TAG_INVALID = (400, "manifest tag did not match the grammar")
    PAGINATION_NUMBER_INVALID = (400, "invalid number of results requested")
    RANGE_INVALID = (416, "invalid content range")
    UNAVAILABLE = (503, "service unavailable")
    UNKNOWN = (500, "unknown error")

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message

    @classmethod
    def of(cls, text: str) -> ErrorCode:
        """The code of this name; UNKNOWN for one that is not in the table."""
        return cls.__members__.get(text, cls.UNKNOWN)


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """One error of an answer; `code` stays text because registries send codes of their own."""

    code: str
    message: str = ""
    detail: object = None


def entry(code: ErrorCode, detail: object = None, message: str = "") -> ErrorEntry:
    """An entry with the table's message unless another one is given."""
    return ErrorEntry(code.name, message or code.message, detail)


def encode(entries: Iterable[ErrorEntry]) -> bytes:
    """The JSON body of an error answer; an absent detail is left out."""
    errors = []
    for item in entries:
        row: dict[str, object] = {"code": item.code, "message": item.message}
        if item.detail is not None:
            row["detail"] = item.detail
        errors.append(row)
    return json.dumps({"errors": errors}).encode() + b"\n"


def decode(body: bytes) -> tuple[ErrorEntry, ...]:
    """
    The errors of an answer's body; empty for a body that does not have the form.

    Never raises: gateways and proxies answer with HTML, and then only the HTTP status is left to tell.
    """
    if len(body) > BODY_LIMIT:
        return ()
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return ()
    rows = value.get("errors") if isinstance(value, dict) else None
    if not isinstance(rows, list):
        return ()
    return tuple(
        ErrorEntry(str(row.get("code") or ""), str(row.get("message") or ""), row.get("detail"))
        for row in rows
        if isinstance(row, dict)
    )
