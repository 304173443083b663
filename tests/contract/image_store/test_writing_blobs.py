"""What every blob store guarantees to those who write."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oci_image.digest import Digest, Hasher
from oci_image.errors import ImageError, NotFound, StoreProblem, VerificationFailed
from oci_image.store.base import BlobWriter
from tests.contract.image_store.blobs import ABC, content, put


def test_invisible_until_commit(blob_store):
    """Nobody sees a blob that is being written."""
    with blob_store.writer() as writer:
        writer.write(b"a" * 300_000)
        writer.write(b"bc")
        assert writer.size == 300_002
        assert list(blob_store.digests()) == []
        digest = writer.commit()
    assert blob_store.stat(digest) == 300_002


def test_leaving_without_commit_discards(blob_store):
    """Leaving the block without commit, by an error or not, leaves nothing."""
    with blob_store.writer() as writer:
        writer.write(b"abc")

    def fail() -> None:
        with blob_store.writer() as writer:
            writer.write(b"abc")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(blob_store.digests()) == []


def test_discard_after_commit_does_nothing(blob_store):
    """A committed blob stays when its writer is discarded afterwards."""
    writer = blob_store.writer()
    writer.write(b"abc")
    writer.commit()
    writer.discard()
    writer.discard()
    assert content(blob_store, ABC) == b"abc"


def test_closed_writer_is_refused(blob_store):
    """A writer takes nothing and commits nothing after commit or discard."""
    writer = blob_store.writer()
    writer.commit()
    discarded = blob_store.writer()
    discarded.discard()
    for closed in (writer, discarded):
        with pytest.raises(StoreProblem):
            closed.write(b"x")
        with pytest.raises(StoreProblem):
            closed.commit()


def test_wrong_digest_publishes_nothing(blob_store):
    """A blob that is not what was expected is not published, under neither digest."""
    with blob_store.writer() as writer:
        writer.write(b"abx")
        with pytest.raises(VerificationFailed, match=ABC.hex):
            writer.commit(ABC)
    assert list(blob_store.digests()) == []


def test_expected_digest_of_another_algorithm(blob_store):
    """The expected digest may use another algorithm than the writer; the blob is checked and named by it."""
    wanted = Digest.of(b"abc" * 99_999, "sha512")
    with blob_store.writer("sha256") as writer:
        writer.write(b"abc" * 99_999)
        assert writer.commit(wanted) == wanted
    assert list(blob_store.digests()) == [wanted]
    with blob_store.writer("sha256") as writer:
        writer.write(b"abx")
        with pytest.raises(VerificationFailed):
            writer.commit(wanted)


def test_commit_again_is_idempotent(blob_store):
    """The same bytes again succeed and change nothing."""
    assert put(blob_store, b"abc") == put(blob_store, b"abc") == ABC
    assert content(blob_store, ABC) == b"abc"
    assert list(blob_store.digests()) == [ABC]


def test_all_kinds_of_buffers(blob_store):
    """Bytes, byte arrays and views are written alike, and a buffer may be used again at once."""
    buffer = bytearray(b"x" * 200_000)
    with blob_store.writer() as writer:
        writer.write(memoryview(buffer)[:150_000])
        buffer[:] = b"y" * len(buffer)
        writer.write(buffer)
        buffer[:] = b"z" * len(buffer)
        writer.write(memoryview(buffer)[:3])
        buffer[:] = b"?" * len(buffer)
        assert writer.commit() == Digest.of(b"x" * 150_000 + b"y" * 200_000 + b"zzz")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.integers(0, 200_000), max_size=6), seed=st.integers(0, 99))
def test_pieces_do_not_matter(blob_store, pieces, seed):
    """The digest is that of the concatenation, however it is cut."""
    data = random.Random(seed).randbytes(sum(pieces))
    position = 0
    with blob_store.writer() as writer:
        for length in pieces:
            writer.write(data[position : position + length])
            position += length
        digest = writer.commit(Digest.of(data))
    assert content(blob_store, digest) == data


def test_many_threads_write_the_same_blob(blob_store):
    """Writers of one blob do not disturb each other; readers see nothing or all of it."""
    data = random.Random(1).randbytes(700_000)
    digest = Digest.of(data)
    seen: list[bytes | Exception] = []

    def write() -> None:
        try:
            with blob_store.writer() as writer:
                for start in range(0, len(data), 50_000):
                    writer.write(data[start : start + 50_000])
                writer.commit(digest)
            seen.append(content(blob_store, digest))
        except ImageError as problem:
            seen.append(problem)

    def read() -> None:
        for _ in range(200):
            try:
                seen.append(content(blob_store, digest))
            except NotFound:
                continue

    threads = [threading.Thread(target=write) for _ in range(16)] + [threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(value == data for value in seen)
    assert list(blob_store.digests()) == [digest]


def test_no_descriptor_is_leaked(blob_store):
    """Whatever happens to writers and readers, their descriptors are closed."""
    digest = put(blob_store, b"abc" * 100_000)
    before = len(os.listdir("/proc/self/fd"))
    kept = []
    for _ in range(20):
        with blob_store.writer() as writer:
            writer.write(b"discarded")
        with blob_store.writer() as failing, pytest.raises(VerificationFailed):
            failing.commit(ABC)
        with blob_store.open(digest, 5, 10) as part, blob_store.open(digest, 5) as rest:
            part.read()
            rest.read(1)
        with pytest.raises(NotFound):
            blob_store.open(ABC)
        kept += [writer, failing, part, rest]
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
def test_large_blobs_of_memory_that_is_used_again(blob_store, monkeypatch, form):
    """Of a large blob the digest is computed beside the writing; the caller may change what it gave away."""

    def slowly(self: Hasher, data: bytes | bytearray | memoryview) -> None:
        time.sleep(0.02)
        update(self, data)

    update = Hasher.update
    monkeypatch.setattr(Hasher, "update", slowly)
    memory = bytearray(3 << 20)
    expected = hashlib.sha256()
    with blob_store.writer() as writer:
        for number in range(9):
            memory[:] = bytes([number]) * len(memory)
            expected.update(memory)
            writer.write(memory if form is bytearray else form(memory))
            memory[:] = bytes(len(memory))
            writer.write(b"small")
            expected.update(b"small")
        assert writer.size == 9 * (len(memory) + 5)
        digest = writer.commit()
    assert digest.hex == expected.hexdigest()
    assert hashlib.sha256(content(blob_store, digest)).hexdigest() == digest.hex


def test_large_blobs_that_nobody_wants(blob_store):
    """A writer that is left half-way ends its thread, and nothing is left."""
    before = threading.active_count()

    def begin(writer: BlobWriter) -> None:
        for _ in range(12):
            writer.write(bytes(1 << 20))

    for _ in range(3):
        with blob_store.writer() as writer:
            begin(writer)
    with blob_store.writer() as writer:
        begin(writer)
        with pytest.raises(VerificationFailed):
            writer.commit(ABC)
    assert threading.active_count() == before
