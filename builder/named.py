"""
Named build contexts: what ``--build-context NAME=VALUE`` puts in the place of an image or a stage.

A value is an image (``docker-image://…``), or a directory, which may come from a git repository or an archive
behind a URL. Names are compared as those of images are: ``alpine`` is ``docker.io/library/alpine:latest``.
Governing text: ``--build-context`` in the reference of docker buildx build.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from oci_image.errors import InvalidReference
from oci_image.reference import Reference

from .errors import InvalidOption, Unsupported

_IMAGE = "docker-image://"
_OTHERS = ("oci-layout://", "target:")


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image in the place of a name."""

    reference: Reference


@dataclass(frozen=True, slots=True)
class NamedDirectory:
    """A build context in the place of a name; `value` is a path, or an address on the network."""

    value: str


NamedContext = NamedImage | NamedDirectory


def name_of(text: str) -> str:
    """The one spelling of a name."""
    try:
        return Reference.parse(text.lower()).familiar.removesuffix(":latest")
    except InvalidReference:
        return text.lower()


def read_named(values: Mapping[str, str]) -> dict[str, NamedContext]:
    """
    What each name stands for.

    Raises:
        InvalidOption: a value makes no sense.
        Unsupported: a kind of value that this version does not take.
    """
    return {name_of(name): _read(name, value) for name, value in values.items()}


def _read(name: str, value: str) -> NamedContext:
    if value.startswith(_OTHERS):
        kind = next(other for other in _OTHERS if value.startswith(other))
        raise Unsupported(
            f"--build-context {name}={value}: {kind} is not supported",
            hint="load the image and name it with docker-image://, or give a directory",
        )
    if not value.startswith(_IMAGE):
        return NamedDirectory(value)
    try:
        return NamedImage(Reference.parse(value.removeprefix(_IMAGE)))
    except InvalidReference as problem:
        raise InvalidOption(f"--build-context {name}={value}: {problem.message}") from problem
