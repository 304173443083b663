"""
The single JSON encoder for everything that we author and digest, and the bounded decoder for what we read.

Invariant: equal values give equal bytes on every Python version. Keys keep the order in which they were
written (documents have a conventional order); no blanks; UTF-8 without escaping.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from .errors import InvalidDocument

DOCUMENT_LIMIT = 4 * 1024 * 1024
"""Largest manifest, index or configuration that is read, in bytes (the distribution-spec asks for 4 MiB)."""


_SURROGATES = re.compile("[\ud800-\udfff]")


def encode(value: object) -> bytes:
    """Encode compactly, keeping the order of keys; what is no Unicode (lone surrogates) becomes U+FFFD."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Names and values that are not UTF-8 come in as surrogates; Go's encoder writes the same replacement.
        return _SURROGATES.sub("\ufffd", text).encode()


def encode_sorted(value: object) -> bytes:
    """Encode with sorted keys: the form for cache keys and other values without a conventional order."""
    return json.dumps(
        value, ensure_ascii=True, separators=(",", ":"), allow_nan=False, sort_keys=True
    ).encode()


def decode_object(data: bytes, what: str, *, limit: int = DOCUMENT_LIMIT) -> dict[str, Any]:
    """
    Decode a JSON object from untrusted bytes.

    Args:
        data: the document.
        what: how messages call it, as in "manifest of app:1".
        limit: largest accepted size in bytes.

    Raises:
        InvalidDocument: too large, not UTF-8 JSON, nested too deeply, or not an object.
    """
    if len(data) > limit:
        raise InvalidDocument(f"{what} is too large: {len(data)} bytes, at most {limit} are read")
    try:
        # Decoded here, because json would also guess UTF-16 and UTF-32.
        value = json.loads(data.decode(), parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as problem:
        raise InvalidDocument(f"{what} is not valid JSON: {problem}") from problem
    if not isinstance(value, dict):
        raise InvalidDocument(f"{what} is not a JSON object")
    return value


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number is out of range")
    return value
