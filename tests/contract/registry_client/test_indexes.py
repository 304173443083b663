"""Images of several platforms."""

from __future__ import annotations

import pytest

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Index, author_index
from oci_image.errors import InvalidDocument, NotFound
from oci_image.platform import Platform
from registry.client.transfer import pull
from tests.contract.registry_client.machines import AMD64, index_of, reference


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
