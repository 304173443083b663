"""
Media types of OCI and Docker documents, and what they stand for.

Governing sources: OCI image-spec media-types.md; Docker "Image Manifest Version 2, Schema 2".
"""

from __future__ import annotations

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST_V1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_MANIFEST_V1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = DOCKER_LAYER + ".gzip"
DOCKER_LAYER_FOREIGN_GZIP = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_MANIFEST_LIST)
ALL_MANIFESTS = MANIFESTS + INDEXES
CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)

_GZIP_SUFFIXES = ("+gzip", ".gzip")


def is_manifest(media_type: str) -> bool:
    """Whether the type is that of a single image's manifest."""
    return media_type in MANIFESTS


def is_index(media_type: str) -> bool:
    """Whether the type is that of an index (Docker: manifest list)."""
    return media_type in INDEXES


def is_foreign(media_type: str) -> bool:
    """Whether a layer of this type is not distributed through registries."""
    return ".foreign." in media_type or ".nondistributable." in media_type


def layer_compression(media_type: str) -> str:
    """The compression that a layer's media type promises: ``none``, ``gzip`` or ``zstd``."""
    if media_type.endswith(_GZIP_SUFFIXES):
        return "gzip"
    if media_type.endswith(("+zstd", ".zstd")):
        return "zstd"
    return "none"


def layer_type(compression: str, *, docker: bool = False) -> str:
    """
    The media type of a layer with this compression (``none``, ``gzip``, ``zstd``).

    Docker's own family has no zstd type, so the OCI one is used there as Docker does.
    """
    if compression == "zstd":
        return OCI_LAYER_ZSTD
    if compression == "gzip":
        return DOCKER_LAYER_GZIP if docker else OCI_LAYER_GZIP
    return DOCKER_LAYER if docker else OCI_LAYER
