"""What every blob store guarantees about what nobody used for long."""

from __future__ import annotations

import os
import threading
import time

import pytest

from oci_image.store.layout import LayoutBlobStore
from tests.contract.image_store.blobs import ABC, put


def test_touch_makes_young(blob_store):
    """A blob that is touched or committed again is as young as a new one."""
    put(blob_store, b"abc")
    first = blob_store.modified(ABC)
    assert first is not None
    assert abs(first - time.time()) < 60
    time.sleep(0.02)
    assert blob_store.touch(ABC) is True
    second = blob_store.modified(ABC)
    assert second > first
    time.sleep(0.02)
    put(blob_store, b"abc")
    assert blob_store.modified(ABC) > second


def test_expire_spares_the_young(blob_store):
    """Only what is not younger than the cutoff is removed."""
    put(blob_store, b"abc")
    modified = blob_store.modified(ABC)
    assert blob_store.expire(ABC, modified - 1) is False
    assert blob_store.stat(ABC) == 3
    assert blob_store.expire(ABC, modified) is True
    assert blob_store.expire(ABC, modified) is False
    assert blob_store.stat(ABC) is None


def test_expiry_never_takes_what_is_committed_or_touched(blob_store):
    """A blob that was stored again, or touched successfully, after the cutoff is there, whoever sweeps."""
    for number in range(6):
        put(blob_store, b"abc")
        time.sleep(0.06)  # the filesystem's clock ticks slowly
        cutoff = time.time() - 0.03
        start = threading.Barrier(3)

        def sweep(start=start, cutoff=cutoff) -> None:
            start.wait()
            for _ in range(20):
                blob_store.expire(ABC, cutoff)

        sweepers = [threading.Thread(target=sweep) for _ in range(2)]
        for sweeper in sweepers:
            sweeper.start()
        start.wait()
        if number % 2 or not blob_store.touch(ABC):
            put(blob_store, b"abc")
        for sweeper in sweepers:
            sweeper.join()
        assert blob_store.stat(ABC) == 3


@pytest.mark.parametrize("use", ["commit", "touch"])
def test_use_between_decision_and_removal(tmp_path, use):
    """A blob that is used after it was found to be old, and before it is removed, is there for its user."""
    user = LayoutBlobStore(tmp_path, durable=False)
    done: list[bool] = []

    def work() -> None:
        done.append(user.touch(ABC) if use == "touch" else put(user, b"abc") == ABC)

    threads = []

    class Slow(LayoutBlobStore):
        def modified(self, digest):
            found = super().modified(digest)
            threads.append(threading.Thread(target=work))
            threads[0].start()
            threads[0].join(0.2)
            return found

    put(user, b"abc")
    os.utime(user.local_path(ABC), (1_000_000, 1_000_000))
    Slow(tmp_path, durable=False).expire(ABC, 2_000_000)
    threads[0].join()
    assert done == [user.stat(ABC) == 3]
