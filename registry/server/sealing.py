"""
Seals: tags of the blocks of a blob, by which its bytes can be verified again without computing their digest.

Whoever computes the digest of a blob anyway seals each block meanwhile, with AES-GMAC under a key that only
this process knows. A block that has its tag later has the bytes of then, so it can be sent at once, whereas a
digest says nothing before the last byte; and the tag costs a tenth of the digest or less.

Invariants: seals are kept only of content that had its digest; they live in memory only, so a new process
computes each digest once; all of them together have at most 64 MiB, which is enough for 1 TiB of content, and
those go first that were not used for longest. Governing source: NIST SP 800-38D (GMAC; a nonce is used for
one block only, because each seal has a salt of its own).
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from oci_image.digest import Digest

BLOCK = 256 * 1024
"""Bytes of a block; the last one of a blob is shorter."""

_LIMIT = 64 * 1024 * 1024
_TAG = 16
_SALT = 8

_Tag = Callable[[bytes, bytes | memoryview], bytes]


@dataclass(frozen=True, slots=True)
class Seal:
    """
    What tells the bytes of one blob from all others.

    Attributes:
        salt: begins the nonces of this blob.
        tags: of the blocks, one after the other.
    """

    salt: bytes
    tags: bytes


class Sealer:
    """Makes the seal of a blob whose blocks come in order; used by one thread at a time."""

    def __init__(self, tag: _Tag) -> None:
        self._tag = tag
        self._salt = secrets.token_bytes(_SALT)
        self._tags = bytearray()

    def add(self, block: bytes | memoryview) -> None:
        """The next block."""
        self._tags += self._tag(_nonce(self._salt, len(self._tags) // _TAG), block)

    def seal(self) -> Seal:
        """The seal of what came."""
        return Seal(self._salt, bytes(self._tags))


class Seals:
    """
    The seals of blobs, by digest. May be used by several threads.

    Args:
        limit: bytes of all tags together.
    """

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._size = 0
        self._known: OrderedDict[Digest, Seal] = OrderedDict()
        self._lock = threading.Lock()
        self._made: _Tag | None = None

    def sealer(self) -> Sealer:
        """For a blob whose digest is being computed."""
        return Sealer(self._tag)

    def add(self, digest: Digest, seal: Seal) -> None:
        """Keep the seal of content that had this digest."""
        with self._lock:
            self._forget(digest)
            self._known[digest] = seal
            self._size += len(seal.tags)
            while self._size > self._limit:
                self._forget(next(iter(self._known)))

    def find(self, digest: Digest) -> Seal | None:
        """The seal of a blob, or None."""
        with self._lock:
            found = self._known.get(digest)
            if found is not None:
                self._known.move_to_end(digest)
            return found

    def holds(self, seal: Seal, number: int, block: bytes | memoryview) -> bool:
        """Whether a block, counted from 0, has the bytes that it had when it was sealed."""
        expected = seal.tags[number * _TAG : (number + 1) * _TAG]
        return self._tag(_nonce(seal.salt, number), block) == expected

    def _forget(self, digest: Digest) -> None:
        gone = self._known.pop(digest, None)
        if gone is not None:
            self._size -= len(gone.tags)

    def _tag(self, nonce: bytes, block: bytes | memoryview) -> bytes:
        with self._lock:
            tag = self._made = self._made or _gmac()
        return tag(nonce, block)

    def __len__(self) -> int:
        return len(self._known)


def _nonce(salt: bytes, number: int) -> bytes:
    return salt + number.to_bytes(4, "big")


def _gmac() -> _Tag:
    """GMAC under a new key; loaded when the first blob is verified, because a start should be quick."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    encrypt = AESGCM(secrets.token_bytes(16)).encrypt

    def tag(nonce: bytes, block: bytes | memoryview) -> bytes:
        # Of no text: what is left is the tag of the block, which is "associated data".
        return encrypt(nonce, b"", block)

    return tag
