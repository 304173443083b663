"""
Seals: tags of the blocks of a blob, by which its bytes can be verified again without computing their digest.

Whoever computes the digest of a blob anyway seals each block meanwhile, with AES-GMAC under a key that only
this process knows. A block that has its tag later has the bytes of then, so it can be sent at once, whereas a
digest says nothing before the last byte; and the tag costs a fraction of the digest.

Invariants: a seal is found only of content that had its digest; what is sealed of an upload becomes a seal
when all of its bytes were sealed and its digest was right; seals live in memory only, so a new process
computes a digest once for each blob; all of them together, those of uploads too, have at most 64 MiB, which
is enough for 1 TiB of content, and those go first that were not used for longest. Governing source: NIST SP
800-38D (GMAC; a nonce is used for one block only, because each seal has a salt of its own).
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oci_image.digest import Digest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import AEADEncryptionContext

BLOCK = 256 * 1024
"""Bytes of a block; the last one of a blob is shorter."""

_LIMIT = 64 * 1024 * 1024
_TAG = 16
_SALT = 8

_UNFINISHED = 1024  # what a block costs of which only a part was sealed


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

    @property
    def cost(self) -> int:
        """Bytes that count for the limit."""
        return len(self.tags)


class Sealer:
    """
    Makes the seal of a blob whose bytes come in order; used by one thread at a time.

    Attributes:
        size: how many bytes came.
    """

    def __init__(self, key: Callable[[], _Key]) -> None:
        self._key = key
        self._salt = secrets.token_bytes(_SALT)
        self._tags = bytearray()
        self._part: AEADEncryptionContext | None = None
        self.size = 0

    @property
    def count(self) -> int:
        """How many blocks are sealed."""
        return len(self._tags) // _TAG

    @property
    def cost(self) -> int:
        """Bytes that count for the limit."""
        return len(self._tags) + _UNFINISHED

    def add(self, block: bytes | memoryview) -> None:
        """The next block as a whole; blocks come this way or by `update`."""
        self._tags += self._key().tag(_nonce(self._salt, self.count), block)
        self.size += len(block)

    def update(self, data: bytes | memoryview) -> None:
        """The next bytes, however many."""
        left = memoryview(data)
        while left:
            taken = left[: BLOCK - self.size % BLOCK]
            left = left[len(taken) :]
            if len(taken) == BLOCK:
                self.add(taken)
                continue
            if self._part is None:
                self._part = self._key().begin(_nonce(self._salt, self.count))
            self._part.authenticate_additional_data(taken)
            self.size += len(taken)
            if self.size % BLOCK == 0:
                self._finish_part()

    def holds(self, number: int, block: bytes | memoryview) -> bool:
        """Whether a block that was sealed, counted from 0, has the bytes of then; for any thread."""
        expected = self._tags[number * _TAG : (number + 1) * _TAG]
        return self._key().tag(_nonce(self._salt, number), block) == expected

    def seal(self) -> Seal:
        """The seal of what came; nothing follows."""
        self._finish_part()
        return Seal(self._salt, bytes(self._tags))

    def _finish_part(self) -> None:
        if self._part is not None:
            self._part.finalize()
            self._tags += self._part.tag
            self._part = None


class Seals:
    """
    The seals of blobs, by digest, and what is sealed of uploads, by name. May be used by several threads.

    Args:
        limit: bytes of all tags together.
    """

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._size = 0
        self._known: OrderedDict[Digest | str, Seal | Sealer] = OrderedDict()
        self._lock = threading.Lock()
        self._made: _Key | None = None

    def sealer(self) -> Sealer:
        """For a blob whose digest is being computed."""
        return Sealer(self._key)

    def add(self, digest: Digest, seal: Seal) -> None:
        """Keep the seal of content that had this digest."""
        with self._lock:
            self._keep(digest, seal)

    def find(self, digest: Digest) -> Seal | None:
        """The seal of a blob, or None."""
        with self._lock:
            found = self._find(digest)
        return found if isinstance(found, Seal) else None

    def holds(self, seal: Seal, number: int, block: bytes | memoryview) -> bool:
        """Whether a block, counted from 0, has the bytes that it had when it was sealed."""
        expected = seal.tags[number * _TAG : (number + 1) * _TAG]
        return self._key().tag(_nonce(seal.salt, number), block) == expected

    def extend(self, upload: str, start: int, parts: Iterable[bytes | memoryview]) -> None:
        """
        Seal the next bytes of an upload if all before them were; for each upload by one thread at a time.

        Args:
            upload: its name.
            start: how many bytes it had before; 0 begins anew.
            parts: the bytes.
        """
        with self._lock:
            if not start:
                self._keep(upload, self.sealer())
            sealer = self._find(upload)
            if not isinstance(sealer, Sealer) or sealer.size != start:
                self._forget(upload)
                return
        before = sealer.cost
        for part in parts:
            sealer.update(part)
        with self._lock:
            if self._known.get(upload) is sealer:
                self._size += sealer.cost - before
                self._shrink()

    def finish(self, upload: str, size: int) -> Seal | None:
        """
        Forget an upload.

        Returns:
            the seal of its content, to be added if the digest is right; None for a single block, which is
            verified as a whole, and when not exactly so many bytes were sealed.
        """
        with self._lock:
            sealer = self._forget(upload)
        if not isinstance(sealer, Sealer) or sealer.size != size or size <= BLOCK:
            return None
        return sealer.seal()

    def _keep(self, name: Digest | str, what: Seal | Sealer) -> None:
        self._forget(name)
        self._known[name] = what
        self._size += what.cost
        self._shrink()

    def _find(self, name: Digest | str) -> Seal | Sealer | None:
        found = self._known.get(name)
        if found is not None:
            self._known.move_to_end(name)
        return found

    def _shrink(self) -> None:
        while self._size > self._limit:
            self._forget(next(iter(self._known)))

    def _forget(self, name: Digest | str) -> Seal | Sealer | None:
        gone = self._known.pop(name, None)
        if gone is not None:
            self._size -= gone.cost
        return gone

    def _key(self) -> _Key:
        with self._lock:
            if self._made is None:
                self._made = _Key()
            return self._made

    def __len__(self) -> int:
        return len(self._known)


class _Key:
    """GMAC under a new key; made when the first blob is verified, because a start should be quick."""

    def __init__(self) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._bytes = secrets.token_bytes(16)
        self._encrypt = AESGCM(self._bytes).encrypt

    def tag(self, nonce: bytes, block: bytes | memoryview) -> bytes:
        """The tag of a block that is at hand."""
        # Of no text: what is left is the tag of the block, which is "associated data".
        return self._encrypt(nonce, b"", block)

    def begin(self, nonce: bytes) -> AEADEncryptionContext:
        """The same for a block that comes in parts."""
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        return Cipher(algorithms.AES(self._bytes), modes.GCM(nonce)).encryptor()


def _nonce(salt: bytes, number: int) -> bytes:
    return salt + number.to_bytes(4, "big")
