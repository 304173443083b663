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
