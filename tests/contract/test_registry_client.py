"""Whole images between a store and real registries: our own in memory and on disk, and docker-registry."""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from oci_image import mediatypes
from oci_image.config import ImageConfig
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import (
    Document,
    Index,
    Manifest,
    author_config,
    author_index,
    author_manifest,
    describe,
)
from oci_image.errors import InvalidDocument, NotFound, VerificationFailed
from oci_image.layer.compression import open_decompressed
from oci_image.layer.encoders import parse_encoder
from oci_image.platform import Platform
from oci_image.reference import Reference
from oci_image.store.base import BlobStore
from oci_image.store.layout import LayoutBlobStore
from oci_image.store.memory import MemoryBlobStore
from oci_image.store.notes import AS_PULLED, Notes
from registry.client.client import RegistryClient
from registry.client.credentials import Credentials
from registry.client.session import TransportOptions
from registry.client.transfer import Activity, BlobProgress, ImageSource, fetch_layers, login, pull, push
from registry.client.transport import Transport
from registry.errors import ApiError, Denied, RegistryError, Unauthorized
from registry.server.config import BasicAuth, RegistryConfig, TlsFiles, TokenAuth
from registry.server.embedded import Registry

AMD64 = Platform.parse("linux/amd64")
DOCKER_REGISTRY = shutil.which("docker-registry")
SKOPEO = shutil.which("skopeo")
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


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The name of an open registry of each kind."""
    if request.param == "docker-registry":
        with docker_registry(tmp_path) as name:
            yield name
    else:
        with own_registry(tmp_path, root=request.param == "own-disk") as name:
            yield name


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    async with Transport() as opened:
        yield opened


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


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    yield made
    made.notes.close()


@pytest.fixture
def other() -> Iterator[Machine]:
    made = Machine()
    yield made
    made.notes.close()


@pytest.fixture
def client(peer: str, transport: Transport) -> RegistryClient:
    return RegistryClient(transport, peer)


def text(size: int, seed: int = 0) -> bytes:
    """Compressible bytes."""
    source = random.Random(seed)
    return b" ".join(source.choices(WORDS, k=size // 25 + 1))[:size]


def reference(client: RegistryClient, name: str) -> Reference:
    return Reference.parse(f"{client.registry}/{name}")


async def test_built_image_is_pushed_compressed_and_pulled(client, machine, other):
    """Layers leave compressed, come back verified, and decompress to their diff_ids."""
    layers = (text(3_000_000), b"tiny", b"")
    pushed = await machine.push(client, machine.image(*layers), "team/app:1")
    pulled = await pull(client, reference(client, "team/app:1"), AMD64, other.blobs, notes=other.notes)
    assert pulled.root.descriptor == pushed
    assert [layer.descriptor.media_type for layer in pulled.image.layers] == [mediatypes.OCI_LAYER_GZIP] * 3
    for layer, data in zip(pulled.image.layers, layers, strict=True):
        assert layer.diff_id == Digest.of(data)
        with open_decompressed(other.blobs.open(layer.descriptor.digest)) as stream:
            assert stream.read() == data
        assert other.notes.sources(layer.descriptor.digest) == (f"{client.registry}/team/app",)
        assert other.notes.variants(layer.diff_id) == (layer.descriptor,)
    assert other.blobs.stat(pushed.digest) == pushed.size
    assert await client.tags("team/app") == ("1",)
    assert await client.catalog() == ("team/app",)


async def test_same_image_gives_the_same_manifest(client, machine, other):
    """Two machines without common notes push the same digest, whatever the order of events."""
    layers = [text(1_500_000, seed) for seed in range(6)]
    first = await machine.push(client, machine.image(*layers), "a:1")
    second = await other.push(client, other.image(*layers), "b:1")
    assert first == second


async def test_second_push_moves_nothing(client, machine):
    """The same tag is recognised by one question, another tag by a question for each blob."""
    root = machine.image(text(100_000))
    pushed = await machine.push(client, root, "app:1")
    assert machine.happened() >= {Activity.PUSHING, Activity.DONE}
    for name in ("app:1", "app:2"):
        assert await machine.push(client, root, name) == pushed
        assert machine.happened() == {Activity.EXISTS}
    assert sorted(await client.tags("app")) == ["1", "2"]


async def test_layers_are_mounted_from_where_they_were_pushed(client, machine):
    """Another repository of the same registry gets the blobs without their bytes."""
    root = machine.image(text(200_000), text(1000, 1))
    pushed = await machine.push(client, root, "base/app:1")
    assert await machine.push(client, root, "team/copy:1") == pushed
    assert machine.happened() == {Activity.MOUNTED}


async def test_gone_source_is_no_obstacle(client, machine):
    """Notes that are out of date cost a question, not the push."""
    data = text(200_000)
    root = machine.image(data)
    pushed = await machine.push(client, root, "app:1")
    (form,) = machine.notes.variants(Digest.of(data))
    machine.notes.remember_source(form.digest, f"{client.registry}/gone")
    assert await machine.push(client, root, "next:1") == pushed


async def test_pulled_image_is_pushed_byte_for_byte(client, machine, other):
    """Bytes that are not ours are not rewritten, odd spacing included."""
    pushed = await machine.push(client, machine.image(text(50_000)), "app:1")
    document = await client.get_manifest("app", pushed.digest)
    odd = document.raw.replace(b'{"schemaVersion"', b'{ \n"x-other": [1],  "schemaVersion"')
    await client.put_manifest(
        "app", "odd", replace(document, raw=odd, descriptor=describe(odd, pushed.media_type))
    )
    pulled = await pull(client, reference(client, "app:odd"), AMD64, other.blobs, notes=other.notes)
    assert await other.push(client, pulled.root.descriptor, "copy/app:odd") == describe(
        odd, pushed.media_type
    )
    assert (await client.get_manifest("copy/app", "odd")).raw == odd


@pytest.mark.parametrize(
    ("encoder", "kind"), [("zstd", "zstd"), ("gzip-fast", "gzip"), ("uncompressed", "none")]
)
async def test_encoders_decide_the_form(client, machine, other, encoder, kind):
    """Each encoder's layers have its media type and come back as what they were."""
    data = text(400_000)
    await machine.push(client, machine.image(data), "app:1", encoder)
    pulled = await pull(client, reference(client, "app:1"), AMD64, other.blobs, notes=other.notes)
    (layer,) = pulled.image.layers
    assert layer.descriptor.media_type == mediatypes.layer_type(kind)
    with open_decompressed(other.blobs.open(layer.descriptor.digest)) as stream:
        assert stream.read() == data


