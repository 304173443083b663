"""
The libraries behind encoders: their versions, and the two that deflate. Each is loaded when it is needed.

Invariant: what `library_version` says changes whenever the bytes that the library writes may change.
"""

from __future__ import annotations

import os
from typing import Any


def library_version(implementation: str) -> str:
    """What an encoder id says about the library; for isal with the processor, which changes its bytes."""
    if implementation == "zlib-ng":
        from zlib_ng import zlib_ng

        return str(zlib_ng.ZLIBNG_RUNTIME_VERSION)
    if implementation == "isal":
        import isal

        return f"{isal.ISAL_VERSION}-{os.uname().machine}"
    import zstandard

    return ".".join(str(number) for number in zstandard.ZSTD_VERSION)


def deflating(implementation: str) -> Any:
    """The library of a gzip encoder, with the interface of `zlib`."""
    if implementation == "zlib-ng":
        from zlib_ng import zlib_ng

        return zlib_ng
    from isal import isal_zlib

    return isal_zlib
