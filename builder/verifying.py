"""Reading the archive of a layer so that whoever came to its end knows that it has its diff_id."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO

from oci_image.digest import Digest, Hasher
from oci_image.errors import ImageError, VerificationFailed


class Verifying(io.RawIOBase):
    """Passes bytes on and compares their digest at the end."""

    def __init__(
        self,
        stream: BinaryIO,
        expected: Digest,
        verified: set[Digest],
        examine: Callable[[ImageError], None],
    ) -> None:
        self._stream = stream
        self._examine = examine
        self._expected = expected
        self._verified = verified
        self._hasher = Hasher(expected.algorithm)
        self._over = False

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """
        The next bytes.

        Raises:
            VerificationFailed: (at the end) they were not what they should be.
        """
        try:
            data = self._stream.read(size)
        except ImageError as problem:
            self._examine(problem)
            raise
        if data:
            self._hasher.update(data)
        if not self._over and (size < 0 or (not data and size)):
            self._over = True
            actual = self._hasher.digest()
            if actual != self._expected:
                broken = VerificationFailed(
                    f"a layer should have the diff_id {self._expected}, but its content is {actual}",
                    hint="the image is broken: its configuration does not belong to its layers",
                )
                self._examine(broken)
                raise broken
            self._verified.add(self._expected)
        return data

    def close(self) -> None:
        """Close the stream, too."""
        self._stream.close()
        super().close()