async def test_docker_manifest_stays_in_its_family(client, machine):
    """A Docker manifest gets Docker's layer type."""
    pushed = await machine.push(client, machine.image(text(1000), docker=True), "app:1")
    document = await client.get_manifest("app", "1")
    assert pushed.media_type == document.descriptor.media_type == mediatypes.DOCKER_MANIFEST
    assert isinstance(document.value, Manifest)
    assert [layer.media_type for layer in document.value.layers] == [mediatypes.DOCKER_LAYER_GZIP]


async def test_layer_that_comes_twice_is_sent_once(client, machine):
    """Equal layers are one blob and stay two entries."""
    data = text(300_000)
    await machine.push(client, machine.image(data, b"other", data), "app:1")
    document = await client.get_manifest("app", "1")
    assert isinstance(document.value, Manifest)
    assert document.value.layers[0] == document.value.layers[2]
    assert (
        len([step for step in machine.seen if step.digest == Digest.of(data) and step.what is Activity.DONE])
        == 1
    )


def index_of(machine: Machine, *platforms: str) -> Descriptor:
    entries = [
        replace(
            machine.image(b"common" * 1000, name.encode(), platform=Platform.parse(name)),
            platform=Platform.parse(name),
        )
        for name in platforms
    ]
    return machine.keep(author_index(Index(manifests=tuple(entries))))


async def test_index_is_pushed_with_all_images_and_pulled_for_one(client, machine, other):
    """Manifests first, then the index; a pull chooses, and stores the chosen image only."""
    pushed = await machine.push(client, index_of(machine, "linux/amd64", "linux/arm64"), "multi:1")
    assert pushed.media_type == mediatypes.OCI_INDEX
    arm = Platform.parse("linux/arm64")
    pulled = await pull(client, reference(client, "multi:1"), arm, other.blobs, notes=other.notes)
    assert pulled.image.config.value.platform == arm
    assert pulled.root.descriptor == pushed
    assert other.blobs.stat(pushed.digest) is None
    assert len(list(other.blobs.digests())) == 4
    with pytest.raises(
        NotFound, match=r"multi:1 has no image for linux/s390x; it has linux/amd64, linux/arm64$"
    ):
        await pull(
            client,
            reference(client, "multi:1"),
            Platform.parse("linux/s390x"),
            other.blobs,
            notes=other.notes,
        )


