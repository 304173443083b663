"""
How the entries of an image layout's ``index.json`` are named.

Each tagged entry carries two annotations: the familiar reference, by which skopeo and umoci select an image
(``oci:DIR:app:1``), and the full reference, by which containerd and Docker do. Entries of other tools may
have only one of them. Governing sources: OCI image-spec annotations.md and image-layout.md; containerd's
importer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidReference
from ..reference import Reference

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"


def without_names(annotations: Mapping[str, str]) -> dict[str, str]:
    """The annotations without those that name an entry."""
    return {key: value for key, value in annotations.items() if key not in (REF_NAME, CONTAINERD_NAME)}


def naming(name: str) -> dict[str, str]:
    """The annotations that let an entry be found under the name."""
    return {REF_NAME: _familiar(name), CONTAINERD_NAME: name}


def name_of(entry: Mapping[str, Any]) -> str | None:
    """The full name of an entry, None for one that has no name or none that is a reference."""
    annotations = entry.get("annotations")
    if not isinstance(annotations, dict):
        return None
    full = annotations.get(CONTAINERD_NAME)
    if isinstance(full, str) and full:
        return full
    short = annotations.get(REF_NAME)
    if not isinstance(short, str):
        return None
    try:
        return str(Reference.parse(short))
    except InvalidReference:
        return None


def is_named(entry: Mapping[str, Any]) -> bool:
    """Whether somebody gave the entry a name, be it one that we understand or not."""
    annotations = entry.get("annotations")
    return isinstance(annotations, dict) and (REF_NAME in annotations or CONTAINERD_NAME in annotations)


def _familiar(name: str) -> str:
    try:
        reference = Reference.parse(name)
    except InvalidReference:
        return name
    return reference.familiar if str(reference) == name else name
