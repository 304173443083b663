"""Values for the tests of cache transfers."""

from builder.cachetransfer.document import CachedResult
from oci_image.digest import Digest


def digest(text):
    return Digest.of(text.encode())


def result(name, *, base=(), layers=(), size=0):
    return CachedResult(
        definition=digest(f"{name} definition"),
        content=digest(f"{name} content"),
        base=tuple(map(digest, base)),
        layers=tuple(map(digest, layers)),
        size=size,
    )
