"""
Choosing the manifest of an index that serves a platform.

Invariant: a pure function; the order of the index decides between equals. Governing sources: OCI image-spec
image-index.md; containerd's order of preference for variants.
"""

from __future__ import annotations

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.documents import Index
from oci_image.errors import NotFound
from oci_image.platform import Platform

_UNKNOWN = "unknown"


def choose(index: Index, wanted: Platform, what: str) -> Descriptor:
    """
    The entry to use for a platform: an exact match, else the nearest variant, else one without a platform.

    Raises:
        NotFound: there is none; the message lists the platforms that there are.
    """
    candidates = [entry for entry in index.manifests if not _is_attestation(entry)]
    serving = [entry for entry in candidates if entry.platform and entry.platform.serves(wanted)]
    if serving:
        return max(serving, key=lambda entry: _nearness(entry, wanted))
    for entry in candidates:
        if entry.platform is None and entry.media_type in mediatypes.ALL_MANIFESTS:
            return entry
    available = ", ".join(dict.fromkeys(str(entry.platform) for entry in candidates if entry.platform))
    raise NotFound(
        f"{what} has no image for {wanted}; it has {available or 'no images'}",
        hint=f"choose one with --platform: {available}" if available else None,
    )


def _is_attestation(entry: Descriptor) -> bool:
    """BuildKit puts provenance beside images, with a platform that nothing has."""
    return entry.platform is not None and entry.platform.os == _UNKNOWN


def _nearness(entry: Descriptor, wanted: Platform) -> tuple[bool, bool, str]:
    platform = entry.platform or wanted
    same_version = not wanted.os_version or platform.os_version == wanted.os_version
    return same_version, platform.variant == wanted.variant, platform.variant
