"""
The cache document: what an exported cache says about its layers, as the configuration of an OCI manifest.

A cache is a manifest whose layers are those of the cached steps, and whose configuration is this document:
for each layer its diff_id, for each result its two keys and the numbers of its layers. Layers of base images
are named, never contained. Nothing in it depends on the clock, so an unchanged cache is an unchanged
manifest; there are digests only, no names, commands or values of the build. A document with other versions
than ours is refused before anything else of it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from oci_image import jsonbytes
from oci_image.digest import Digest
from oci_image.errors import InvalidDigest, InvalidDocument

from ..graph import KEY_VERSION

CACHE_CONFIG = "application/vnd.pybuild.cache.config.v1+json"
"""The media type of the document, and the artifact type of the manifest."""

BUILDKIT_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
"""The media type of what BuildKit writes in its place."""

FORMAT = 1
"""Raise it when the members change their meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedResult:
    """
    The result of a step, by diff_ids: `base` those of the base image, `layers` all others, base first.

    `definition` and `content` are its keys, `size` counts the bytes of the step's own layer.
    """

    definition: Digest
    content: Digest
    base: tuple[Digest, ...]
    layers: tuple[Digest, ...]
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedMount:
    """What a cache mount held: its key in the store, its id for people, and the layer that has the files."""

    key: str
    id: str
    layer: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheDocument:
    """A cache; `layers` are the diff_ids of the layers of its manifest, in their order."""

    layers: tuple[Digest, ...]
    results: tuple[CachedResult, ...]
    mounts: tuple[CachedMount, ...] = ()

    def to_bytes(self) -> bytes:
        """The JSON document."""
        number = {diff_id: position for position, diff_id in enumerate(self.layers)}
        bases = list(dict.fromkeys(result.base for result in self.results))
        return jsonbytes.encode(
            {
                **versions(),
                "layers": [str(diff_id) for diff_id in self.layers],
                "bases": [[str(diff_id) for diff_id in base] for base in bases],
                "results": [
                    {
                        "definition": str(result.definition),
                        "content": str(result.content),
                        "base": bases.index(result.base),
                        "layers": [number[diff_id] for diff_id in result.layers],
                        "size": result.size,
                    }
                    for result in self.results
                ],
                "mounts": [
                    {"key": mount.key, "id": mount.id, "layer": number[mount.layer]} for mount in self.mounts
                ],
            }
        )

    @classmethod
    def from_bytes(cls, raw: bytes, where: str) -> CacheDocument:
        """
        Read what somebody wrote.

        Raises:
            InvalidDocument: it is no such document, or one of another version.
        """
        value = jsonbytes.decode_object(raw, where)
        check_versions(value, where)
        try:
            layers = _digests(value["layers"])
            bases = [_digests(base) for base in _list(value["bases"])]
            return cls(
                layers=layers,
                results=tuple(_result(one, layers, bases) for one in _list(value["results"])),
                mounts=tuple(_mount(one, layers) for one in _list(value.get("mounts", []))),
            )
        except (LookupError, TypeError, ValueError, InvalidDigest) as problem:
            raise InvalidDocument(f"{where} is no usable build cache: {problem!r}") from problem


def versions() -> dict[str, int]:
    """The members with which every form of a cache begins."""
    return {"format": FORMAT, "keyVersion": KEY_VERSION}


def check_versions(value: dict[str, Any], where: str) -> None:
    """
    See whether a cache is of our version.

    Raises:
        InvalidDocument: it is not.
    """
    if value.get("format") != FORMAT:
        raise InvalidDocument(f"{where} has the format {value.get('format')!r}, not {FORMAT}")
    if value.get("keyVersion") != KEY_VERSION:
        raise InvalidDocument(
            f"{where} was made by a version of pybuild with other cache keys "
            f"({value.get('keyVersion')!r} instead of {KEY_VERSION})"
        )


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def _digests(value: object) -> tuple[Digest, ...]:
    return tuple(Digest.parse(str(one)) for one in _list(value))


def _number(value: object, below: int | None = None) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{value!r} is no number")
    if below is not None and value >= below:
        raise ValueError(f"there is no number {value}")
    return value


def _result(value: object, layers: Sequence[Digest], bases: Sequence[tuple[Digest, ...]]) -> CachedResult:
    if not isinstance(value, dict):
        raise TypeError("a result is no object")
    return CachedResult(
        definition=Digest.parse(str(value["definition"])),
        content=Digest.parse(str(value["content"])),
        base=bases[_number(value["base"], len(bases))],
        layers=tuple(layers[_number(one, len(layers))] for one in _list(value["layers"])),
        size=_number(value.get("size", 0)),
    )


def _mount(value: object, layers: Sequence[Digest]) -> CachedMount:
    if not isinstance(value, dict):
        raise TypeError("a mount is no object")
    key = str(value["key"])
    if not key or not set(key) <= set("0123456789abcdef-"):
        raise ValueError(f"{key!r} is no key of a mount")
    return CachedMount(
        key=key, id=str(value.get("id", "")), layer=layers[_number(value["layer"], len(layers))]
    )
