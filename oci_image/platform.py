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
    "armv8l": "arm",
    "armv6l": "arm",
    "armel": "arm",
    "i386": "386",
    "i686": "386",
    "ppc64el": "ppc64le",
}
_SYSTEMS = frozenset(
    (
        *("aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "ios", "js", "linux", "macos"),
        *("netbsd", "openbsd", "plan9", "solaris", "wasip1", "windows"),
    )
)
_KNOWN_ARCHITECTURES = frozenset(
    (
        *("386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64"),
        *("ppc64le", "riscv64", "s390x", "sparc64", "wasm"),
    )
)
_PLAIN_VARIANTS = {"amd64": "v1", "arm": "v7", "arm64": "v8"}
"""What an architecture without a variant means, where variants have an order."""
_LEVEL = re.compile(r"v([0-9]{1,3})(?:\.([0-9]))?")
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
            if parts[0] in _SYSTEMS:
                local = local_platform()
                return _normalised(parts[0], local.architecture, local.variant)
            alone = _normalised("linux", parts[0], "")
            if alone.architecture not in _KNOWN_ARCHITECTURES:
                raise InvalidPlatform(
                    f"invalid platform {text!r}: neither an operating system nor an architecture",
                    hint="use os/arch[/variant], as in linux/amd64",
                )
            return alone
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

    def rank(self, wanted: Platform) -> int | None:
        """
        How well an image for this platform serves where `wanted` is asked for: 0 is exactly, more is worse.

        None when it does not run there. A processor runs what was made for an earlier variant of its kind
        (arm v7 runs v6, amd64 v3 runs v2), never for a later one.
        """
        if self.os != wanted.os:
            return None
        mine = _normalised(self.os, self.architecture.lower(), self.variant)
        theirs = _normalised(wanted.os, wanted.architecture.lower(), wanted.variant)
        if mine.architecture != theirs.architecture:
            return None
        if mine.variant == theirs.variant:
            return 0
        levels = (_level(mine), _level(theirs))
        if levels[0] is None or levels[1] is None or levels[0] > levels[1]:
            return None
        return levels[1] - levels[0]

    def serves(self, wanted: Platform) -> bool:
        """Whether an image for this platform runs where `wanted` is asked for."""
        return self.rank(wanted) is not None

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def _level(platform: Platform) -> int | None:
    """The variant as a number in tenths, None for one that has no order."""
    variant = platform.variant or _PLAIN_VARIANTS.get(platform.architecture, "")
    match = _LEVEL.fullmatch(variant)
    if match is None or platform.architecture not in _PLAIN_VARIANTS:
        return None
    return int(match[1]) * 10 + int(match[2] or 0)


def _normalised(system: str, architecture: str, variant: str) -> Platform:
    if system == "macos":
        system = "darwin"
    known = _ARCHITECTURES.get(architecture, architecture)
    if known in ("arm", "arm64") and variant[:1].isdigit():
        variant = "v" + variant
    if architecture in ("armv6l", "armel"):
        variant = variant or "v6"
    elif known == "arm" and not variant:
        variant = "v7"
    if known == "arm64" and variant in ("v8", "v8.0"):
        variant = ""
    if known == "amd64" and variant == "v1":
        variant = ""
    return Platform(os=system, architecture=known, variant=variant)


def local_platform() -> Platform:
    """The platform of this machine."""
    name = os.uname()
    return _normalised(name.sysname.lower(), name.machine.lower(), "")
