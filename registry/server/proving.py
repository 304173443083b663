"""
Verifying a blob block by block while it is on its way to a client.

Invariants: a block is sent after it was read and found right, or, as long as the blob has no seal, after it
went into the digest; then the last block is kept back until the digest is known. What is wrong is never
complete.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from oci_image.digest import Digest, Hasher
from oci_image.errors import VerificationFailed

from .sealing import BLOCK, Seals

_AT_HAND: int | None = getattr(os, "RWF_NOWAIT", None)
"""Reads without waiting for the disk; not every C library has it."""


class Proof:
    """
    The verification of one blob from its first byte to its last. Used by one thread at a time.

    Args:
        digest: what the bytes have to have.
        size: of the file in bytes.
        seals: where the seal of the blob is, or will be.
    """

    def __init__(self, digest: Digest, size: int, seals: Seals) -> None:
        self._digest = digest
        self._size = size
        self._seals = seals
        self._seal = seals.find(digest)
        self._hasher = Hasher(digest.algorithm)
        self._sealer = seals.sealer()
        self._taken = 0

    @property
    def is_sealed(self) -> bool:
        """Whether the blob has a seal, so that each block can be verified alone."""
        return self._seal is not None

    @property
    def following(self) -> int:
        """How many bytes the next block has; 0 at the end."""
        return min(BLOCK, self._size - self._taken)

    @property
    def is_done(self) -> bool:
        """Whether the last byte was verified."""
        return self._taken == self._size

    def take(self, block: bytes | memoryview) -> int:
        """
        Verify the next block, which is `BLOCK` bytes long unless it is the last one.

        Returns:
            how many of the first bytes of the blob may be sent now.

        Raises:
            VerificationFailed: it is damaged.
        """
        number = self._taken // BLOCK
        if len(block) != self.following:
            raise self._failure()
        self._taken += len(block)
        if self._seal is not None:
            if not self._seals.holds(self._seal, number, block):
                raise self._failure()
            return self._taken
        self._hasher.update(block)
        self._sealer.add(block)
        if not self.is_done:
            return self._taken
        # Until here the last block was withheld: who has all but that knows that it has not got all.
        if self._hasher.digest() != self._digest:
            raise self._failure()
        self._seals.add(self._digest, self._sealer.seal())
        return self._taken

    def _failure(self) -> VerificationFailed:
        return VerificationFailed(f"the content of {self._digest} is damaged")


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
