"""What every storage that outlives its process guarantees about the next one."""

import os

import pytest

from oci_image.digest import Digest
from tests.contract.repository_store.storing import DATA, D, manifest, push, read


@pytest.fixture(params=["filesystem", "bucket", "s3"])
def place(request, opened_by_kind, tmp_path):
    return opened_by_kind(request.param, tmp_path)


def test_everything_survives_a_restart(place):
    """Blobs, manifests, tags and uploads are found again by the next process (kill and resume)."""
    first = place.open()
    push(first, "lib/a")
    made = manifest(b"{}", D)
    first.manifests.put("lib/a", made, ["1"])
    upload = first.uploads.create("lib/a", "sha512")
    upload.write([b"some "])
    os.close(first._lock_descriptor)  # as a killed process would

    second = place.open()
    assert read(second, "lib/a", D) == DATA
    assert second.manifests.get("lib/a", made.digest) == made
    assert second.tags.get("lib/a", "1") == made.digest
    assert list(second.tags.repositories()) == ["lib/a"]
    assert list(second.manifests.referrers("lib/a", D)) == [made]
    resumed = second.uploads.find("lib/a", upload.identifier)
    assert resumed.size == 5
    resumed.write([b"bytes"])
    resumed.commit(Digest.of(DATA, "sha512"))
    assert read(second, "lib/a", Digest.of(DATA, "sha512")) == DATA
    second.close()


def test_uploads_without_bytes_survive_a_kill(place, tmp_path):
    """Though they have no file of their own; what ended, or has bytes, is not found twice."""
    before = sum(len(files) for _, _, files in os.walk(tmp_path))
    first = place.open()
    base = sum(len(files) for _, _, files in os.walk(tmp_path))
    uploads = [first.uploads.create("lib/a", "sha512") for _ in range(300)]
    assert sum(len(files) for _, _, files in os.walk(tmp_path)) == base > before
    uploads[0].discard()
    uploads[1].write([b"some "])
    uploads[2].commit(Digest.of(b"", "sha512"))
    os.close(first._lock_descriptor)  # as a killed process would

    second = place.open()
    assert second.uploads.count() == 298
    sizes = {}
    for upload in uploads:
        found = second.uploads.find("lib/a", upload.identifier)
        sizes[upload.identifier] = None if found is None else found.size
    assert [sizes[upload.identifier] for upload in uploads[:3]] == [None, 5, None]
    assert {sizes[upload.identifier] for upload in uploads[3:]} == {0}
    resumed = second.uploads.find("lib/a", uploads[-1].identifier)
    resumed.write([DATA])
    resumed.commit(Digest.of(DATA, "sha512"))
    assert read(second, "lib/a", Digest.of(DATA, "sha512")) == DATA
    made = {second.uploads.create("lib/b").identifier for _ in range(5)}
    assert not made & set(sizes)
    second.close()


def test_a_crash_between_the_file_and_its_record(tmp_path, opened_by_kind):
    """The file is the upload; it counts once, and the record is free again."""
    place = opened_by_kind("filesystem", tmp_path)
    first = place.open()
    upload = first.uploads.create("a")
    os.mkdir(tmp_path / "root" / "uploads" / "a")
    (tmp_path / "root" / "uploads" / "a" / f"{upload.identifier}.sha256").write_bytes(b"12")
    first.close()
    second = place.open()
    assert second.uploads.count() == 1
    assert second.uploads.find("a", upload.identifier).size == 2
    assert second.uploads.beginnings.all() == []
    second.close()
