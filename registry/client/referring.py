"""
The index of referrers that clients keep under a tag, for registries that do not keep one themselves.

Invariant: pure functions; entries that are there stay. Governing source: OCI distribution-spec, "Pushing
manifests with subject" and "Referrers tag schema".
"""

from __future__ import annotations

from dataclasses import replace

from oci_image.descriptor import Descriptor
from oci_image.documents import Document, Index, Manifest, author_index


def subject_of(document: Document[object]) -> Descriptor | None:
    """What a manifest refers to."""
    return document.value.subject if isinstance(document.value, Manifest | Index) else None


def with_referrer(
    known: Document[Manifest | Index] | None, document: Document[object]
) -> Document[Index] | None:
    """The index extended by a manifest; None when it is listed already."""
    index = known.value if known is not None and isinstance(known.value, Index) else Index(manifests=())
    if any(entry.digest == document.digest for entry in index.manifests):
        return None
    return author_index(replace(index, manifests=(*index.manifests, _entry(document))))


def _entry(document: Document[object]) -> Descriptor:
    value = document.value
    if isinstance(value, Manifest):
        kind = value.artifact_type or value.config.media_type
        return replace(document.descriptor, artifact_type=kind, annotations=value.annotations)
    if isinstance(value, Index):
        return replace(document.descriptor, artifact_type=value.artifact_type, annotations=value.annotations)
    return document.descriptor
