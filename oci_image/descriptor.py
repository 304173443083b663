"""
Descriptors: what a document says about other bytes.

Governing source: OCI image-spec, descriptor.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .digest import Digest
from .errors import InvalidDigest, InvalidDocument
from .platform import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """Media type, digest and size (bytes) of some content, with what an index adds to it."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    urls: tuple[str, ...] = ()
    artifact_type: str = ""

    @classmethod
    def from_json(cls, value: object, where: str) -> Descriptor:
        """
        Read a descriptor out of a decoded document.

        Raises:
            InvalidDocument: names `where` and the member that is wrong.
        """
        if not isinstance(value, dict):
            raise InvalidDocument(f"{where}: descriptor is not an object")
        size = value.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise InvalidDocument(f"{where}: descriptor has no valid size")
        try:
            digest = Digest.parse(str(value.get("digest")))
        except InvalidDigest as problem:
            raise InvalidDocument(f"{where}: {problem.message}") from problem
        platform = value.get("platform")
        annotations = value.get("annotations")
        urls = value.get("urls")
        return cls(
            media_type=str(value.get("mediaType") or ""),
            digest=digest,
            size=size,
            platform=Platform.from_json(platform) if isinstance(platform, dict) else None,
            annotations={str(k): str(v) for k, v in annotations.items()}
            if isinstance(annotations, dict)
            else {},
            urls=tuple(str(url) for url in urls) if isinstance(urls, list) else (),
            artifact_type=str(value.get("artifactType") or ""),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON object, members in the order of the specification."""
        value: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.urls:
            value["urls"] = list(self.urls)
        if self.annotations:
            value["annotations"] = dict(self.annotations)
        if self.platform is not None:
            value["platform"] = self.platform.to_json()
        if self.artifact_type:
            value["artifactType"] = self.artifact_type
        return value
