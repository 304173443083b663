"""Whole images from and to registries that lie or forget."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from oci_image import mediatypes
from oci_image.config import ImageConfig
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Document, Index, Manifest, author_config, author_index, author_manifest
from oci_image.errors import InvalidDocument, VerificationFailed
from oci_image.layer.encoders import parse_encoder
from oci_image.platform import Platform
from oci_image.reference import Reference
from oci_image.store.memory import MemoryBlobStore
from oci_image.store.notes import Notes
from registry.client.client import RegistryClient
from registry.client.credentials import Credentials
from registry.client.parallel import together
from registry.client.scripted import Reply, ScriptedRegistry
from registry.client.transfer import ImageSource, login, pull, push
from registry.errors import ApiError, Unauthorized
from registry.protocol.errors import ErrorCode, encode, entry
from registry.protocol.headers import DIGEST_HEADER

AMD64 = Platform.parse("linux/amd64")
LAYER = b"layer" * 1000


def describe(data: bytes, media_type: str) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))


def image(*layers: Descriptor, diff_ids: tuple[Digest, ...] | None = None) -> tuple[Document, Document]:
    known = tuple(layer.digest for layer in layers) if diff_ids is None else diff_ids
    config = author_config(ImageConfig(platform=AMD64, diff_ids=known))
    return author_manifest(Manifest(config=config.descriptor, layers=layers)), config


def offer(scripted: ScriptedRegistry, *blobs: bytes, tag: str = "1", root: Document) -> None:
    """Let the registry have a manifest under a tag, and blobs."""
    fields = {DIGEST_HEADER: str(root.digest), "Content-Type": root.descriptor.media_type}
    scripted.on(
        "HEAD", f"/v2/app/manifests/{tag}", Reply(headers={**fields, "Content-Length": str(len(root.raw))})
    )
    scripted.on("GET", f"/v2/app/manifests/{root.digest}", Reply(body=root.raw, headers=fields))
    for data in blobs:
        scripted.on("GET", f"/v2/app/blobs/{Digest.of(data)}", Reply(body=data))


@pytest.fixture
async def notes() -> AsyncIterator[Notes]:
    with Notes(":memory:") as opened:
        yield opened


async def pull_one(
    client: RegistryClient, store: MemoryBlobStore, notes: Notes, name: str = "app:1"
) -> object:
    reference = Reference.parse(f"{client.registry}/{name}")
    return await pull(client, reference, AMD64, store, notes=notes)


async def test_lying_layer_leaves_no_image(scripted, client, notes):
    """One wrong layer: one error, and neither manifest nor configuration nor that layer in the store."""
    good, bad = describe(LAYER, mediatypes.OCI_LAYER_GZIP), describe(b"other", mediatypes.OCI_LAYER_GZIP)
    manifest, config = image(good, bad)
    offer(scripted, LAYER, config.raw, root=manifest)
    scripted.on("GET", f"/v2/app/blobs/{bad.digest}", Reply(body=b"wrong"))
    store = MemoryBlobStore()
    with pytest.raises(VerificationFailed, match=f"{scripted.name}/app: blob {bad.digest}"):
        await pull_one(client, store, notes)
    assert set(store.digests()) <= {good.digest}
    assert notes.sources(good.digest) == ()


async def test_plain_layer_must_be_its_diff_id(scripted, client, notes):
    """Manifest and configuration that contradict each other are refused before any layer is fetched."""
    manifest, config = image(describe(LAYER, mediatypes.OCI_LAYER), diff_ids=(Digest.of(b"?"),))
    offer(scripted, config.raw, root=manifest)
    store = MemoryBlobStore()
    with pytest.raises(VerificationFailed, match="in the configuration"):
        await pull_one(client, store, notes)
    assert list(store.digests()) == []


async def test_huge_configuration_is_not_fetched(scripted, client, notes):
    """A configuration is a small document; what claims to be larger is refused unseen."""
    manifest, config = image()
    huge = author_manifest(replace(manifest.value, config=replace(config.descriptor, size=1 << 40)))
    offer(scripted, root=huge)
    with pytest.raises(InvalidDocument, match="too large"):
        await pull_one(client, MemoryBlobStore(), notes)


async def test_endless_nesting_of_indexes_ends(scripted, client, notes):
    """An index of indexes of indexes is not followed for ever."""
    inner: Document = image()[0]
    documents = []
    for _ in range(6):
        inner = author_index(Index(manifests=(replace(inner.descriptor, platform=AMD64),)))
        documents.append(inner)
    for document in documents:
        offer(scripted, root=document)
    with pytest.raises(InvalidDocument, match="nested too deeply"):
        await pull_one(client, MemoryBlobStore(), notes)


async def test_image_without_layers_is_pulled_once(scripted, client, notes):
    """What the store has already is not fetched again."""
    manifest, config = image()
    offer(scripted, config.raw, root=manifest)
    store = MemoryBlobStore()
    first = await pull_one(client, store, notes)
    assert await pull_one(client, store, notes) == first
    assert len(scripted.asked("GET", "/v2/app")) == 2


async def test_blob_that_the_registry_only_claims_to_have_is_sent(scripted, client, notes):
    """HEAD says yes, the manifest says unknown: everything is sent once, then the manifest again."""
    store = MemoryBlobStore()
    layer = describe(LAYER, mediatypes.OCI_LAYER)
    manifest, config = image(layer)
    for data in (LAYER, manifest.raw, config.raw):
        store.put(Digest.of(data), data)
    missing = encode([entry(ErrorCode.MANIFEST_BLOB_UNKNOWN, {"digest": str(layer.digest)})])
    scripted.on("HEAD", "/v2/app/manifests/1", Reply(status=404))
    for blob in (layer, config.descriptor):
        scripted.on("HEAD", f"/v2/app/blobs/{blob.digest}", Reply(headers={"Content-Length": str(blob.size)}))
        scripted.on("PUT", f"/u?digest={blob.digest}", Reply(status=201))
    scripted.on("POST", "/v2/app/blobs/uploads/", Reply(status=202, headers={"Location": "/u"}))
    scripted.on("PUT", "/v2/app/manifests/1", Reply(status=400, body=missing), Reply(status=201))

    async def push_it() -> Descriptor:
        return await push(
            client,
            ImageSource(blobs=store, root=manifest.descriptor),
            Reference.parse(f"{scripted.name}/app:1"),
            notes=notes,
            encoder=parse_encoder("uncompressed"),
        )

    assert await push_it() == manifest.descriptor
    assert len(scripted.asked("POST")) == 2
    scripted.on("PUT", "/v2/app/manifests/1", Reply(status=400, body=missing))
    with pytest.raises(ApiError, match=str(layer.digest)):
        await push_it()


async def test_manifest_with_subject_is_listed_where_the_registry_does_not(scripted, client):
    """Without OCI-Subject in the answer the client keeps the list under the subject's tag."""
    subject = describe(b"subject", mediatypes.OCI_MANIFEST)
    base, _ = image()
    signature = author_manifest(
        replace(base.value, subject=subject, artifact_type="a/b", annotations={"k": "v"})
    )
    tag = f"/v2/app/manifests/sha256-{subject.digest.hex}"
    scripted.on("PUT", f"/v2/app/manifests/{signature.digest}", Reply(status=201))
    scripted.on("HEAD", tag, Reply(status=404))
    scripted.on("PUT", tag, Reply(status=201))
    await client.put_manifest("app", signature.digest, signature)
    (listed,) = json.loads(scripted.requests[-1].body)["manifests"]
    assert (listed["digest"], listed["artifactType"]) == (str(signature.digest), "a/b")
    assert listed["annotations"] == {"k": "v"}
    index = scripted.requests[-1].body
    scripted.on(
        "HEAD", tag, Reply(headers={DIGEST_HEADER: str(Digest.of(index)), "Content-Length": str(len(index))})
    )
    scripted.on("GET", f"/v2/app/manifests/{Digest.of(index)}", Reply(body=index))
    await client.put_manifest("app", signature.digest, signature)
    assert len(scripted.asked("PUT", tag)) == 1
    accepted = Reply(status=201, headers={"OCI-Subject": str(subject.digest)})
    scripted.on("PUT", f"/v2/app/manifests/{signature.digest}", accepted)
    await client.put_manifest("app", signature.digest, signature)
    assert scripted.requests[-1].target == f"/v2/app/manifests/{signature.digest}"


async def test_login_sends_the_password_once(scripted):
    """Logging in is the probe, then the probe with credentials."""
    challenge = Reply(status=401, headers={"WWW-Authenticate": "Basic realm=x"})
    scripted.on("GET", "/v2/", challenge, Reply(), challenge)
    await login(scripted.name, Credentials(username="me", password="pw"))
    assert len(scripted.requests) == 2
    with pytest.raises((Unauthorized, ApiError)):
        await login(scripted.name, Credentials(username="me", password="pw"))


async def test_together_stops_the_rest_on_the_first_error():
    """One failure cancels the others and is the only error; nothing runs on."""
    stopped = []

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.append(True)

    async def failing() -> None:
        await asyncio.sleep(0)
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        await together([slow(), failing(), slow()])
    assert stopped == [True, True]
    assert await together([asyncio.sleep(0, n) for n in range(3)]) == [0, 1, 2]
