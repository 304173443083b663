"""Garbage collection."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest

from oci_image import mediatypes
from oci_image.config import ImageConfig
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.documents import Index, Manifest, author_config, author_index, author_manifest, describe
from oci_image.errors import ImageError
from oci_image.platform import Platform
from oci_image.store.gc import mark, sweep
from oci_image.store.layout import LayoutBlobStore
from oci_image.store.memory import MemoryBlobStore

STORES = {"memory": lambda _: MemoryBlobStore(), "layout": lambda path: LayoutBlobStore(path, durable=False)}


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    return STORES[request.param](tmp_path)


def put(store, data: bytes) -> Digest:
    with store.writer() as writer:
        writer.write(data)
        return writer.commit()


def image(store, name: str, *layers: bytes, diff_ids: tuple[bytes, ...] = ()) -> Descriptor:
    config = author_config(
        ImageConfig(
            platform=Platform(os="linux", architecture="amd64"),
            diff_ids=tuple(Digest.of(data) for data in diff_ids or layers),
            author=name,
        )
    )
    manifest = author_manifest(
        Manifest(
            config=config.descriptor, layers=tuple(describe(data, mediatypes.OCI_LAYER) for data in layers)
        )
    )
    for data in (*layers, config.raw, manifest.raw):
        put(store, data)
    return manifest.descriptor


def index(store, *children: Descriptor) -> Descriptor:
    document = author_index(Index(manifests=children))
    put(store, document.raw)
    return document.descriptor


def test_what_is_referred_to_stays(store):
    """Manifests, configurations, layers and everything below nested indexes stay; the rest goes."""
    one = image(store, "one", b"shared", b"own of one")
    two = image(store, "two", b"shared", b"own of two")
    root = index(store, index(store, one))
    junk = put(store, b"junk")
    report = sweep(store, [root])
    gone = {junk, two.digest, Digest.of(b"own of two")}
    assert gone < set(report.deleted)
    assert len(report.deleted) == 4
    assert report.alive == len(list(store.digests())) == 6
    assert (report.young, report.missing) == (0, ())
    assert store.stat(Digest.of(b"shared")) == 6
    assert mark(store, [root]) == (set(store.digests()), set())
    assert sweep(store, [root]).deleted == ()


def test_freed_bytes_and_dry_run(store):
    """A dry run says what would go, and removes nothing."""
    put(store, b"x" * 100)
    put(store, b"y" * 50)
    dry = sweep(store, [], dry_run=True)
    assert dry.freed == 150
    assert len(list(store.digests())) == 2
    assert sweep(store, []) == dry
    assert list(store.digests()) == []


def test_keep(store):
    """Blobs that the caller names stay."""
    kept = put(store, b"kept")
    gone = put(store, b"gone")
    assert sweep(store, [], keep={kept}).deleted == (gone,)


def test_young_blobs_stay(store):
    """What is younger than the cutoff stays; touching makes young."""
    put(store, b"old")
    used = put(store, b"old, but used")
    time.sleep(0.02)
    cutoff = time.time()
    time.sleep(0.02)
    young = put(store, b"young")
    store.touch(used)
    report = sweep(store, [], cutoff=cutoff)
    assert report.deleted == (Digest.of(b"old"),)
    assert report.young == 2
    assert set(store.digests()) == {young, used}


def test_layers_that_rest_uncompressed_stay(store):
    """A layer that rests under its diff_id belongs to the image that lists its compressed form."""
    root = image(store, "pushed", b"compressed", diff_ids=(b"uncompressed",))
    rests = put(store, b"uncompressed")
    assert sweep(store, [root]).deleted == ()
    assert store.stat(rests) is not None


def test_missing_blobs_are_reported(store):
    """Layers that were never fetched are told, not an error."""
    root = image(store, "lazy", b"here", b"away")
    store.delete(Digest.of(b"away"))
    away = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(b"manifest"), size=8)
    report = sweep(store, [root, away])
    assert set(report.missing) == {Digest.of(b"away"), away.digest}
    assert report.deleted == ()


def test_roots_without_media_type(store):
    """An entry of an old tool, which does not say what it is, keeps its layers."""
    root = replace(image(store, "old", b"layer"), media_type="")
    assert sweep(store, [root]).deleted == ()
    assert store.stat(Digest.of(b"layer")) is not None


def test_artifacts_stay_as_roots(store):
    """A signature stays with its blobs when it is a root; the image that it is about is not a part of it."""
    found = image(store, "signed", b"layer")
    artifact = author_manifest(
        Manifest(
            config=describe(b"{}", mediatypes.OCI_EMPTY),
            layers=(describe(b"signature", "application/x"),),
            subject=found,
        )
    )
    for data in (b"{}", b"signature", artifact.raw):
        put(store, data)
    assert sweep(store, [found, artifact.descriptor]).deleted == ()
    assert len(sweep(store, [artifact.descriptor]).deleted) == 3


@pytest.mark.parametrize("damage", [b"", b"{}", b"not json"])
def test_damaged_document_stops_everything(tmp_path, damage):
    """When a manifest cannot be read, nothing is removed, since what it needs is not known."""
    store = LayoutBlobStore(tmp_path, durable=False)
    root = image(store, "broken", b"layer")
    put(store, b"junk")
    with open(store.local_path(root.digest), "wb") as stream:
        stream.write(damage)
    before = set(store.digests())
    with pytest.raises(ImageError, match=root.digest.hex):
        sweep(store, [root])
    assert set(store.digests()) == before


def test_blobs_that_vanish_meanwhile(tmp_path):
    """A blob that somebody else removes during the sweep is no error."""

    class Vanishing(LayoutBlobStore):
        def stat(self, digest):
            size = super().stat(digest)
            if size is not None:
                os.unlink(self.local_path(digest))
            return size

    store = Vanishing(tmp_path, durable=False)
    put(store, b"junk")
    report = sweep(store, [])
    assert (report.deleted, report.freed) == ((), 0)
