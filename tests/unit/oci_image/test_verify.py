"""Verification of bytes that enter and of whole images."""

from __future__ import annotations

import gzip
import io
from dataclasses import replace

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from oci_image import mediatypes
from oci_image.config import History, ImageConfig
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Index, Manifest, author_config, author_index, author_manifest
from oci_image.errors import NotFound, VerificationFailed
from oci_image.platform import Platform
from oci_image.store.memory import MemoryBlobStore
from oci_image.verify import VerifyingReader, check_image, copy_verified, read_document

AMD64 = Platform(os="linux", architecture="amd64")


def describe(data: bytes, media_type: str = mediatypes.OCI_LAYER) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))


class Counting(io.BytesIO):
    """A stream that counts what was taken from it."""

    taken = 0

    def read(self, size=-1, /):
        data = super().read(size)
        self.taken += len(data)
        return data


@given(st.binary(max_size=2000), st.integers(1, 500), st.sampled_from(["sha256", "sha512"]))
def test_good_bytes_pass(data, step, algorithm):
    """The promised bytes come through, in pieces of any size."""
    descriptor = replace(describe(data), digest=Digest.of(data, algorithm))
    reader = VerifyingReader(io.BytesIO(data), descriptor)
    assert b"".join(iter(lambda: reader.read(step), b"")) == data
    assert reader.read(1) == b""


@pytest.mark.parametrize(
    ("served", "words"),
    [
        (b"", "ends after 0 of 6"),
        (b"abcde", "ends after 5 of 6"),
        (b"abcdefg", "more content than 6"),
        (b"abcdeF", "the content is sha256"),
    ],
)
@pytest.mark.parametrize("step", [1, 6, 100])
def test_other_bytes_are_refused(served, words, step):
    """Fewer, more or other bytes are an error before the last byte is handed out."""
    got = b""
    reader = VerifyingReader(io.BytesIO(served), describe(b"abcdef"))

    def read_all() -> None:
        nonlocal got
        while piece := reader.read(step):
            got += piece

    with pytest.raises(VerificationFailed, match=words):
        read_all()
    assert len(got) < 6


def test_size_bounds_what_is_read():
    """An endless stream is read to one byte beyond the size."""
    stream = Counting(bytes(1_000_000))
    with pytest.raises(VerificationFailed, match="more content"):
        VerifyingReader(stream, describe(bytes(10))).read()
    assert stream.taken == 11


def test_empty_content_is_verified():
    """Nothing is verified too."""
    assert VerifyingReader(io.BytesIO(), describe(b"")).read() == b""
    with pytest.raises(VerificationFailed, match="more content"):
        VerifyingReader(io.BytesIO(b"x"), describe(b"")).read()
    with pytest.raises(VerificationFailed, match="expected"):
        VerifyingReader(io.BytesIO(), replace(describe(b"x"), size=0)).read()


def test_closing_closes_the_stream():
    """The reader owns its stream."""
    stream = io.BytesIO(b"abc")
    with VerifyingReader(stream, describe(b"abc")):
        pass
    assert stream.closed


def test_copy_verified():
    """A copy is committed when it is what was promised."""
    store = MemoryBlobStore()
    data = bytes(3_000_000)
    with store.writer() as writer:
        assert copy_verified(io.BytesIO(data), writer, describe(data)) == Digest.of(data)
    assert store.stat(Digest.of(data)) == len(data)


@pytest.mark.parametrize("served", [b"", b"abcde", b"abcdefg", b"abcdeF"])
def test_copy_of_other_bytes_publishes_nothing(served):
    """Nothing else is stored."""
    store = MemoryBlobStore()
    with store.writer() as writer, pytest.raises(VerificationFailed):
        copy_verified(io.BytesIO(served), writer, describe(b"abcdef"))
    assert list(store.digests()) == []


# Images


def put(store: MemoryBlobStore, data: bytes) -> None:
    store.put(Digest.of(data), data)


def image(store: MemoryBlobStore, *layers: tuple[bytes, str], **changes: object) -> Descriptor:
    """An image of layers given as stored bytes and media type; changes go into the configuration."""
    plain = []
    descriptors = []
    for stored, media_type in layers:
        put(store, stored)
        descriptors.append(describe(stored, media_type))
        opener = {"gzip": gzip.decompress, "zstd": zstandard.decompress}.get(
            mediatypes.layer_compression(media_type), bytes
        )
        plain.append(Digest.of(opener(stored)))
    config = ImageConfig(platform=AMD64, diff_ids=tuple(plain), history=(History(),) * len(plain))
    document = author_config(replace(config, **changes))
    put(store, document.raw)
    manifest = author_manifest(Manifest(config=document.descriptor, layers=tuple(descriptors)))
    put(store, manifest.raw)
    return manifest.descriptor


TAR = bytes(10_240)
LAYERS = (
    (TAR, mediatypes.OCI_LAYER),
    (gzip.compress(TAR), mediatypes.OCI_LAYER_GZIP),
    (zstandard.compress(TAR), mediatypes.OCI_LAYER_ZSTD),
)


def index_of(store: MemoryBlobStore, *children: Descriptor) -> Descriptor:
    document = author_index(Index(manifests=children))
    put(store, document.raw)
    return document.descriptor


def test_good_images():
    """Images of all kinds of layers, and indexes of them, have no problems."""
    store = MemoryBlobStore()
    found = image(store, *LAYERS)
    assert check_image(store, found) == []
    other = replace(image(store), platform=AMD64)
    inner = index_of(store, other)
    assert check_image(store, index_of(store, replace(found, platform=AMD64), inner, other)) == []


