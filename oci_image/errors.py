"""
The errors of the image model.

    ImageError
     ├ InvalidReference       a name that is no image reference
     ├ InvalidDigest          a text that is no digest
     ├ InvalidPlatform        a text that is no platform
     ├ InvalidDocument        a manifest, index or configuration that cannot be used
     ├ NotFound               a digest or a tag that a store does not hold
     ├ VerificationFailed     bytes that do not have the digest or size that was promised
     ├ UnsafeLayer            an archive member that would leave its root, or a broken archive
     └ StoreProblem           a store that cannot be read or written
"""

from __future__ import annotations


class ImageError(Exception):
    """
    Base of the image model's errors.

    Args:
        message: one sentence without a final period.
        hint: what a human can do about it, if anything.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InvalidReference(ImageError):
    """A text is not an image reference."""


class InvalidDigest(ImageError):
    """A text is not a digest of a supported algorithm."""


class InvalidPlatform(ImageError):
    """A text is not a platform."""


class InvalidDocument(ImageError):
    """A manifest, index or configuration cannot be used."""


class NotFound(ImageError):
    """A store does not hold what was asked for."""


class VerificationFailed(ImageError):
    """Bytes do not have the digest or the size that was promised."""


class UnsafeLayer(ImageError):
    """A layer archive is broken, or one of its members would leave the root."""


class StoreProblem(ImageError):
    """A store cannot be read or written."""
