"""The cache never serves anything older than the last answered change."""

import asyncio
import io

import pytest

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from registry.server import metadata
from registry.server.metadata import MetadataCache
from registry.server.store.base import StoredManifest

D = Digest.of(b"x")


def manifest(content):
    return StoredManifest(
        descriptor=Descriptor(media_type="m", digest=Digest.of(content), size=len(content)), raw=content
    )


def giving(value, calls):
    async def load():
        calls.append(value)
        return value

    return load


async def test_a_value_is_loaded_once():
    """Until the repository changes."""
    cache, calls = MetadataCache(), []
    for _ in range(3):
        assert await cache.blob("a", D, giving(5, calls)) == 5
    assert calls == [5]
    assert cache.known_blob("a", D) == 5
    assert cache.known_blob("b", D) is None
    with cache.change("a", manifests=False, blobs=True):
        pass
    assert await cache.blob("a", D, giving(6, calls)) == 6


async def test_what_is_absent_is_not_remembered():
    """The next push is seen at once."""
    cache, calls = MetadataCache(), []
    assert await cache.blob("a", D, giving(None, calls)) is None
    assert await cache.blob("a", D, giving(1, calls)) == 1
    assert await cache.manifest("a", "t", giving(None, calls)) is None
    assert cache.known_manifest("a", "t") is None


async def test_changes_concern_one_repository_and_one_kind():
    """Other entries stay."""
    cache = MetadataCache()
    for name in ("a", "b"):
        await cache.manifest(name, "t", giving(manifest(b"1"), []))
        await cache.blob(name, D, giving(1, []))
    with cache.change("a"):
        pass
    assert cache.known_manifest("a", "t") is None
    assert cache.known_manifest("b", "t") is not None
    assert cache.known_blob("a", D) == 1
    cache.clear()
    assert cache.known_manifest("b", "t") is None
    assert cache.known_blob("b", D) is None


async def test_what_was_loaded_during_a_change_is_not_kept():
    """Neither when the change began before the load, nor when it ended within it."""
    cache = MetadataCache()
    with cache.change("a"):
        assert await cache.manifest("a", "t", giving(manifest(b"old"), [])) is not None
        assert cache.known_manifest("a", "t") is None
    started, go = asyncio.Event(), asyncio.Event()

    async def slow():
        started.set()
        await go.wait()
        return manifest(b"old")

    loading = asyncio.ensure_future(cache.manifest("a", "t", slow))
    await started.wait()
    with cache.change("a"), cache.change("a"):
        pass
    go.set()
    assert (await loading).raw == b"old"
    assert cache.known_manifest("a", "t") is None


async def test_memory_is_bounded(monkeypatch):
    """The least recently used entries go first."""
    monkeypatch.setattr(metadata, "MANIFEST_BYTES_LIMIT", 10_000)
    cache = MetadataCache()
    for number in range(8):
        await cache.manifest("a", str(number), giving(manifest(bytes(1000)), []))
        cache.known_manifest("a", "0")
    assert cache.known_manifest("a", "0") is not None
    assert cache.known_manifest("a", "1") is None
    assert cache.known_manifest("a", "7") is not None


@pytest.mark.parametrize("size", [0, 5, metadata.LARGEST_CONTENT])
async def test_small_blobs_are_kept_until_their_repository_loses_blobs(size):
    """A change of tags or manifests leaves them; one that began before they were read does not."""
    cache, data = MetadataCache(), b"x" * size

    async def load():
        return io.BytesIO(data), size

    found = await cache.opened("a", D, load)
    assert found[0].read() == data
    assert cache.known_content("a", D) == data
    assert cache.known_content("b", D) is None
    with cache.change("a"):
        pass
    assert cache.known_content("a", D) == data
    with cache.change("a", blobs=True):
        await cache.opened("a", D, load)
    assert cache.known_content("a", D) is None
    await cache.opened("a", D, load)
    cache.clear()
    assert cache.known_content("a", D) is None


async def test_only_small_blobs_in_memory_are_kept(tmp_path):
    """Files, large ones and those of storage that others change are opened each time; memory is bounded."""
    cache, shared = MetadataCache(), MetadataCache(is_shared=True)
    large = metadata.LARGEST_CONTENT + 1
    with (tmp_path / "x").open("w+b") as file:
        for value in ((file, 0), (io.BytesIO(b"x" * large), large), None):
            assert await cache.opened("a", D, giving(value, [])) is value
            assert cache.known_content("a", D) is None
    await shared.opened("a", D, giving((io.BytesIO(b"x"), 1), []))
    assert shared.known_content("a", D) is None
    digests = [Digest.of(b"%d" % number) for number in range(600)]
    for digest in digests:
        await cache.opened("a", digest, giving((io.BytesIO(b"y" * 65000), 65000), []))
    kept = [digest for digest in digests if cache.known_content("a", digest)]
    assert kept == digests[-len(kept) :]
    assert len(kept) * 65000 <= metadata.CONTENT_BYTES_LIMIT < (len(kept) + 20) * 65000
