"""
The ARGs outside of stages: predefined ones, and those in front of the first FROM.

They are visible in FROM lines only; a stage declares what it wants with an ARG of its own. Governing text:
"Automatic platform ARGs in the global scope" in the Dockerfile reference.
"""

from __future__ import annotations

from collections.abc import Mapping

from dockerfile_grammar import words
from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.instructions import Arg, Onbuild
from dockerfile_grammar.parser import Dockerfile
from oci_image.platform import Platform

EPOCH_VARIABLE = "SOURCE_DATE_EPOCH"
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
_PLATFORM_PARTS = ("PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT")
_NEVER_DECLARED = frozenset(
    (
        *(EPOCH_VARIABLE, "TARGETSTAGE"),
        *(f"{side}{part}" for side in ("TARGET", "BUILD") for part in _PLATFORM_PARTS),
    )
)


def global_arguments(
    dockerfile: Dockerfile, build_args: Mapping[str, str], *, target: str, platform: Platform, build: Platform
) -> dict[str, str]:
    """
    The variables that FROM lines see.

    Args:
        dockerfile: the file.
        build_args: what the build was given; beats everything.
        target: the name of the stage that is built, or "".
        platform: what is built for.
        build: what is built on.

    Raises:
        DockerfileError: a default cannot be expanded.
    """
    found = {
        **_platform_arguments("BUILD", build),
        **_platform_arguments("TARGET", platform),
        "TARGETSTAGE": target or "default",
    }
    found.update({name: value for name, value in build_args.items() if name in found})
    for instruction in dockerfile.meta_args:
        for pair in instruction.pairs:
            value = build_args.get(pair.name)
            if value is None and pair.default is not None:
                try:
                    value = words.expand(pair.default, found.get, escape=dockerfile.escape)
                except DockerfileError as problem:
                    raise problem.located(instruction.span) from None
            if value is not None:
                found[pair.name] = value
    return found


def _platform_arguments(side: str, platform: Platform) -> dict[str, str]:
    values = (*(str(platform), platform.os, platform.os_version, platform.architecture, platform.variant),)
    return {f"{side}{part}": value for part, value in zip(_PLATFORM_PARTS, values, strict=True)}


def unconsumed(dockerfile: Dockerfile, build_args: Mapping[str, str]) -> tuple[str, ...]:
    """The names of build arguments that no ARG of the file declares and that mean nothing by themselves."""
    declared = {pair.name for instruction in dockerfile.meta_args for pair in instruction.pairs}
    for stage in dockerfile.stages:
        for instruction in stage.instructions:
            inner = instruction.instruction if isinstance(instruction, Onbuild) else instruction
            if isinstance(inner, Arg):
                declared.update(pair.name for pair in inner.pairs)
    return tuple(
        name
        for name in sorted(build_args)
        if name not in declared
        and name not in _NEVER_DECLARED
        and name.lower() not in _PROXIES
        and not name.startswith("BUILDKIT_")
    )
