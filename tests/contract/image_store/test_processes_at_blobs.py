"""Blobs in a directory that several processes write to, or die at."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import pytest

from oci_image.digest import Digest
from oci_image.errors import ImageError, StoreProblem
from oci_image.store.layout import LayoutBlobStore, LayoutTagStore
from tests.contract.image_store.blobs import ABC, content, put

WRITER = """
import sys
from oci_image.store.layout import LayoutBlobStore
store = LayoutBlobStore(sys.argv[1], durable=False)
sys.stdin.readline()
for number in range(30):
    for shared in ("shared", sys.argv[2]):
        with store.writer() as writer:
            writer.write((shared + str(number)).encode() * 20_000)
            writer.commit()
"""


def test_many_processes_write_the_same_blobs(tmp_path, run_python):
    """Processes that make the store and write the same blobs at once leave a clean store behind."""
    workers = [run_python(WRITER, tmp_path / "store", f"own{number}") for number in range(4)]
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    assert [worker.communicate()[1] for worker in workers] == [""] * 4
    store = LayoutBlobStore(tmp_path / "store", durable=False)
    digests = list(store.digests())
    assert len(digests) == 30 * 5
    assert all(Digest.of(content(store, digest)) == digest for digest in digests)
    assert os.listdir(tmp_path / "store/pybuild/tmp") == []


HANGS = """
import os, sys, time
from oci_image.store.layout import LayoutBlobStore
writer = LayoutBlobStore(sys.argv[1], durable=True).writer()
writer.write(b"x" * 500_000)
print("written", flush=True)
time.sleep(600)
"""


def test_leftovers_of_killed_writers_are_removed(tmp_path, run_python):
    """What a killed process was writing is removed at the next start; what a living one writes is not."""
    temporary = tmp_path / "store/pybuild/tmp"
    living, dying = (run_python(HANGS, tmp_path / "store") for _ in range(2))
    try:
        assert living.stdout.readline() == dying.stdout.readline() == "written\n"
        dying.send_signal(signal.SIGKILL)
        dying.communicate()
        assert len(os.listdir(temporary)) == 2
        with LayoutBlobStore(tmp_path / "store", durable=True).writer() as writer:
            names = os.listdir(temporary)
            assert len(names) == 2
            assert sum(f"-{living.pid}-" in name for name in names) == 1
            assert sum(f"-{os.getpid()}-" in name for name in names) == 1
            writer.write(b"abc")
            writer.commit()
    finally:
        living.kill()
        living.communicate()
    assert list(LayoutBlobStore(tmp_path / "store", durable=True).digests()) == [ABC]


WORKLOAD = """
import sys
from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.store.layout import LayoutBlobStore, LayoutTagStore
blobs, tags = LayoutBlobStore(sys.argv[1], durable=True), LayoutTagStore(sys.argv[1])
number = int(sys.argv[2])
while True:
    number += 1
    data = b"%09d" % number * 20_000
    with blobs.writer() as writer:
        for start in range(0, len(data), 60_000):
            writer.write(data[start : start + 60_000])
        digest = writer.commit()
    name = f"docker.io/library/app:{number % 5}"
    tags.set(name, Descriptor(media_type=mediatypes.OCI_LAYER, digest=digest, size=len(data)))
    print(number, name, digest, flush=True)
"""


def test_killed_at_any_time(tmp_path, run_python):
    """Whenever a process is killed: what it acknowledged is there, and names lead to whole blobs."""
    chance = random.Random(5)
    root = tmp_path / "store"
    number = 0
    acknowledged: set[Digest] = set()
    names: dict[str, int] = {}
    for _ in range(12):
        worker = run_python(WORKLOAD, root, number)
        assert worker.stdout.readline()
        time.sleep(chance.random() * 0.1)
        worker.kill()
        out, err = worker.communicate()
        assert err == ""
        for line in out.splitlines(keepends=True):
            if line.endswith("\n"):
                text, name, digest = line.split()
                number = names[name] = int(text)
                acknowledged.add(Digest.parse(digest))
        blobs, tags = LayoutBlobStore(root, durable=True), dict(LayoutTagStore(root).items())
        assert set(names) <= set(tags)
        assert acknowledged <= set(blobs.digests())
        for name, found in tags.items():
            data = content(blobs, found.digest)
            assert (Digest.of(data), len(data)) == (found.digest, found.size)
            # The change that was under way may have happened too.
            assert int(data[:9]) >= names.get(name, 0)
    assert len(acknowledged) > 12
    blobs.writer().discard()
    assert os.listdir(root / "pybuild/tmp") == []
    assert all(Digest.of(content(blobs, digest)) == digest for digest in blobs.digests())


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_forked_child_does_not_remove_what_its_parent_writes(tmp_path):
    """A child that drops its copy of a writer leaves the parent's work alone."""
    store = LayoutBlobStore(tmp_path, durable=False)
    with store.writer() as writer:
        writer.write(b"abc")
        child = os.fork()
        if child == 0:
            writer.discard()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert writer.commit() == ABC
    assert store.stat(ABC) == 3


def test_stopped_half_way(tmp_path, monkeypatch):
    """A rename that fails leaves nothing and is told."""
    store = LayoutBlobStore(tmp_path, durable=True)
    writer = store.writer()
    writer.write(b"abc")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(StoreProblem, match="Permission denied") as caught:
        writer.commit()
    assert caught.value.hint
    assert list(store.digests()) == []
    assert os.listdir(tmp_path / "pybuild/tmp") == []


def test_concurrent_makers(tmp_path):
    """Threads that use a new store for the first time at once all succeed."""
    problems: list[ImageError] = []

    def work(number: int) -> None:
        try:
            put(LayoutBlobStore(tmp_path / "new", durable=True), b"%d" % number)
        except ImageError as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(list(LayoutBlobStore(tmp_path / "new", durable=True).digests())) == 8
