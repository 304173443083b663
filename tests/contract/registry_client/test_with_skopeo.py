"""Another client beside ours."""

from __future__ import annotations

import asyncio
import shutil

import pytest

from oci_image import mediatypes
from oci_image.digest import Digest
from oci_image.store.layout import LayoutBlobStore
from registry.client.transfer import pull
from tests.contract.registry_client.machines import AMD64, reference, text

SKOPEO = shutil.which("skopeo")


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