async def test_whole_index_goes_from_one_registry_to_another_name(client, machine, other):
    """Everything under a reference is pulled, and pushed again with the same digest."""
    pushed = await machine.push(client, index_of(machine, "linux/amd64", "linux/arm/v7"), "multi:1")
    pulled = await pull(client, reference(client, "multi:1"), None, other.blobs, notes=other.notes)
    assert len(pulled.images) == 2
    with pytest.raises(InvalidDocument, match="2 images"):
        _ = pulled.image
    assert await other.push(client, pulled.root.descriptor, "copy/multi:2") == pushed


async def test_index_with_missing_images_cannot_be_pushed(client, machine):
    """What is not here and not there is named."""
    absent = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(b"x"), size=1, platform=AMD64)
    root = machine.keep(author_index(Index(manifests=(absent,))))
    with pytest.raises(NotFound, match=f"{absent.digest} \\(linux/amd64\\)"):
        await machine.push(client, root, "multi:1")


async def test_layers_can_be_fetched_later(client, machine, other, transport):
    """A base image is known by two small documents until its layers are needed."""
    await machine.push(client, machine.image(text(500_000), text(1000, 1)), "base:1")
    pulled = await pull(
        client, reference(client, "base:1"), AMD64, other.blobs, notes=other.notes, layers="none"
    )
    assert len(list(other.blobs.digests())) == 2
    layers = pulled.image.manifest.value.layers
    await fetch_layers(transport, layers, other.blobs, notes=other.notes)
    assert all(other.blobs.stat(layer.digest) == layer.size for layer in layers)


async def test_lazy_base_is_mounted_or_fetched_when_it_is_pushed(client, machine, other):
    """Pushing on top of a base that was never fetched moves no bytes within a registry."""
    await machine.push(client, machine.image(text(500_000)), "base:1")
    pulled = await pull(
        client, reference(client, "base:1"), AMD64, other.blobs, notes=other.notes, layers="none"
    )
    assert await other.push(client, pulled.root.descriptor, "derived:1") == pulled.root.descriptor
    assert other.happened() == {Activity.MOUNTED}
    assert len(list(other.blobs.digests())) == 2


async def test_lazy_base_crosses_registries(client, machine, other, transport, tmp_path):
    """For another registry the layers are fetched from where they are remembered."""
    pushed = await machine.push(client, machine.image(text(500_000)), "base:1")
    pulled = await pull(
        client, reference(client, "base:1"), AMD64, other.blobs, notes=other.notes, layers="none"
    )
    with own_registry(tmp_path) as name:
        target = RegistryClient(transport, name)
        assert await other.push(target, pulled.root.descriptor, "derived:1") == pushed
        assert (await target.get_manifest("derived", "1")).descriptor == pushed


async def test_second_source_serves_when_the_first_lost_it(client, machine, other, transport):
    """Every remembered place is tried; one that lost the layer is forgotten."""
    await machine.push(client, machine.image(text(1000)), "base:1")
    pulled = await pull(
        client, reference(client, "base:1"), AMD64, other.blobs, notes=other.notes, layers="none"
    )
    (layer,) = pulled.image.manifest.value.layers
    gone = f"{client.registry}/gone"
    other.notes.remember_source(layer.digest, gone)
    await fetch_layers(transport, [layer], other.blobs, notes=other.notes)
    assert gone not in other.notes.sources(layer.digest)
    other.blobs.delete(layer.digest)
    for place in other.notes.sources(layer.digest):
        other.notes.forget_source(layer.digest, place)
    with pytest.raises(NotFound, match="no registry is known to have it"):
        await fetch_layers(transport, [layer], other.blobs, notes=other.notes)


async def test_damaged_layer_does_not_leave_the_machine(client, machine):
    """Bit rot in the store stops the push before a manifest exists."""
    data = text(300_000)
    root = machine.image(data)
    machine.blobs.put(Digest.of(data), data[:-1] + b"!")
    with pytest.raises(VerificationFailed, match=f"layer {Digest.of(data)} in the store was damaged"):
        await machine.push(client, root, "app:1")
    assert await client.head_manifest("app", "1") is None


async def test_absent_image_is_not_found(client, other):
    """The message says what does not exist."""
    with pytest.raises(NotFound, match="nothing:here does not exist"):
        await pull(client, reference(client, "nothing:here"), AMD64, other.blobs, notes=other.notes)


