"""What a pull finds, chooses and refuses, and what is asked of a registry beside it."""

from __future__ import annotations

import pytest

from oci_image.descriptor import Descriptor
from oci_image.documents import Manifest, author_manifest
from oci_image.errors import InvalidDocument, NotFound
from registry.client.transfer import pull
from tests.contract.registry_client.machines import AMD64, reference


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
