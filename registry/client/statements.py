"""
What a registry states about content in the headers of its answers, and whether that is true.

Governing source: OCI distribution-spec, "Pulling manifests".
"""

from __future__ import annotations

from oci_image.digest import Digest
from oci_image.errors import InvalidDigest, VerificationFailed

from ..protocol import headers
from .messages import Fetched


def stated_digest(answer: Fetched) -> Digest | None:
    """The digest of the content, where the registry tells it and it can be read."""
    try:
        return Digest.parse(answer.headers.get(headers.DIGEST_HEADER, ""))
    except InvalidDigest:
        return None


def stated_size(answer: Fetched) -> int | None:
    """The size of the content, where the registry tells it and it can be read."""
    length = answer.headers.get("Content-Length", "")
    return int(length[:18]) if length.isascii() and length.isdigit() else None


def media_type(answer: Fetched) -> str:
    """The media type without its parameters; "" where the registry tells none."""
    return answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def verify(data: bytes, expected: Digest, what: str) -> None:
    """
    Compare bytes with the digest that they must have.

    Raises:
        VerificationFailed: they have another; `what` says which bytes.
    """
    actual = Digest.of(data, expected.algorithm)
    if actual != expected:
        raise VerificationFailed(f"{what}: expected the digest {expected}, got {actual}")
