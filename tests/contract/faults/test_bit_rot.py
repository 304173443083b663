"""Bits that flip in stored blobs: none of them is delivered, all are found and repaired (gate 13)."""

import http.client
import os
import random

import pytest

from oci_image.digest import Digest
from registry.server.config import RegistryConfig
from registry.server.embedded import Registry
from registry.server.housekeeping.scrub import Scrubber
from registry.server.store.filesystem import FilesystemStore
from registry.testing import make_registry
from tests.contract.faults.serving import push, send

SIZES = [1, 100, 4096, 200_000, 262_144, 262_145, 300_000, 1_100_000]


def flip(root, digest, chance):
    path = f"{root}/blobs/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}"
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        where = chance.randrange(os.path.getsize(path))
        file.seek(where)
        byte = file.read(1)[0]
        file.seek(where)
        file.write(bytes([byte ^ (1 << chance.randrange(8))]))


def delivered(url, digest, headers=None):
    """The body that arrives as a success; None for anything else."""
    try:
        status, _, body = send("GET", f"{url}/v2/a/blobs/{digest}", None, headers)
    except (http.client.IncompleteRead, ConnectionError):
        return None
    return body if status in (200, 206) else None


@pytest.mark.parametrize("count", [40, pytest.param(100, marks=pytest.mark.long)])
def test_flipped_bits_are_not_delivered(tmp_path, count, figure):
    """Whole or in part, of whatever size; then the blob is not there, and a push repairs it."""
    root = str(tmp_path / "root")
    chance = random.Random(count)
    blobs = [chance.randbytes(SIZES[number % len(SIZES)] + number) for number in range(count)]
    corrupt = repaired = 0
    with Registry(RegistryConfig(port=0, root=root, drain_seconds=0.5)) as url:
        for data in blobs:
            assert push(url, "a", data) == 201
        for number, data in enumerate(blobs):
            digest = Digest.of(data)
            flip(root, digest, chance)
            part = {"Range": "bytes=0-"} if number % 3 == 0 else None
            corrupt += delivered(url, digest, part) is not None
            assert send("HEAD", f"{url}/v2/a/blobs/{digest}")[0] == 404
            assert push(url, "a", data) == 201
            repaired += delivered(url, digest) == data
    assert (corrupt, repaired) == (0, count)
    store = FilesystemStore(root)
    for data in blobs:
        flip(root, Digest.of(data), chance)
    report = Scrubber(store).scrub()
    assert set(report.damaged) == {Digest.of(data) for data in blobs}
    store.close()
    figure(13, f"{count} blobs: 0 delivered damaged, {repaired} repaired by a push, {count} found by a scrub")


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
def test_bits_that_flip_after_a_blob_was_pulled(tmp_path, monkeypatch, encrypted):
    """Also where the digest is not computed again, because the blob was sealed when it was sent before."""
    chance = random.Random(7)
    blobs = [chance.randbytes(size) for size in (262_145, 524_288, 1_100_000, 5_000_001)]
    registry = make_registry(
        str(tmp_path), tls=encrypted, root=str(tmp_path / "root"), verify_window=0.0, drain_seconds=0.5
    )
    if encrypted:
        monkeypatch.setenv("SSL_CERT_FILE", registry.certificate)
    with registry as url:
        for data in blobs:
            assert push(url, "a", data) == 201
        for number, data in enumerate(blobs):
            digest = Digest.of(data)
            for _ in range(3):
                assert delivered(url, digest) == data
            assert delivered(url, digest, {"Range": "bytes=10-300000"}) == data[10:300_001]
            flip(str(tmp_path / "root"), digest, chance)
            assert delivered(url, digest, {"Range": "bytes=0-"} if number % 2 else None) is None
            assert send("HEAD", f"{url}/v2/a/blobs/{digest}")[0] == 404
            assert push(url, "a", data) == 201
            assert delivered(url, digest) == data


def test_a_blob_that_lost_its_end(tmp_path):
    """A file that somebody cut is as damaged as one with other bytes, and no answer is complete."""
    root = str(tmp_path / "root")
    data = random.Random(8).randbytes(3_000_000)
    digest = Digest.of(data)
    with Registry(RegistryConfig(port=0, root=root, verify_window=0.0, drain_seconds=0.5)) as url:
        assert push(url, "a", data) == 201
        assert delivered(url, digest) == data
        path = f"{root}/blobs/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}"
        os.chmod(path, 0o644)
        os.truncate(path, 2_000_000)
        assert delivered(url, digest) is None
        assert send("HEAD", f"{url}/v2/a/blobs/{digest}")[0] == 404
