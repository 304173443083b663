"""
The libraries behind encoders: their versions, and what deflates. Each is loaded when it is needed.

Invariant: what `library_version` says changes whenever the bytes that the library writes may change.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any


def library_version(implementation: str) -> str:
    """What an encoder id says about the library; for isal with the processor, which changes its bytes."""
    if implementation == "libdeflate":
        import deflate

        return str(deflate.__version__)
    if implementation == "isal":
        import isal

        return f"{isal.ISAL_VERSION}-{os.uname().machine}"
    import zstandard

    return ".".join(str(number) for number in zstandard.ZSTD_VERSION)


def deflating() -> Any:
    """The library of `gzip-fast`, with the interface of `zlib`."""
    from isal import isal_zlib

    return isal_zlib


def gzip_member(level: int) -> Callable[[bytes], bytes]:
    """What makes a gzip member without name and time of a block, the same one on every processor."""
    import deflate

    def made(block: bytes) -> bytes:
        return bytes(deflate.gzip_compress(block, level))

    return made
