"""What every storage guarantees about blobs."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.contract.repository_store.storing import DATA, D, push, read


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_committed_upload_is_a_blob_of_its_repository(store, algorithm):
    """It can be read at once, under the digest of the algorithm that was asked for, and nowhere else."""
    digest = push(store, "lib/a", algorithm=algorithm)
    assert store.blobs.stat("lib/a", digest) == len(DATA)
    assert read(store, "lib/a", digest) == DATA
    assert store.blobs.stat("lib/b", digest) is None
    assert store.blobs.open("lib/b", digest) is None
    assert store.blobs.stat("lib", digest) is None
    assert list(store.blobs.holders(digest)) == ["lib/a"]
    assert store.uploads.count() == 0


def test_an_empty_blob(store):
    """Nothing is content as well."""
    digest = push(store, "a", b"")
    assert store.blobs.stat("a", digest) == 0
    assert read(store, "a", digest) == b""


def test_mounting_shares_a_blob(store):
    """The source must have it; deleting it in one repository leaves the other one alone."""
    assert not store.blobs.mount("b", D, "a")
    push(store, "a")
    assert store.blobs.mount("b", D, "a")
    assert sorted(store.blobs.holders(D)) == ["a", "b"]
    assert store.blobs.delete("a", D)
    assert not store.blobs.delete("a", D)
    assert store.blobs.stat("a", D) is None
    assert read(store, "b", D) == DATA
    assert list(store.blobs.holders(D)) == ["b"]


def test_quarantined_content_is_gone_until_it_is_pushed_again(store):
    """No repository reads it, and one push repairs it for all."""
    push(store, "a")
    store.blobs.mount("b", D, "a")
    store.blobs.quarantine(D)
    store.blobs.quarantine(D)
    assert store.blobs.stat("a", D) is None
    assert store.blobs.open("b", D) is None
    assert list(store.blobs.holders(D)) == []
    push(store, "a")
    assert read(store, "a", D) == DATA


def test_racing_pushes_of_one_blob(store):
    """Everybody succeeds, and there is one blob."""
    barrier = threading.Barrier(8)

    def work(number):
        upload = store.uploads.create(f"r{number % 3}")
        upload.write([DATA])
        barrier.wait()
        upload.commit(D)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert all(read(store, f"r{number}", D) == DATA for number in range(3))