def test_image_without_history_is_good():
    """History is optional."""
    store = MemoryBlobStore()
    assert check_image(store, image(store, *LAYERS, history=())) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"history": (History(),)}, "3 layers, but 1 non-empty history entries"),
        ({"history": (History(empty_layer=True),) * 3}, "3 layers, but 0 non-empty"),
        ({"diff_ids": (Digest.of(TAR),) * 2}, "3 layers, but 2 diff_ids"),
        ({"diff_ids": (Digest.of(TAR), Digest.of(TAR), Digest.of(b""))}, "has the diff_id"),
    ],
)
def test_contradictions_are_found(changes, words):
    """Numbers and digests that do not fit together are told."""
    store = MemoryBlobStore()
    problems = check_image(store, image(store, *LAYERS, **changes))
    assert problems
    assert any(words in problem for problem in problems)


def test_wrong_compression_is_found():
    """A layer that is not compressed as its media type says."""
    store = MemoryBlobStore()
    put(store, TAR)
    config = ImageConfig(platform=AMD64, diff_ids=(Digest.of(TAR),))
    document = author_config(config)
    put(store, document.raw)
    manifest = author_manifest(
        Manifest(config=document.descriptor, layers=(describe(TAR, mediatypes.OCI_LAYER_GZIP),))
    )
    put(store, manifest.raw)
    (problem,) = check_image(store, manifest.descriptor)
    assert "is said to be application/vnd.oci.image.layer.v1.tar+gzip, but is none" in problem


def test_every_missing_or_damaged_blob_is_found():
    """Whatever blob of an image is missing, shortened or changed: it is told, with its digest."""
    whole = MemoryBlobStore()
    found = index_of(whole, replace(image(whole, *LAYERS), platform=AMD64))
    digests = list(whole.digests())
    assert len(digests) == 6
    for digest in digests:
        with whole.open(digest) as stream:
            data = stream.read()
        for damage in (None, data[:-1], data + b"\0", bytes([data[0] ^ 1]) + data[1:]):
            if damage is None:
                whole.delete(digest)
            else:
                whole.put(digest, damage)
            problems = check_image(whole, found)
            assert problems
            assert any(digest.hex in problem for problem in problems)
        whole.put(digest, data)
    assert check_image(whole, found) == []


def test_broken_archive_is_found():
    """A compressed layer that cannot be decompressed, although its digest is right."""
    store = MemoryBlobStore()
    broken = gzip.compress(TAR)[:-4]
    put(store, broken)
    config = author_config(ImageConfig(platform=AMD64, diff_ids=(Digest.of(TAR),)))
    put(store, config.raw)
    manifest = author_manifest(
        Manifest(config=config.descriptor, layers=(describe(broken, mediatypes.OCI_LAYER_GZIP),))
    )
    put(store, manifest.raw)
    (problem,) = check_image(store, manifest.descriptor)
    assert "broken gzip stream" in problem


def test_platform_of_the_index_must_be_true():
    """An index that promises another platform than the configuration has."""
    store = MemoryBlobStore()
    arm = Platform(os="linux", architecture="arm64")
    (problem,) = check_image(store, index_of(store, replace(image(store), platform=arm)))
    assert "the index says linux/arm64, the configuration linux/amd64" in problem


def test_partial_images():
    """What was not fetched may be missing on request, but what is here must be right."""
    store = MemoryBlobStore()
    found = image(store, *LAYERS)
    away = replace(describe(b"another platform's manifest", mediatypes.OCI_MANIFEST), platform=AMD64)
    both = index_of(store, replace(found, platform=AMD64), away)
    store.delete(Digest.of(LAYERS[1][0]))
    assert len(check_image(store, both)) == 2
    assert check_image(store, both, partial=True) == []
    store.put(Digest.of(TAR), b"x")
    assert len(check_image(store, both, partial=True)) == 1


def test_foreign_layers_may_be_away():
    """Layers that registries do not distribute need not be here."""
    store = MemoryBlobStore()
    config = author_config(ImageConfig(platform=AMD64, diff_ids=(Digest.of(TAR),)))
    put(store, config.raw)
    layer = describe(gzip.compress(TAR), mediatypes.DOCKER_LAYER_FOREIGN_GZIP)
    manifest = author_manifest(Manifest(config=config.descriptor, layers=(layer,)))
    put(store, manifest.raw)
    assert check_image(store, manifest.descriptor) == []


def test_artifacts_are_opaque():
    """An artifact's parts are verified, not understood."""
    store = MemoryBlobStore()
    put(store, b"{}")
    put(store, b"signature")
    artifact = author_manifest(
        Manifest(config=describe(b"{}", mediatypes.OCI_EMPTY), layers=(describe(b"signature", "a/b"),))
    )
    put(store, artifact.raw)
    assert check_image(store, artifact.descriptor) == []
    store.put(Digest.of(b"signature"), b"signaturf")
    assert len(check_image(store, artifact.descriptor)) == 1


def test_read_document():
    """A document comes out verified and bounded, or not at all."""
    store = MemoryBlobStore()
    put(store, b"{}")
    wanted = describe(b"{}")
    assert read_document(store, wanted) == b"{}"
    assert read_document(store, wanted, limit=2) == b"{}"
    with pytest.raises(VerificationFailed, match="at most 1"):
        read_document(store, wanted, limit=1)
    with pytest.raises(VerificationFailed):
        read_document(store, replace(wanted, size=3))
    with pytest.raises(NotFound):
        read_document(store, describe(b"[]"))
