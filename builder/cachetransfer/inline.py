"""
Inline caches: the keys of an image's layers in an annotation of its manifest.

The configuration stays as it is without a cache, and so does the image ID. The annotation holds digests and
counts only. Each key says of which layers it is, by their ChainID: one whose layers are not those of the
image, because somebody joined or rewrote them, means nothing.
"""

from __future__ import annotations

from oci_image import jsonbytes
from oci_image.digest import Digest
from oci_image.errors import InvalidDigest, InvalidDocument
from oci_image.image import chain_id

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
            numbers = [len(found.base), len(stack), found.size]
            results.append([str(found.definition), str(found.content), str(chain_id(stack)), *numbers])
    if not results:
        return {}
    return {ANNOTATION: jsonbytes.encode({**versions(), "results": results}).decode()}


def read_inline(text: str, diff_ids: tuple[Digest, ...], where: str) -> tuple[CachedResult, ...]:
    """
    The results that an annotation tells of, for the image with these layers.

    Results of other layers than those of the image are left out.

    Raises:
        InvalidDocument: it is not ours, of another version, or makes no sense.
    """
    value = jsonbytes.decode_object(text.encode("utf-8", "replace"), where)
    check_versions(value, where)
    try:
        found = [_result(row, diff_ids) for row in value["results"]]
    except (LookupError, TypeError, ValueError, InvalidDigest) as problem:
        raise InvalidDocument(f"{where} is no usable build cache: {problem!r}") from problem
    return tuple(result for chain, result in found if chain_id(result.base + result.layers) == chain)


def _result(row: object, diff_ids: tuple[Digest, ...]) -> tuple[Digest, CachedResult]:
    if not isinstance(row, list) or len(row) != 6:
        raise TypeError("a result is no list of six")
    definition, content, chain, base, count, size = row
    if not all(type(number) is int and number >= 0 for number in (base, count, size)):
        raise TypeError("a number is none")
    if not base <= count <= len(diff_ids):
        raise ValueError(f"{count} layers of {len(diff_ids)}")
    return Digest.parse(str(chain)), CachedResult(
        definition=Digest.parse(str(definition)),
        content=Digest.parse(str(content)),
        base=diff_ids[:base],
        layers=diff_ids[base:count],
        size=size,
    )
