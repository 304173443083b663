"""What blobs in a directory promise about the disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oci_image.digest import Digest
from oci_image.errors import StoreProblem
from oci_image.store.base import local_path
from oci_image.store.layout import LayoutBlobStore
from tests.contract.image_store.blobs import ABC, content, put


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("damage", [b"", b"abcd", b"abx"])
def test_commit_repairs_a_damaged_blob(tmp_path, durable, damage):
    """Storing a blob again repairs a file that was truncated, extended or has rotted."""
    store = LayoutBlobStore(tmp_path, durable=durable)
    put(store, b"abc")
    Path(store.local_path(ABC)).write_bytes(damage)
    put(store, b"abc")
    assert content(store, ABC) == b"abc"


def test_local_path(tmp_path):
    """A layout names the file of a blob."""
    store = LayoutBlobStore(tmp_path, durable=False)
    put(store, b"abc")
    assert Path(local_path(store, ABC)).read_bytes() == b"abc"


def test_durable_commit_reaches_the_disk(tmp_path, monkeypatch):
    """Before commit returns, the file, then its name in the directory are synchronised; in this order."""
    calls: list[str] = []

    def named(descriptor: int) -> str:
        return os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), tmp_path)

    real_fsync, real_rename = os.fsync, os.rename

    def fsync(descriptor: int) -> None:
        calls.append("fsync " + named(descriptor).partition("-")[0])
        real_fsync(descriptor)

    def rename(source: str, target: str) -> None:
        calls.append("rename " + os.path.dirname(os.path.relpath(target, tmp_path)))
        real_rename(source, target)

    store = LayoutBlobStore(tmp_path, durable=True)
    put(store, b"first, which makes the directories")
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    put(store, b"abc")
    assert calls == ["fsync pybuild/tmp/blob", "rename blobs/sha256", "fsync blobs/sha256"]
    calls.clear()
    put(LayoutBlobStore(tmp_path, durable=False), b"abc")
    assert calls == ["rename blobs/sha256"]


@pytest.mark.parametrize("durable", [True, False])
def test_full_disk(tiny_disk, durable):
    """A full disk is told with place and hint; nothing half-written stays, and small blobs still fit."""
    store = LayoutBlobStore(tiny_disk / "store", durable=durable)
    put(store, b"abc")
    before = os.statvfs(tiny_disk).f_bfree
    for _ in range(3):
        writer = store.writer()
        with pytest.raises(StoreProblem, match="no space left") as caught:
            writer.write(os.urandom(2_000_000))
        assert str(tiny_disk) in caught.value.message
        assert "prune" in (caught.value.hint or "")
        with pytest.raises(StoreProblem):
            writer.commit()
    assert os.listdir(tiny_disk / "store/pybuild/tmp") == []
    assert list(store.digests()) == [ABC]
    assert os.statvfs(tiny_disk).f_bfree == before
    assert put(store, b"fits") == Digest.of(b"fits")


def test_full_disk_at_the_end(tiny_disk):
    """Bytes that were gathered and do not fit any more at commit are told in the same way."""
    store = LayoutBlobStore(tiny_disk / "store", durable=False)
    writer = store.writer()
    writer.write(b"z" * 50_000)
    free = os.statvfs(tiny_disk)
    (tiny_disk / "ballast").write_bytes(b"x" * free.f_bavail * free.f_bsize)
    with pytest.raises(StoreProblem, match="no space left"):
        writer.commit()
    assert os.listdir(tiny_disk / "store/pybuild/tmp") == []


def test_file_size_limit(tmp_path, run_python):
    """Any other refusal of the kernel is a store problem too."""
    program = """
import resource, signal, sys
from oci_image.errors import StoreProblem
from oci_image.store.layout import LayoutBlobStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = LayoutBlobStore(sys.argv[1], durable=False)
writer = store.writer()
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    writer.write(b"x" * 1_000_000)
except StoreProblem as problem:
    print(problem.message)
"""
    out, err = run_python(program, tmp_path).communicate()
    assert "File too large" in out, err
    assert os.listdir(tmp_path / "pybuild/tmp") == []


def test_store_in_a_file_is_told(tmp_path):
    """A root that cannot be a directory is a store problem that names it."""
    (tmp_path / "file").write_text("x")
    store = LayoutBlobStore(tmp_path / "file", durable=False)
    assert store.stat(ABC) is None
    with pytest.raises(StoreProblem, match="file"):
        store.writer()


def test_strange_files_are_not_listed(tmp_path):
    """Only files that are called like a digest are blobs."""
    store = LayoutBlobStore(tmp_path, durable=False)
    put(store, b"abc")
    (tmp_path / "blobs/sha256/README").write_text("x")
    (tmp_path / "blobs/sha256" / ("A" * 64)).write_text("x")
    (tmp_path / "blobs/md5").mkdir()
    assert list(store.digests()) == [ABC]
