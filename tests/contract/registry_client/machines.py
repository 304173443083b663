"""Registries of every kind, and machines with a store that push to them and pull from them."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from oci_image import mediatypes
from oci_image.config import ImageConfig
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Document, Index, Manifest, author_config, author_index, author_manifest
from oci_image.layer.encoders import parse_encoder
from oci_image.platform import Platform
from oci_image.reference import Reference
from oci_image.store.base import BlobStore
from oci_image.store.memory import MemoryBlobStore
from oci_image.store.notes import Notes
from registry.client.client import RegistryClient
from registry.client.credentials import Credentials
from registry.client.transfer import Activity, BlobProgress, ImageSource, push
from registry.server.config import RegistryConfig
from registry.server.embedded import Registry

AMD64 = Platform.parse("linux/amd64")
DOCKER_REGISTRY = shutil.which("docker-registry")
HTPASSWD = "me:$2y$04$NqWJBavtex/Adn81tSCGj.9QA6tdf01.PGvE/2WTOTgBPvp2SE1uC\n"
USER = Credentials(username="me", password="secret")
WORDS = [bytes(random.Random(i).randbytes(12)).hex().encode() for i in range(500)]


@contextmanager
def own_registry(tmp_path: Path, *, root: bool = False, **settings: object) -> Iterator[str]:
    config = RegistryConfig(port=0, drain_seconds=0.5, root=str(tmp_path / "own") if root else "", **settings)  # type: ignore[arg-type]
    registry = Registry(config)
    with registry:
        yield registry.host


@contextmanager
def docker_registry(tmp_path: Path, *, htpasswd: str = "") -> Iterator[str]:
    if DOCKER_REGISTRY is None:
        pytest.skip("docker-registry is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    auth = f"auth: {{htpasswd: {{realm: test, path: {htpasswd}}}}}\n" if htpasswd else ""
    settings = tmp_path / "registry.yml"
    settings.write_text(
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {tmp_path}/docker-registry}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\nlog: {{level: error, accesslog: {{disabled: true}}}}\n" + auth
    )
    with open(tmp_path / "registry.log", "wb") as log:
        process = subprocess.Popen([DOCKER_REGISTRY, "serve", str(settings)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


PEERS = [
    "own-memory",
    "own-disk",
    pytest.param("docker-registry", marks=pytest.mark.clients),
]


@dataclass
class Machine:
    """One machine: a store and notes."""

    blobs: BlobStore = field(default_factory=MemoryBlobStore)
    notes: Notes = field(default_factory=lambda: Notes(":memory:"))
    seen: list[BlobProgress] = field(default_factory=list)

    def put(self, data: bytes) -> Digest:
        with self.blobs.writer() as sink:
            sink.write(data)
            return sink.commit()

    def keep(self, document: Document[object]) -> Descriptor:
        self.put(document.raw)
        return document.descriptor

    def image(self, *layers: bytes, platform: Platform = AMD64, docker: bool = False) -> Descriptor:
        """An image whose layers rest uncompressed."""
        layer_type = mediatypes.DOCKER_LAYER if docker else mediatypes.OCI_LAYER
        rest = [Descriptor(media_type=layer_type, digest=self.put(data), size=len(data)) for data in layers]
        config = author_config(
            ImageConfig(platform=platform, diff_ids=tuple(layer.digest for layer in rest)),
            mediatypes.DOCKER_CONFIG if docker else mediatypes.OCI_CONFIG,
        )
        kind = mediatypes.DOCKER_MANIFEST if docker else mediatypes.OCI_MANIFEST
        manifest = Manifest(config=self.keep(config), layers=tuple(rest), media_type=kind)
        return self.keep(author_manifest(manifest))

    def source(self, root: Descriptor) -> ImageSource:
        return ImageSource(blobs=self.blobs, root=root)

    async def push(
        self, client: RegistryClient, root: Descriptor, name: str, encoder: str = "gzip:1"
    ) -> Descriptor:
        self.seen.clear()
        return await push(
            client,
            self.source(root),
            Reference.parse(f"{client.registry}/{name}"),
            notes=self.notes,
            encoder=parse_encoder(encoder),
            on_progress=self.seen.append,
        )

    def happened(self) -> set[Activity]:
        return {step.what for step in self.seen}


def text(size: int, seed: int = 0) -> bytes:
    """Compressible bytes."""
    source = random.Random(seed)
    return b" ".join(source.choices(WORDS, k=size // 25 + 1))[:size]


def reference(client: RegistryClient, name: str) -> Reference:
    return Reference.parse(f"{client.registry}/{name}")


def index_of(machine: Machine, *platforms: str) -> Descriptor:
    entries = [
        replace(
            machine.image(b"common" * 1000, name.encode(), platform=Platform.parse(name)),
            platform=Platform.parse(name),
        )
        for name in platforms
    ]
    return machine.keep(author_index(Index(manifests=tuple(entries))))
