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