async def test_artifact_is_no_image(client, machine, other):
    """A chart or a signature is named for what it is, and is copied when everything is wanted."""
    config = machine.put(b"{}")
    layer = machine.put(b"chart")
    manifest = Manifest(
        config=Descriptor(media_type="application/vnd.cncf.helm.config.v1+json", digest=config, size=2),
        layers=(
            Descriptor(
                media_type="application/vnd.cncf.helm.chart.content.v1.tar+gzip", digest=layer, size=5
            ),
        ),
    )
    root = machine.keep(author_manifest(manifest))
    assert await machine.push(client, root, "chart:1") == root
    with pytest.raises(InvalidDocument, match=r"no container image but application/vnd\.cncf\.helm"):
        await pull(client, reference(client, "chart:1"), AMD64, other.blobs, notes=other.notes)
    everything = await pull(client, reference(client, "chart:1"), None, other.blobs, notes=other.notes)
    assert everything.images == ()
    assert other.blobs.stat(layer) == 5


async def test_reference_by_digest_needs_no_tag(client, machine, other):
    """A digest is pulled as it is, also without asking the registry twice."""
    pushed = await machine.push(client, machine.image(b"x"), "app:1")
    pinned = reference(client, f"app@{pushed.digest}")
    pulled = await pull(client, pinned, AMD64, other.blobs, notes=other.notes)
    assert pulled.root.descriptor == pushed
    again = await pull(client, pinned, AMD64, other.blobs, notes=other.notes)
    assert again.image == pulled.image


async def test_manifests_are_deleted(client, machine):
    """Deleting by digest removes the tag too."""
    pushed = await machine.push(client, machine.image(b"x"), "app:1")
    assert await client.delete_manifest("app", pushed.digest)
    assert not await client.delete_manifest("app", pushed.digest)
    assert await client.head_manifest("app", "1") is None


async def test_many_tags_come_in_pages(client, machine, monkeypatch):
    """Pages are followed to the end."""
    document = await client.get_manifest(
        "app", (await machine.push(client, machine.image(b"x"), "app:t0")).digest
    )
    for number in range(1, 8):
        await client.put_manifest("app", f"t{number}", document)
    monkeypatch.setattr("registry.client.client.PAGE", 3)
    assert sorted(await client.tags("app")) == [f"t{number}" for number in range(8)]


async def test_cancelled_push_leaves_nothing_running(client, machine):
    """Cancelling in the middle ends threads and uploads; a later push works."""
    root = machine.image(*(text(4_000_000, seed) for seed in range(3)))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await machine.push(client, root, "app:1", "gzip:9")
    assert len(asyncio.all_tasks()) == 1
    assert await machine.push(client, root, "app:1")


async def test_layout_store_receives_and_gives(client, machine, tmp_path):
    """The store on disk works like the one in memory, with files of its own."""
    data = text(2_000_000)
    pushed = await machine.push(client, machine.image(data), "app:1")
    disk = LayoutBlobStore(tmp_path / "layout", durable=False)
    with Notes(tmp_path / "notes.db") as notes:
        pulled = await pull(client, reference(client, "app:1"), AMD64, disk, notes=notes)
        source = ImageSource(blobs=disk, root=pulled.root.descriptor)
        assert await push(client, source, reference(client, "again:1"), notes=notes) == pushed
        assert notes.variant(Digest.of(data), AS_PULLED) == pulled.image.manifest.value.layers[0]


@pytest.fixture
def htpasswd(tmp_path: Path) -> str:
    path = tmp_path / "htpasswd"
    path.write_text(HTPASSWD)
    return str(path)


@pytest.fixture(params=["own-basic", "own-token", pytest.param("docker-registry", marks=pytest.mark.clients)])
def guarded(request: pytest.FixtureRequest, tmp_path: Path, htpasswd: str) -> Iterator[str]:
    """The name of a registry that knows one user."""
    if request.param == "docker-registry":
        with docker_registry(tmp_path, htpasswd=htpasswd) as name:
            yield name
    else:
        kind: Callable[..., BasicAuth | TokenAuth] = BasicAuth if request.param == "own-basic" else TokenAuth
        more = {} if kind is BasicAuth else {"anonymous_pull": False}
        with own_registry(tmp_path, auth=kind(htpasswd=htpasswd, **more)) as name:
            yield name


async def test_known_user_pushes_mounts_and_pulls(guarded, machine, other):
    """With credentials everything works, mounts between repositories included."""
    async with Transport(credentials=lambda _: USER) as transport:
        client = RegistryClient(transport, guarded)
        root = machine.image(text(100_000))
        pushed = await machine.push(client, root, "mine/app:1")
        assert await machine.push(client, root, "mine/copy:1") == pushed
        assert machine.happened() == {Activity.MOUNTED}
        pulled = await pull(client, reference(client, "mine/app:1"), AMD64, other.blobs, notes=other.notes)
        assert pulled.root.descriptor == pushed
        assert set(await client.catalog()) == {"mine/app", "mine/copy"}


