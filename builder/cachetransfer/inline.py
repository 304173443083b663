"""
Inline caches: the keys of an image's layers in an annotation of its manifest.

The configuration stays as it is without a cache, and so does the image ID. The annotation holds digests and
counts only; a layer that was not made by a step of the build, such as one that joins several, has none.
"""

from __future__ import annotations

from oci_image import jsonbytes
from oci_image.digest import Digest
from oci_image.errors import InvalidDigest, InvalidDocument

from ..graph import Target
from ..snapshots import Snapshot
from .document import CachedResult, check_versions, versions
from .gathering import Lookup, result_of, spine

ANNOTATION = "vnd.pybuild.cache.inline"
"""The annotation's key."""


def inline_cache(target: Target, snapshot: Snapshot, lookup: Lookup) -> dict[str, str]:
    """
    The annotation for the image of a target; nothing when none of its layers has a key.

    Args:
        target: what was built.
        snapshot: the layers of the image.
        lookup: the cache index.
    """
    results = []
    for step in spine(target):
        record = lookup(step.digest)
        found = None if record is None else result_of(step, record)
        if found is None:
            continue
        stack = found.base + found.layers
        if found.layers and snapshot.diff_ids[: len(stack)] == stack:
            results.append(
                [str(found.definition), str(found.content), len(found.base), len(stack), found.size]
            )
    if not results:
        return {}
    return {ANNOTATION: jsonbytes.encode({**versions(), "results": results}).decode()}


def read_inline(text: str, diff_ids: tuple[Digest, ...], where: str) -> tuple[CachedResult, ...]:
    """
    The results that an annotation tells of, for the image with these layers.

    Raises:
        InvalidDocument: it is not ours, of another version, or does not fit the image.
    """
    value = jsonbytes.decode_object(text.encode("utf-8", "replace"), where)
    check_versions(value, where)
    try:
        return tuple(_result(row, diff_ids) for row in value["results"])
    except (LookupError, TypeError, ValueError, InvalidDigest) as problem:
        raise InvalidDocument(f"{where} is no usable build cache: {problem!r}") from problem


def _result(row: object, diff_ids: tuple[Digest, ...]) -> CachedResult:
    if not isinstance(row, list) or len(row) != 5:
        raise TypeError("a result is no list of five")
    definition, content, base, count, size = row
    if not all(type(number) is int and number >= 0 for number in (base, count, size)):
        raise TypeError("a number is none")
    if not base <= count <= len(diff_ids):
        raise ValueError(f"{count} layers of {len(diff_ids)}")
    return CachedResult(
        definition=Digest.parse(str(definition)),
        content=Digest.parse(str(content)),
        base=diff_ids[:base],
        layers=diff_ids[base:count],
        size=size,
    )
