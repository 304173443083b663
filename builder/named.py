"""
Named build contexts: what ``--build-context NAME=VALUE`` puts in the place of an image or a stage.

A value is an image (``docker-image://…``, ``oci-layout://…``), another stage (``target:…``), or a directory,
which may come from a git repository or an archive behind a URL. Names are compared as those of images are:
``alpine`` is ``docker.io/library/alpine:latest``.
Governing text: ``--build-context`` in the reference of docker buildx build.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from oci_image.digest import Digest
from oci_image.errors import InvalidDigest, InvalidReference
from oci_image.reference import DEFAULT_TAG, Reference, is_tag

from .errors import InvalidOption

LAYOUT_REGISTRY = "oci-layout:/"
"""The registry of references to images of other layouts; no name that can be written has it."""

_IMAGE = "docker-image://"
_LAYOUT = "oci-layout://"
_TARGET = "target:"
_DIGEST = re.compile(r"[a-z0-9+._-]+:[0-9a-fA-F]{32,}")


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image in the place of a name."""

    reference: Reference


@dataclass(frozen=True, slots=True)
class NamedStage:
    """Another stage of the Dockerfile in the place of a name, in the stages below it."""

    name: str


@dataclass(frozen=True, slots=True)
class NamedDirectory:
    """A build context in the place of a name; `value` is a path, or an address on the network."""

    value: str


NamedContext = NamedImage | NamedStage | NamedDirectory


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
    """
    return {name_of(name): _read(name, value) for name, value in values.items()}


def _read(name: str, value: str) -> NamedContext:
    option = f"--build-context {name}={value}"
    if value.startswith(_TARGET):
        if value == _TARGET:
            raise InvalidOption(f"{option}: the name of a stage is missing")
        return NamedStage(value.removeprefix(_TARGET))
    if value.startswith(_LAYOUT):
        return NamedImage(_layout(value.removeprefix(_LAYOUT), option))
    if not value.startswith(_IMAGE):
        return NamedDirectory(value)
    try:
        return NamedImage(Reference.parse(value.removeprefix(_IMAGE)))
    except InvalidReference as problem:
        raise InvalidOption(f"{option}: {problem.message}") from problem


def _layout(text: str, option: str) -> Reference:
    """The reference for ``PATH[:TAG][@DIGEST]``; a colon or an at sign that begins neither is of the path."""
    path, tag, digest = text, None, None
    before, at, after = path.rpartition("@")
    if at and _DIGEST.fullmatch(after):
        try:
            path, digest = before, Digest.parse(after)
        except InvalidDigest as problem:
            raise InvalidOption(f"{option}: {problem.message}") from problem
    before, colon, after = path.rpartition(":")
    if colon and is_tag(after):
        path, tag = before, after
    if not path:
        raise InvalidOption(f"{option}: the path is missing", hint="as in oci-layout:///path/to/layout:tag")
    if tag is None and digest is None:
        tag = DEFAULT_TAG
    return Reference(registry=LAYOUT_REGISTRY, repository=os.path.abspath(path), tag=tag, digest=digest)