async def test_strangers_are_told_to_log_in(guarded, transport, machine):
    """Without credentials the error says what to do."""
    client = RegistryClient(transport, guarded)
    with pytest.raises(Unauthorized) as caught:
        await machine.push(client, machine.image(b"x"), "mine/app:1")
    assert caught.value.hint
    assert guarded in caught.value.message


async def test_login_checks_the_password(guarded):
    """Right credentials pass, wrong ones do not."""
    await login(guarded, USER)
    with pytest.raises((Unauthorized, Denied)):
        await login(guarded, Credentials(username="me", password="wrong"))
    with pytest.raises((Unauthorized, Denied)):
        await login(guarded, Credentials(username="nobody", password="secret"))


async def test_anonymous_pull_beside_authenticated_push(tmp_path, htpasswd, machine, other):
    """Like Docker Hub: everybody reads with an anonymous token, only the user writes."""
    with own_registry(tmp_path, auth=TokenAuth(htpasswd=htpasswd)) as name:
        async with Transport(credentials=lambda _: USER) as transport:
            pushed = await machine.push(RegistryClient(transport, name), machine.image(text(5000)), "app:1")
        async with Transport() as transport:
            client = RegistryClient(transport, name)
            pulled = await pull(client, reference(client, "app:1"), AMD64, other.blobs, notes=other.notes)
            assert pulled.root.descriptor == pushed
            with pytest.raises(RegistryError):
                await other.push(client, pulled.root.descriptor, "theirs:1")


def make_certificate(tmp_path: Path) -> tuple[str, str]:
    """A certificate for localhost that nobody trusts, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    certificate, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            key,
            "-out",
            certificate,
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


@pytest.mark.clients
async def test_registry_behind_tls_is_reached_by_its_certificate(tmp_path, machine):
    """A private certificate works when it is named or the registry is insecure, and is refused otherwise."""
    certificate, key = make_certificate(tmp_path)
    with own_registry(tmp_path, tls=TlsFiles(certificate=certificate, key=key)) as name:
        # Loopback: plain HTTP is tried first, then TLS with any certificate.
        async with Transport() as transport:
            assert await machine.push(RegistryClient(transport, name), machine.image(b"x"), "app:1")
        # As if it were a host elsewhere.
        address = {"reg.example": f"https://{name}"}
        async with Transport(TransportOptions(overrides=address)) as transport:
            with pytest.raises(RegistryError, match=r"TLS failed.*certificate") as caught:
                await RegistryClient(transport, "reg.example").ping()
            assert caught.value.hint
        async with Transport(TransportOptions(overrides=address, ca_file=certificate)) as transport:
            await RegistryClient(transport, "reg.example").ping()
        insecure = TransportOptions(overrides=address, insecure=frozenset({"reg.example"}))
        async with Transport(insecure) as transport:
            await RegistryClient(transport, "reg.example").ping()


async def test_read_only_registry_says_so(tmp_path, transport, machine):
    """A refusal keeps the registry's words."""
    with own_registry(tmp_path, read_only=True) as name, pytest.raises(ApiError, match=name):
        await machine.push(RegistryClient(transport, name), machine.image(b"x"), "app:1")


@pytest.mark.clients
async def test_skopeo_reads_what_we_push_and_we_read_what_it_pushes(client, machine, other, tmp_path):
    """Another client copies our image out and back in Docker's format; the layers stay the same."""
    if SKOPEO is None:
        pytest.skip("skopeo is not installed")
    layers = (text(300_000), b"second")
    pushed = await machine.push(client, machine.image(*layers), "app:1")

    async def skopeo(*arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            str(SKOPEO), "--insecure-policy", "copy", *arguments, stdout=asyncio.subprocess.DEVNULL
        )
        assert await process.wait() == 0

    here, there = f"docker://{client.registry}/app:1", f"docker://{client.registry}/app:v2s2"
    await skopeo("--src-tls-verify=false", here, f"oci:{tmp_path}/layout:1")
    assert LayoutBlobStore(tmp_path / "layout", durable=False).stat(pushed.digest) == pushed.size
    await skopeo("--src-tls-verify=false", "--dest-tls-verify=false", "--format=v2s2", here, there)
    pulled = await pull(client, reference(client, "app:v2s2"), AMD64, other.blobs, notes=other.notes)
    assert pulled.root.descriptor.media_type == mediatypes.DOCKER_MANIFEST
    assert [layer.diff_id for layer in pulled.image.layers] == [Digest.of(data) for data in layers]
