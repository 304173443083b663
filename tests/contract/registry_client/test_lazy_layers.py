"""Layers that are fetched when they are needed, from wherever they are remembered."""

from __future__ import annotations

import pytest

from oci_image.errors import NotFound
from registry.client.client import RegistryClient
from registry.client.transfer import Activity, fetch_layers, pull
from tests.contract.registry_client.machines import AMD64, own_registry, reference, text


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
