"""Leases: what a running build keeps from being cleaned up."""

import multiprocessing
import os
import time

from builder import cleanup
from builder.accounting import account
from builder.caching.cache import SqliteCacheIndex
from builder.leases import Lease, LeasingIndex, collecting, living
from tests.unit.builder.images.test_local_images import cache


def names(layer):
    """A layer as a lease has it."""
    return {layer.diff_id.hex, layer.descriptor.digest.hex}


def test_what_a_living_build_looked_up_stays(images):
    """A record that was handed out survives --all until the build is over, with its layer and its keys."""
    kept, gone = images.add(None, {"a": b"1"}), images.add(None, {"b": b"2"})
    cache(images, kept.layers[0], gone.layers[0])
    state = images.store.state
    lease = Lease(state)
    index = LeasingIndex(SqliteCacheIndex(os.path.join(state, "cache.db")), lease)
    key = next(key for key, record, _ in index.items() if record.layers == kept.layers)
    assert index.lookup(key).layers == kept.layers
    assert living(state) == [names(kept.layers[0])]
    assert [one.in_use for one in account(images.store).of("regular")].count(True) == 1

    later = time.time() + 10
    cleanup.prune(images.store, everything=True, cutoff=later)
    left = set(images.store.blobs.digests())
    assert kept.layers[0].diff_id in left
    assert {one.description for one in account(images.store).of("regular")} == {""}
    lease.close()
    index.close()
    assert living(state) == []
    cleanup.prune(images.store, everything=True, cutoff=later)
    assert not set(images.store.blobs.digests())


def _hold(state, layers, ready, end):
    lease = Lease(state)
    lease.add(layers)
    ready.set()
    end.wait()
    os._exit(1)  # as if killed: nothing is given back


def test_a_dead_build_holds_nothing(images):
    """The lease of a process that died is no lease, and is removed."""
    layers = images.add(None).layers
    context = multiprocessing.get_context("spawn")
    ready, end = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(images.store.state, layers, ready, end))
    process.start()
    assert ready.wait(30)
    with collecting(images.store.state) as leases:
        assert leases == [names(layers[0])]
    end.set()
    process.join()
    assert living(images.store.state) == []
    assert os.listdir(os.path.join(images.store.state, "leases")) == []


def test_a_place_without_space_for_leases(tmp_path):
    """A build goes on without; cleaning up needs the same place."""
    (tmp_path / "leases").write_text("no directory")
    lease = Lease(str(tmp_path))
    lease.add(())
    lease.close()
