"""
Verifying a blob block by block while it is on its way to a client.

Invariants: a block is sent after it was read and found right, or, as long as the blob has no seal, after the
same bytes went into the digest; then the last block is kept back until the digest is known. What is wrong is
never complete. The digest of a file is computed once at a time, however many clients want it; and what the
kernel sends of a file with a seal is verified for one of those clients a moment before.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import BinaryIO

from oci_image.digest import Digest, Hasher
from oci_image.errors import VerificationFailed

from .sealing import BLOCK, Seals

_AT_HAND: int | None = getattr(os, "RWF_NOWAIT", None)
"""Reads without waiting for the disk; not every C library has it."""

_MOMENT = 0.05  # seconds for which a block that was found right is so for others who send the same file


class Company:
    """
    What those have in common who send the same file at the same time. May be used by several threads.

    As long as the file has no seal, whoever is ahead takes the next block into the digest. The others compare
    theirs with its tag, which costs a fraction, and overtake when the one ahead has a slow client.

    Args:
        digest: what the bytes have to have.
        size: of the file in bytes.
        seals: where the seal of the blob is, or will be.
        clock: seconds that never jump.
    """

    def __init__(
        self, digest: Digest, size: int, seals: Seals, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._digest = digest
        self._size = size
        self._seals = seals
        self._clock = clock
        self._hasher = Hasher(digest.algorithm)
        self._sealer = seals.sealer()
        self._is_damaged = False
        self._right: dict[int, float] = {}  # when blocks were found right, in this order
        self._lock = threading.Lock()

    def digest(self, number: int, block: bytes | memoryview) -> bool:
        """
        Whether a block may be sent, because it is in the digest, or the last one and the digest is right.

        Args:
            number: of the block, counted from 0; all before it were taken.
            block: its bytes.
        """
        with self._lock:
            if number == self._sealer.count:
                return self._extend(block)
        return self._sealer.holds(number, block)

    def _extend(self, block: bytes | memoryview) -> bool:
        if self._is_damaged:
            return False
        self._hasher.update(block)
        if self._hasher.size == self._size and self._hasher.digest() != self._digest:
            self._is_damaged = True
            return False
        self._sealer.add(block)
        if self._hasher.size == self._size:
            self._seals.add(self._digest, self._sealer.seal())
        return True

    def note(self, number: int) -> None:
        """A block has the bytes that it had when it was sealed."""
        now = self._clock()
        with self._lock:
            self._right.pop(number, None)
            self._right[number] = now
            while self._right[oldest := next(iter(self._right))] <= now - _MOMENT:
                del self._right[oldest]

    def knows(self, number: int) -> bool:
        """Whether somebody found the block right a moment ago."""
        return self._right.get(number, -_MOMENT) > self._clock() - _MOMENT


class Proof:
    """
    The verification of one blob from its first byte to its last. Used by one thread at a time.

    Attributes:
        size: of the file in bytes.

    Args:
        digest: what the bytes have to have.
        size: as above.
        seals: where the seal of the blob is, or will be.
        company: of all who send the same file; by default nobody else does.
    """

    def __init__(self, digest: Digest, size: int, seals: Seals, company: Company | None = None) -> None:
        self._digest = digest
        self.size = size
        self._seals = seals
        self._seal = seals.find(digest)
        self._company = company or Company(digest, size, seals)
        self._taken = 0

    @property
    def is_sealed(self) -> bool:
        """Whether the blob has a seal by now, so that each block can be verified alone."""
        if self._seal is None:
            self._seal = self._seals.find(self._digest)
        return self._seal is not None

    @property
    def following(self) -> int:
        """How many bytes the next block has; 0 at the end."""
        return min(BLOCK, self.size - self._taken)

    @property
    def is_done(self) -> bool:
        """Whether the last byte was verified."""
        return self._taken == self.size

    def take(self, block: bytes | memoryview) -> int:
        """
        Verify the next block, which is `BLOCK` bytes long unless it is the last one.

        Returns:
            how many of the first bytes of the blob may be sent now.

        Raises:
            VerificationFailed: it is damaged.
        """
        if len(block) != self.following or not self._is_right(self._taken // BLOCK, block):
            raise VerificationFailed(f"the content of {self._digest} is damaged")
        self._taken += len(block)
        return self._taken

    def _is_right(self, number: int, block: bytes | memoryview) -> bool:
        if self._seal is None:
            # The last block is withheld: who has all but that knows that it has not got all.
            return self._company.digest(number, block)
        if not self._seals.holds(self._seal, number, block):
            return False
        self._company.note(number)
        return True

    def skip(self) -> int:
        """
        Take the next block for right if somebody else in the company found it right a moment ago.

        Returns:
            how many bytes it has; 0 when it has to be read.
        """
        if self._seal is None or not self._company.knows(self._taken // BLOCK):
            return 0
        skipped = self.following
        self._taken += skipped
        return skipped


class FileProof:
    """
    The verification of a file that the kernel sends: what is read for it is not kept.

    Args:
        proof: of the blob.
        file: with its bytes.
    """

    def __init__(self, proof: Proof, file: BinaryIO) -> None:
        self._proof = proof
        self._file = file
        self._offset = 0

    @property
    def is_done(self) -> bool:
        """Whether the last byte was verified."""
        return self._proof.is_done

    def advance(self, blocks: int) -> int:
        """
        Read and verify so many more blocks; waits for the disk.

        Returns:
            how many of the first bytes of the file may be sent now.

        Raises:
            VerificationFailed: they are damaged, or the file is shorter than it was.
        """
        return self._advance(blocks, bytearray(BLOCK), 0)

    def advance_at_hand(self, blocks: int, buffer: bytearray) -> int:
        """
        Read and verify so many more blocks, or those of them that need no disk because the kernel has them.

        Args:
            blocks: how many.
            buffer: of `BLOCK` bytes, which are written over.

        Returns, raises:
            as `advance`.
        """
        return self._offset if _AT_HAND is None else self._advance(blocks, buffer, _AT_HAND)

    def _advance(self, blocks: int, buffer: bytearray, flags: int) -> int:
        ready = self._offset
        for _ in range(blocks):
            if self._proof.is_done:
                break
            if skipped := self._proof.skip():
                ready = self._offset = self._offset + skipped
                continue
            try:
                count = os.preadv(self._file.fileno(), [buffer], self._offset, flags)
            except OSError:
                if not flags:
                    raise
                break  # nothing is at hand, or the file system cannot tell
            if flags and count < self._proof.following:
                break
            ready = self._proof.take(memoryview(buffer)[:count])
            self._offset += count
        return ready


def prove_all(proof: Proof, file: BinaryIO) -> None:
    """
    Read and verify a whole file from its first byte; blocks.

    Raises:
        VerificationFailed: it is damaged.
    """
    file.seek(0)
    while not proof.is_done:
        proof.take(file.read(BLOCK))
    file.seek(0)
