"""Large blobs in a bucket: little memory, parts of them, and clients that are sent there."""

import re
from pathlib import Path

import aiohttp
import pytest

from oci_image.digest import Digest, Hasher
from oci_image.errors import VerificationFailed
from registry.server.config import RegistryConfig
from registry.server.listening import listening
from registry.server.store.bucket import PART
from registry.server.store.bucket_reader import ObjectReader
from tests.contract.repository_store.storing import DATA, D, push
from tests.contract.storages import place

MIB = 1024 * 1024
BLOCK = bytes(range(256)) * 4096


@pytest.fixture
def store(opened_by_kind, tmp_path):
    made = opened_by_kind("s3", tmp_path).open()
    yield made
    made.close()


def peak():
    """The most memory that this process had since the last call, in bytes."""
    text = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(re.search(r"VmHWM:\s+(\d+)", text)[1]) * 1024


def test_a_large_blob_needs_little_memory(store):
    """A push and a pull of 64 MiB have a few parts and pieces in memory."""
    hasher = Hasher("sha256")
    upload = store.uploads.create("a")
    for _ in range(64):
        upload.write([BLOCK])
        hasher.update(BLOCK)
    digest = hasher.digest()
    peak()
    before = peak()
    upload.commit(digest)
    pushed = peak() - before
    read = Hasher("sha256")
    with store.blobs.open("a", digest) as file:
        while block := file.read(MIB):
            read.update(block)
    assert read.digest() == digest
    pulled = peak() - before
    assert pushed < 5 * PART, pushed / MIB
    assert pulled < 5 * PART, pulled / MIB


def test_parts_of_a_large_blob(store):
    """Wherever reading begins, and however much is wanted, the right bytes come."""
    data = b"".join(bytes([number % 251]) * 100_000 for number in range(60))
    digest = push(store, "a", data)
    with store.blobs.open("a", digest) as file:
        assert isinstance(file, ObjectReader)
        for start, size in ((0, 10), (5_999_990, 100), (3_000_000, 2_000_000), (99_999, 2), (6_000_000, 1)):
            assert file.seek(start) == start
            assert file.read(size) == data[start : start + size]
            assert file.tell() == min(len(data), start + size)
        assert file.seek(-5, 2) == len(data) - 5
        buffer = bytearray(10)
        assert file.readinto(buffer) == 5
        assert bytes(buffer[:5]) == data[-5:]


def test_another_version_is_never_mixed_in(store):
    """Bytes of an object that was replaced while it was read do not come as if they were of the first one."""
    data = BLOCK * 8
    digest = push(store, "a", data)
    with store.blobs.open("a", digest) as file:
        head = file.read(MIB)
        assert head == BLOCK
        store._bucket.write(f"blobs/sha256/{digest.hex}", bytes(len(data)))
        file.seek(4 * MIB)
        with pytest.raises(Exception, match="not available"):
            file.read(MIB)


def test_a_file_that_changed_on_its_way_is_not_published(store):
    """What is sent is verified once more, whatever was verified before."""
    upload = store.uploads.create("a")
    upload.write([BLOCK] * 12)
    digest = Digest.of(BLOCK * 12)
    with open(upload.path, "r+b") as file:
        file.seek(5 * MIB)
        file.write(b"flip")
    with pytest.raises(VerificationFailed):
        upload.commit(digest)
    assert store.blobs.content_size(digest) is None
    assert store.uploads.find("a", upload.identifier) is None


async def test_clients_can_be_sent_to_the_bucket(store):
    """With a URL that is good for one blob and a while; off unless it is asked for."""
    push(store, "a")
    for seconds, status in ((0.0, 200), (60.0, 307)):
        config = RegistryConfig(port=0, root="s3://x", bucket_redirect=seconds, drain_seconds=0.1)
        async with listening(config, store) as url, aiohttp.ClientSession(url) as client:
            async with client.get(f"/v2/a/blobs/{D}", allow_redirects=False) as answer:
                assert answer.status == status
            async with client.get(f"/v2/a/blobs/{D}") as answer:
                assert await answer.read() == DATA
            async with client.get(f"/v2/b/blobs/{D}") as answer:
                assert answer.status == 404


async def test_a_storage_in_memory_sends_nobody_away(tmp_path):
    """Where there is no bucket, the setting has nothing to do."""
    store = place("memory", tmp_path).open()
    push(store, "a")
    config = RegistryConfig(port=0, bucket_redirect=60, drain_seconds=0.1)
    async with (
        listening(config, store) as url,
        aiohttp.ClientSession(url) as client,
        client.get(f"/v2/a/blobs/{D}", allow_redirects=False) as answer,
    ):
        assert await answer.read() == DATA
