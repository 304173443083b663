"""
Words of the web page for what there is: kinds of manifests and artifacts, and commands of histories.

Invariant: pure functions of what clients sent, which may be anything.
"""

from __future__ import annotations

import re

from oci_image import mediatypes
from oci_image.documents import Manifest

from .store.base import StoredManifest

ATTACHMENTS = {"sig": "Signature", "att": "Attestation", "sbom": "SBOM"}
ATTACHED = re.compile(r"sha(?:256|512)-[0-9a-f]{64,128}(?:\.(sig|att|sbom))?")
HELM = "application/vnd.cncf.helm.config.v1+json"
_WASM = ("application/vnd.wasm.config.v0+json", "application/vnd.wasm.config.v1+json")
_KINDS = (
    ("signature", "Signature"),
    ("cosign", "Signature"),
    ("sigstore.bundle", "Signature"),
    ("spdx", "SBOM (SPDX)"),
    ("cyclonedx", "SBOM (CycloneDX)"),
    ("syft", "SBOM"),
    ("sbom", "SBOM"),
    ("in-toto", "Attestation"),
    ("slsa", "Provenance"),
)


def kind_of(artifact_type: str) -> str:
    """A word for the type of an artifact."""
    lowered = artifact_type.lower()
    return next((word for part, word in _KINDS if part in lowered), "Artifact")


def kind_of_manifest(stored: StoredManifest, manifest: Manifest) -> str:
    """What a manifest is, in a word."""
    if stored.descriptor.artifact_type in ("", *mediatypes.CONFIGS) and (
        manifest.config.media_type in mediatypes.CONFIGS
    ):
        return "image"
    if manifest.config.media_type == HELM:
        return "Helm chart"
    if manifest.config.media_type in _WASM:
        return "WebAssembly"
    return as_summary(kind_of(stored.descriptor.artifact_type))


def as_summary(word: str) -> str:
    """The word as it stands in a list."""
    return word if word.startswith("SBOM") else word.lower()


def instruction(text: str) -> str:
    """The command of a history without what builders put around it."""
    for begin in ("/bin/sh -c #(nop) ", "/bin/sh -c #(nop)"):
        text = text.removeprefix(begin)
    if text.startswith("/bin/sh -c "):
        text = "RUN " + text.removeprefix("/bin/sh -c ")
    text = text.removesuffix(" # buildkit")
    return text.replace("RUN /bin/sh -c ", "RUN ", 1).strip()
