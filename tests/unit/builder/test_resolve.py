"""Finding base images: the local store, then a registry."""

import asyncio

import pytest

from builder.errors import CannotResolve
from builder.resolve import StoreResolver
from oci_image.config import ImageConfig
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Index, Manifest, author_config, author_index, author_manifest
from oci_image.errors import ImageError
from oci_image.image import Image
from oci_image.platform import Platform
from oci_image.reference import Reference
from oci_image.store.memory import MemoryBlobStore, MemoryTagStore

AMD64 = Platform(os="linux", architecture="amd64")
ARM64 = Platform(os="linux", architecture="arm64")
APP = Reference.parse("app:1")


class Registry:
    """Stands for a registry: gives out images by name and platform, or fails."""

    def __init__(self):
        self.images = {}
        self.asked = []
        self.failure = None

    async def __call__(self, reference, platform):
        self.asked.append((reference.familiar, str(platform)))
        if self.failure is not None:
            raise self.failure
        try:
            return self.images[reference.familiar]
        except KeyError:
            raise CannotResolve(f"{reference.familiar} is not in its registry") from None


class Stores:
    """A store in memory, and a resolver over it."""

    def __init__(self):
        self.blobs, self.tags, self.registry = MemoryBlobStore(), MemoryTagStore(), Registry()
        self.resolver = StoreResolver(self.tags, self.blobs, self.registry)

    def put(self, document):
        with self.blobs.writer() as writer:
            writer.write(document.raw)
            writer.commit(document.digest)
        return document.descriptor

    def image(self, platform=AMD64, author="", *, keep=True):
        config = author_config(ImageConfig(platform=platform, author=author))
        manifest = author_manifest(Manifest(config=config.descriptor, layers=()))
        if keep:
            self.put(config)
            self.put(manifest)
        return Image(manifest, config)

    def tag(self, name, descriptor):
        self.tags.set(str(Reference.parse(name)), descriptor)

    def resolve(self, reference=APP, platform=AMD64, *, pull=False):
        return asyncio.run(self.resolver.resolve(reference, platform, pull=pull))


@pytest.fixture
def stores():
    return Stores()


def test_a_local_image_is_found(stores):
    """An image of the store should be found by its full name, without asking anybody."""
    image = stores.image()
    stores.tag("app:1", image.manifest.descriptor)
    assert stores.resolve() == image
    assert stores.resolver.local(APP, AMD64) == image
    assert stores.registry.asked == []


def test_an_index_gives_the_image_for_the_platform(stores):
    """Of an index the best image for the platform should be taken, among those that are here."""
    amd64, arm64 = stores.image(AMD64), stores.image(ARM64)
    children = tuple(
        Descriptor(
            media_type=i.manifest.descriptor.media_type,
            digest=i.manifest.digest,
            size=i.manifest.descriptor.size,
            platform=i.config.value.platform,
        )
        for i in (amd64, arm64)
    )
    stores.tag("app:1", stores.put(author_index(Index(manifests=children))))
    assert stores.resolve(platform=ARM64) == arm64
    assert stores.resolve(platform=AMD64) == amd64
    assert stores.resolver.local(APP, Platform(os="linux", architecture="s390x")) is None
    stores.blobs.delete(arm64.manifest.digest)
    assert stores.resolver.local(APP, ARM64) is None


def test_what_is_not_here_is_asked_for(stores):
    """An unknown image should come from its registry; one that nobody has should be an error."""
    stores.registry.images["other:latest"] = image = stores.image(keep=False)
    other = Reference.parse("other")
    assert stores.resolver.local(other, AMD64) is None
    assert stores.resolve(other) == image
    assert stores.registry.asked == [("other:latest", "linux/amd64")]
    with pytest.raises(CannotResolve, match="not in its registry"):
        stores.resolve(Reference.parse("nowhere"))


def test_without_a_registry(stores):
    """Where there is no registry to ask, the error should say what to do."""
    resolver = StoreResolver(stores.tags, stores.blobs)
    with pytest.raises(CannotResolve, match="app:1 is not in the local store") as caught:
        asyncio.run(resolver.resolve(APP, AMD64, pull=False))
    assert caught.value.hint


def test_pull_always_asks(stores):
    """With pull the registry should be asked even for local images, and its failure be final."""
    stores.tag("app:1", stores.image(author="old").manifest.descriptor)
    stores.registry.images["app:1"] = newer = stores.image(author="new", keep=False)
    assert stores.resolve(pull=True) == newer
    stores.registry.images.clear()
    with pytest.raises(CannotResolve):
        stores.resolve(pull=True)


def test_an_image_for_another_platform(stores):
    """A local image for another platform should serve only if the registry has no better one."""
    arm = stores.image(ARM64)
    stores.tag("app:1", arm.manifest.descriptor)
    assert stores.resolver.local(APP, AMD64) is None
    assert stores.resolve() == arm
    assert stores.registry.asked == [("app:1", "linux/amd64")]
    stores.registry.images["app:1"] = better = stores.image(AMD64, keep=False)
    assert stores.resolve() == better


def test_a_name_with_a_digest(stores):
    """A digest should be that of the manifest, under any name of the same repository."""
    image = stores.image()
    stores.tag("app:2", image.manifest.descriptor)
    stores.tags.set("not a reference", image.manifest.descriptor)
    assert stores.resolver.local(APP.with_digest(image.manifest.digest), AMD64) == image
    assert stores.resolver.local(APP.with_digest(Digest.of(b"")), AMD64) is None
    other = Reference.parse("else").with_digest(image.manifest.digest)
    assert stores.resolver.local(other, AMD64) is None


def test_half_an_image_is_fetched_again(stores):
    """An image whose configuration is gone should be asked for; a broken one should be an error."""
    image = stores.image()
    stores.tag("app:1", image.manifest.descriptor)
    stores.blobs.delete(image.id)
    assert stores.resolver.local(APP, AMD64) is None
    with stores.blobs.writer() as writer:
        writer.write(b"no manifest")
        digest = writer.commit()
    media_type = image.manifest.descriptor.media_type
    stores.tag("app:1", Descriptor(media_type=media_type, digest=digest, size=11))
    with pytest.raises(CannotResolve, match="the local image app:1 cannot be used"):
        stores.resolver.local(APP, AMD64)


def test_what_the_network_says_is_told(stores):
    """Failures on the way should become one error that keeps the hint; mistakes of ours should not."""
    stores.registry.failure = ImageError("connection refused", hint="start it")
    with pytest.raises(CannotResolve, match="cannot resolve app:1: connection refused") as caught:
        stores.resolve()
    assert caught.value.hint == "start it"
    stores.registry.failure = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        stores.resolve()
