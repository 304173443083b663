"""What a manifest is when it is asked for a cache: ours, an image with one, or something that is named."""

import json

import pytest
from cache_values import digest, result

from builder.cachetransfer.document import BUILDKIT_CONFIG, CACHE_CONFIG, CacheDocument
from builder.cachetransfer.inline import ANNOTATION
from builder.cachetransfer.local import DirectorySource
from builder.cachetransfer.options import read_imports
from builder.cachetransfer.places import read_cache
from builder.graph import KEY_VERSION
from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.documents import Index, Manifest, author_index, describe
from oci_image.errors import InvalidDocument
from oci_image.image import chain_id
from oci_image.store.layout import LayoutBlobStore, LayoutTagStore

LAYER = Descriptor(media_type=mediatypes.OCI_LAYER_GZIP, digest=digest("blob"), size=4)


async def read(config, kind, *, layers=(LAYER,), annotations=None):
    """The cache in a manifest with this configuration."""
    raw = config if isinstance(config, bytes) else json.dumps(config).encode()
    manifest = Manifest(config=describe(raw, kind), layers=layers, annotations=annotations or {})

    async def blob(descriptor):
        assert descriptor.digest == manifest.config.digest
        return raw

    return await read_cache(manifest, blob, "it")


async def test_our_own_kind():
    """Layers belong to diff_ids by their place."""
    document = CacheDocument(layers=(digest("a"),), results=(result("one", layers=["a"]),))
    cache = await read(document.to_bytes(), CACHE_CONFIG)
    assert cache.layers == {digest("a"): LAYER}
    assert cache.results == document.results


async def test_numbers_of_layers():
    """A document that speaks of other layers than the manifest has is refused."""
    document = CacheDocument(layers=(digest("a"), digest("b")), results=())
    with pytest.raises(InvalidDocument, match="has 1 layers, but speaks of 2"):
        await read(document.to_bytes(), CACHE_CONFIG)


async def test_an_image_with_a_cache():
    """Its diff_ids come from the configuration."""
    row = [str(digest("d")), str(digest("c")), str(chain_id((digest("a"),))), 0, 1, 4]
    text = json.dumps({"format": 1, "keyVersion": KEY_VERSION, "results": [row]})
    config = {"rootfs": {"type": "layers", "diff_ids": [str(digest("a"))]}}
    cache = await read(config, mediatypes.OCI_CONFIG, annotations={ANNOTATION: text})
    assert cache.layers == {digest("a"): LAYER}
    assert [one.layers for one in cache.results] == [(digest("a"),)]
    with pytest.raises(InvalidDocument, match="disagree"):
        await read({"rootfs": {"diff_ids": []}}, mediatypes.OCI_CONFIG, annotations={ANNOTATION: text})


@pytest.mark.parametrize(
    ("config", "kind", "words"),
    [
        ({}, mediatypes.OCI_CONFIG, "an image with no cache in it"),
        ({"moby.buildkit.cache.v0": "x"}, mediatypes.DOCKER_CONFIG, "an image with a cache of BuildKit"),
        (
            {"layers": [], "records": []},
            BUILDKIT_CONFIG,
            "is a cache of BuildKit, which only BuildKit can read",
        ),
        ({}, "application/vnd.example+json", "is no build cache, but application/vnd.example"),
        ({}, "", "is no build cache, but of no known type"),
        (b"{", CACHE_CONFIG, "not valid JSON"),
    ],
)
async def test_what_is_no_cache_is_named(config, kind, words):
    """The message says what it is."""
    with pytest.raises(InvalidDocument, match=words):
        await read(config, kind)


async def test_a_large_configuration_is_not_read():
    """A bound protects the memory, whatever a manifest says."""
    config = Descriptor(media_type=CACHE_CONFIG, digest=digest("x"), size=1 << 40)

    async def blob(descriptor):
        raise AssertionError(f"{descriptor} was read")

    with pytest.raises(InvalidDocument, match="too much"):
        await read_cache(Manifest(config=config, layers=()), blob, "it")


async def test_a_directory_that_buildkit_wrote(tmp_path):
    """Its older form is an index whose entries are layers; that is told, too."""
    index = author_index(Index(manifests=(LAYER,)))
    with LayoutBlobStore(tmp_path, durable=False).writer() as writer:
        writer.write(index.raw)
        writer.commit(index.digest)
    LayoutTagStore(tmp_path).set("latest", index.descriptor)
    (option,) = read_imports([f"type=local,src={tmp_path}"])
    with pytest.raises(InvalidDocument, match="BuildKit"):
        await DirectorySource(option).read()


async def test_a_directory_without_a_cache(tmp_path):
    """Neither an absent directory nor an empty one is a problem, and neither is made or changed."""
    (tmp_path / "empty").mkdir()
    for name in ("absent", "empty"):
        (option,) = read_imports([f"type=local,src={tmp_path / name}"])
        assert await DirectorySource(option).read() is None
    assert not (tmp_path / "absent").exists()
    assert list((tmp_path / "empty").iterdir()) == []
