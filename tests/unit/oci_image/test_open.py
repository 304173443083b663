"""Opening stores by their location."""

from __future__ import annotations

import os

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.store.base import local_path
from oci_image.store.open import MEMORY, open_store

NAME = "docker.io/library/app:1"


def test_directory(tmp_path, monkeypatch):
    """A path is an image layout, which appears at the first write, wherever the process goes meanwhile."""
    monkeypatch.chdir(tmp_path)
    store = open_store("store", durable=False)
    assert list(store.blobs.digests()) == []
    assert store.tags.get(NAME) is None
    assert os.listdir(tmp_path) == []
    monkeypatch.chdir("/")
    with store.blobs.writer() as writer:
        digest = writer.commit()
    with store.notes as notes:
        notes.remember_source(digest, "r/a")
    assert store.location == str(tmp_path / "store")
    assert local_path(store.blobs, digest) == str(tmp_path / "store/blobs/sha256" / digest.hex)
    assert sorted(os.listdir(tmp_path / "store")) == ["blobs", "index.json", "oci-layout", "pybuild"]


def test_memory():
    """Stores in memory are empty, and no two are the same."""
    one, two = open_store(MEMORY, durable=True), open_store(MEMORY, durable=True)
    found = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=Digest.of(b""), size=0)
    one.tags.set(NAME, found)
    with one.blobs.writer() as writer:
        writer.commit()
    with one.notes as first, two.notes as second:
        first.remember_source(found.digest, "r/a")
        assert second.sources(found.digest) == ()
    assert two.tags.get(NAME) is None
    assert two.blobs.stat(found.digest) is None
    assert local_path(one.blobs, found.digest) is None


def test_second_process_sees_the_same(tmp_path):
    """Two openings of one directory are one store."""
    one, two = (open_store(str(tmp_path), durable=durable) for durable in (True, False))
    with one.blobs.writer() as writer:
        writer.write(b"abc")
        digest = writer.commit()
    found = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=digest, size=3)
    two.tags.set(NAME, found)
    assert two.blobs.stat(digest) == 3
    assert one.tags.get(NAME) == found
