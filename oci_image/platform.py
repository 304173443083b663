"""
Platforms: operating system, architecture, variant, and which one an image for another can serve.

Governing sources: OCI image-spec image-index.md (platform object); containerd/platforms for normalisation
and for the order of ARM variants.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import InvalidPlatform

_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armhf": "arm",
    "armv7l": "arm",
    "armv6l": "arm",
    "armel": "arm",
    "i386": "386",
    "i686": "386",
    "ppc64el": "ppc64le",
}
_WORD = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What an image runs on; ``variant`` and ``os_version`` are empty when they do not matter."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """
        Read ``os/arch[/variant]``, ``os`` or ``arch`` alone, normalised as Docker does.

        Raises:
            InvalidPlatform: for anything else.
        """
        parts = text.strip().lower().split("/")
        if not 1 <= len(parts) <= 3 or not all(_WORD.fullmatch(part) for part in parts):
            raise InvalidPlatform(f"invalid platform {text!r}: expected os/arch[/variant], as in linux/amd64")
        if len(parts) == 1:
            if parts[0] in ("linux", "windows", "darwin", "freebsd"):
                return _normalised(parts[0], local_platform().architecture, "")
            return _normalised("linux", parts[0], "")
        return _normalised(parts[0], parts[1], parts[2] if len(parts) == 3 else "")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Platform:
        """Read the platform object of a descriptor or of an image configuration, tolerantly."""
        return cls(
            os=str(value.get("os") or "linux"),
            architecture=str(value.get("architecture") or "amd64"),
            variant=str(value.get("variant") or ""),
            os_version=str(value.get("os.version") or ""),
        )

    def to_json(self) -> dict[str, Any]:
        """The platform object of a descriptor."""
        value = {"architecture": self.architecture, "os": self.os}
        if self.os_version:
            value["os.version"] = self.os_version
        if self.variant:
            value["variant"] = self.variant
        return value

    def serves(self, wanted: Platform) -> bool:
        """Whether an image for this platform runs where `wanted` is asked for (arm v8 runs v7, and so on)."""
        if (self.os, self.architecture) != (wanted.os, wanted.architecture):
            return False
        mine, theirs = _variant(self), _variant(wanted)
        if self.architecture == "arm":
            return mine <= theirs
        return mine == theirs or not self.variant or not wanted.variant

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def _variant(platform: Platform) -> str:
    if platform.architecture == "arm":
        return platform.variant or "v7"
    if platform.architecture == "arm64":
        return platform.variant or "v8"
    return platform.variant


def _normalised(system: str, architecture: str, variant: str) -> Platform:
    if system == "macos":
        system = "darwin"
    known = _ARCHITECTURES.get(architecture, architecture)
    if architecture in ("armv6l", "armel"):
        variant = variant or "v6"
    elif known == "arm" and not variant:
        variant = "v7"
    if known == "arm" and variant.isdigit():
        variant = "v" + variant
    if known == "arm64" and variant in ("8", "v8"):
        variant = ""
    if known == "amd64" and variant == "v1":
        variant = ""
    return Platform(os=system, architecture=known, variant=variant)


def local_platform() -> Platform:
    """The platform of this machine."""
    name = os.uname()
    return _normalised(name.sysname.lower(), name.machine.lower(), "")
