"""What every storage guarantees about uploads."""

import pytest

from oci_image.digest import Digest
from oci_image.errors import VerificationFailed
from tests.contract.repository_store.storing import DATA, D, read


def test_the_algorithm_may_change_at_the_end(store):
    """An upload that was opened for one algorithm can be committed with another one."""
    upload = store.uploads.create("a", "sha256")
    upload.write([b"some ", b"bytes"])
    upload.commit(Digest.of(DATA, "sha512"))
    assert store.blobs.stat("a", Digest.of(DATA, "sha512")) == len(DATA)


def test_wrong_bytes_are_never_published(store):
    """A wrong digest ends the upload and leaves nothing."""
    upload = store.uploads.create("a")
    upload.write([b"other"])
    with pytest.raises(VerificationFailed):
        upload.commit(D)
    assert store.blobs.stat("a", D) is None
    assert store.uploads.find("a", upload.identifier) is None


def test_an_upload_is_found_in_its_repository_only(store):
    """The name of an upload means nothing elsewhere (G15), and nothing once it ended (G30)."""
    upload = store.uploads.create("a")
    upload.write([b"12"])
    assert store.uploads.find("a", upload.identifier).size == 2
    assert store.uploads.find("b", upload.identifier) is None
    assert store.uploads.find("a", "../../x") is None
    upload.discard()
    upload.discard()
    assert store.uploads.find("a", upload.identifier) is None


def test_truncated_bytes_are_forgotten(store):
    """What follows continues at the new end."""
    upload = store.uploads.create("a")
    upload.write([b"some junk"])
    upload.truncate(5)
    assert upload.size == 5
    upload.pause()
    upload.write([b"bytes"])
    upload.commit(D)
    assert read(store, "a", D) == DATA


def test_many_parts_are_written_in_order(store):
    """A batch may have more parts than the kernel takes at once."""
    parts = [bytes([number % 256]) * 3 for number in range(3000)]
    upload = store.uploads.create("a")
    upload.write(parts)
    upload.commit(Digest.of(b"".join(parts)))
    assert read(store, "a", Digest.of(b"".join(parts))) == b"".join(parts)


def test_idle_uploads_expire(store, clock):
    """Only those that nobody used for the time are discarded."""
    old = store.uploads.create("a")
    clock.now += 100
    young = store.uploads.create("a")
    assert store.uploads.expire(50) == 1
    assert store.uploads.find("a", old.identifier) is None
    assert store.uploads.find("a", young.identifier) is young
    clock.now += 40
    young.write([b"x"])
    young.pause()
    clock.now += 40
    assert store.uploads.expire(50) == 0


def test_preparing_publishes_nothing(store):
    """It does the long part of a commit, may be done for nothing, and holds for the bytes that were there."""
    upload = store.uploads.create("a")
    upload.write([DATA])
    upload.prepare(D)
    assert store.blobs.stat("a", D) is None
    assert list(store.blobs.holders(D)) == []
    upload.write([b" and more"])
    longer = Digest.of(DATA + b" and more")
    with pytest.raises(VerificationFailed):
        upload.commit(D)
    again = store.uploads.create("a")
    again.write([DATA, b" and more"])
    again.prepare(longer)
    again.commit(longer)
    assert read(store, "a", longer) == DATA + b" and more"
    assert store.blobs.stat("a", D) is None


def test_an_upload_without_bytes_goes_on_until_it_ends(store):
    """Found in its repository only; discarded for good, or the empty blob."""
    upload = store.uploads.create("a")
    upload.pause()
    assert store.uploads.count() == 1
    assert store.uploads.find("a", upload.identifier).size == 0
    assert store.uploads.find("b", upload.identifier) is None
    upload.write([])
    upload.write([b""])
    upload.truncate(0)
    upload.discard()
    upload.discard()
    assert store.uploads.find("a", upload.identifier) is None
    assert store.uploads.count() == 0
    store.uploads.create("a").commit(Digest.of(b""))
    assert read(store, "a", Digest.of(b"")) == b""
    assert store.uploads.count() == 0


def test_uploads_without_bytes_expire(store, clock):
    """As those with bytes do."""
    old = store.uploads.create("a")
    clock.now += 10
    young = store.uploads.create("a")
    assert store.uploads.expire(5) == 1
    assert store.uploads.find("a", old.identifier) is None
    assert store.uploads.find("a", young.identifier).identifier == young.identifier
