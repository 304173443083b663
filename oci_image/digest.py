"""
Digests: the identity of bytes.

The only place that imports hashlib for content. Governing source: OCI image-spec, descriptor.md, "Digests".
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

from .errors import InvalidDigest

_HEX = frozenset("0123456789abcdef")
_LENGTHS = {"sha256": 64, "sha512": 128}


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """``algorithm:hex``, valid from construction by `parse` or `of`; equality is the identity of bytes."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """
        Read ``sha256:…`` or ``sha512:…`` (lower-case hex of full length).

        Raises:
            InvalidDigest: for anything else.
        """
        algorithm, colon, encoded = text.partition(":")
        length = _LENGTHS.get(algorithm)
        if not colon or length is None:
            raise InvalidDigest(f"invalid digest {text[:200]!r}: expected sha256:<hex> or sha512:<hex>")
        if len(encoded) != length or not _HEX.issuperset(encoded):
            raise InvalidDigest(
                f"invalid digest {text[:200]!r}: {algorithm} needs {length} lower-case hexadecimal digits"
            )
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Digest:
        """
        Compute the digest of bytes that are in hand.

        Raises:
            InvalidDigest: the algorithm is not supported.
        """
        if algorithm not in _LENGTHS:
            raise InvalidDigest(f"unsupported digest algorithm {algorithm[:40]!r}")
        return cls(algorithm, hashlib.new(algorithm, data).hexdigest())

    @property
    def short(self) -> str:
        """The first twelve hexadecimal digits, as tables show them."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


class _Hash(Protocol):
    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...

    def copy(self) -> _Hash: ...


class Hasher:
    """Computes a digest of bytes that pass by and counts them. Not safe for several threads at once."""

    def __init__(self, algorithm: str = "sha256") -> None:
        if algorithm not in _LENGTHS:
            raise InvalidDigest(f"unsupported digest algorithm {algorithm[:40]!r}")
        self.algorithm = algorithm
        self.size = 0
        self._hash: _Hash = hashlib.new(algorithm)

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; releases the interpreter lock for large blocks."""
        self._hash.update(data)
        self.size += len(data)

    def digest(self) -> Digest:
        """The digest of everything so far; more bytes may follow."""
        return Digest(self.algorithm, self._hash.hexdigest())
