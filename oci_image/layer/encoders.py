"""
Encoders: how a layer is compressed where it leaves, as a value.

Invariant: the same encoder id and the same bytes give the same compressed bytes, whatever the number of
threads; for the default encoder also on every processor, so that the digest of a pushed image can be
reproduced.
Governing sources: RFC 1952 (gzip), RFC 8878 (Zstandard), OCI image-spec layer.md (media types).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ImageError
from ..mediatypes import layer_type
from .codecs import library_version

BLOCK = 512 * 1024
"""Bytes of input that one thread compresses at once with a gzip encoder; part of the encoder id."""

_LEVELS = {"libdeflate": range(13), "isal": range(3), "zstandard": range(23)}
"""0 is "stored" for libdeflate, and the library's own level for zstandard."""
_NAMES = {
    "gzip": ("gzip", "libdeflate", 1),
    "gzip-fast": ("gzip", "isal", 2),
    "zstd": ("zstd", "zstandard", 3),
    "uncompressed": ("none", "", 0),
    "none": ("none", "", 0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """
    A way to compress: format, library and level. Made by `parse_encoder`.

    `kind` is ``gzip``, ``zstd`` or ``none``; `implementation` is ``libdeflate`` (the same bytes on every
    processor), ``isal`` (fast; the bytes depend on the processor), ``zstandard`` or empty.
    """

    kind: str
    implementation: str
    level: int

    @property
    def id(self) -> str:
        """All that the bytes depend on, also the library's version: the key of remembered results."""
        if self.kind == "none":
            return "none"
        parts = [self.implementation, library_version(self.implementation), f"l{self.level}"]
        if self.kind == "gzip":
            parts.append(f"{BLOCK // 1024}k")
        return "/".join(parts)

    def media_type(self, *, docker: bool = False) -> str:
        """The media type of a layer that this encoder wrote, in OCI's or in Docker's family."""
        return layer_type(self.kind, docker=docker)

    def __str__(self) -> str:
        name = next(name for name, row in _NAMES.items() if row[:2] == (self.kind, self.implementation))
        return name if self.level == _NAMES[name][2] else f"{name}:{self.level}"


DEFAULT_ENCODER = Encoder(kind="gzip", implementation="libdeflate", level=1)
"""What clients of every age can read; level 6 would take twice as long to save 9 % of the bytes."""


def parse_encoder(text: str) -> Encoder:
    """
    Read ``gzip``, ``gzip-fast``, ``zstd`` (each with an optional ``:level``) or ``uncompressed``.

    Raises:
        ImageError: an unknown name, or a level that the library does not have.
    """
    name, colon, level_text = text.strip().partition(":")
    row = _NAMES.get(name)
    if row is None:
        raise ImageError(
            f"unknown compression {name!r}", hint="use gzip, gzip-fast, zstd, zstd:<level> or uncompressed"
        )
    kind, implementation, level = row
    if not colon:
        return Encoder(kind=kind, implementation=implementation, level=level)
    levels = _LEVELS.get(implementation)
    if levels is None:
        raise ImageError(f"compression {name!r} has no levels")
    if not (level_text.isascii() and level_text.isdigit() and int(level_text[:4]) in levels):
        raise ImageError(
            f"invalid compression level {level_text!r}: {name} has the levels {levels[0]} to {levels[-1]}"
        )
    return Encoder(kind=kind, implementation=implementation, level=int(level_text))
