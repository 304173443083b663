"""
Annotations as the command line and outputs name them.

The flag says ``[LEVEL[PLATFORM],…:]KEY=VALUE``, an output ``annotation[-LEVEL][[PLATFORM]].KEY=VALUE``.
Without a level the manifest is meant. Governing sources: docker buildx, "Annotations"; OCI image-spec
annotations.md.
"""

from __future__ import annotations

import re

from oci_image.errors import InvalidPlatform
from oci_image.platform import Platform

from ..errors import InvalidOption
from ..request import Annotation

LEVELS = ("manifest", "manifest-descriptor", "index", "index-descriptor")
_LEVEL = re.compile(r"([a-z-]+)(?:\[([A-Za-z0-9_/.-]+)\])?")
_KEY = re.compile(r"annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/.-]+)\])?\.(.+)")


def parse_annotation(text: str) -> tuple[Annotation, ...]:
    """
    Read one value of ``--annotation``, which may name several levels.

    Raises:
        InvalidOption: it is malformed, or names an unknown level or platform.
    """
    where = f"--annotation {text}"
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidOption(f"{where}: expected [LEVEL:]KEY=VALUE", hint="as in index:com.example.team=web")
    levels, colon, key = name.partition(":")
    if not colon:
        levels, key = "manifest", name
    if not key:
        raise InvalidOption(f"{where}: the key is empty")
    found = []
    for level in levels.split(","):
        match = _LEVEL.fullmatch(level)
        if match is None:
            raise InvalidOption(f"{where}: {level!r} is no level with an optional platform in brackets")
        found.append(_annotation(match[1], match[2], key, value, where))
    return tuple(found)


def attribute_annotation(key: str, value: str, where: str) -> Annotation | None:
    """
    The annotation that an attribute of an output stands for; None for another attribute.

    Raises:
        InvalidOption: it names an unknown level or platform.
    """
    match = _KEY.fullmatch(key)
    return _annotation(match[1] or "manifest", match[2], match[3], value, where) if match else None


def _annotation(level: str, platform: str | None, key: str, value: str, where: str) -> Annotation:
    if level not in LEVELS:
        raise InvalidOption(f"{where}: unknown level {level!r}", hint=f"the levels are {', '.join(LEVELS)}")
    if platform is None:
        return Annotation(level=level, key=key, value=value)
    try:
        parsed = Platform.parse(platform)
    except InvalidPlatform as problem:
        raise InvalidOption(f"{where}: {problem.message}", hint=problem.hint) from problem
    # There is one index for all platforms, so a platform changes nothing there, as with BuildKit.
    return Annotation(
        level=level, key=key, value=value, platform=None if level.startswith("index") else parsed
    )
