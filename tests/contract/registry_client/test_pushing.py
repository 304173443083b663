"""What a push sends, mounts, compresses and leaves alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from oci_image import mediatypes
from oci_image.digest import Digest
from oci_image.documents import Manifest, describe
from oci_image.errors import VerificationFailed
from oci_image.layer.compression import open_decompressed
from oci_image.store.layout import LayoutBlobStore
from oci_image.store.notes import AS_PULLED, Notes
from registry.client.transfer import Activity, ImageSource, pull, push
from tests.contract.registry_client.machines import AMD64, reference, text


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


async def test_damaged_layer_does_not_leave_the_machine(client, machine):
    """Bit rot in the store stops the push before a manifest exists."""
    data = text(300_000)
    root = machine.image(data)
    machine.blobs.put(Digest.of(data), data[:-1] + b"!")
    with pytest.raises(VerificationFailed, match=f"layer {Digest.of(data)} in the store was damaged"):
        await machine.push(client, root, "app:1")
    assert await client.head_manifest("app", "1") is None


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
