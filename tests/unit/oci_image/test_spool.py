"""What is put aside: the same bytes come back, and few of them are in memory."""

import os
import threading
import tracemalloc

import pytest

from oci_image.errors import StoreProblem
from oci_image.spool import Column, FilePages, Kept, Spool


@pytest.fixture(params=["in memory", "in a file", "without a disk", "without nameless files"])
def spool(request, tmp_path, monkeypatch):
    """Where bytes stay in memory, where they go into a file in each way, and where none can be made."""
    if request.param == "without a disk":
        (tmp_path / "file").write_text("")
        return Spool(str(tmp_path / "file" / "folder"), most=8)
    if request.param == "without nameless files":
        monkeypatch.setattr(os, "O_TMPFILE", -1)
    return Spool(str(tmp_path / "folder"), most=1 << 20 if request.param == "in memory" else 8)


def test_kept_bytes_come_back(spool):
    """Bytes of any size should come back, whole and in parts, in any order."""
    contents = [bytes([number]) * (number % 23) for number in range(200)]
    kept = [spool.keep(content) for content in contents]
    for place, content in reversed(list(zip(kept, contents, strict=True))):
        assert place.read() == content
        assert place.part(1, max(0, len(content) - 2)).read() == content[1:-1]


def test_no_file_is_left(spool, tmp_path):
    """The file should have no name, so that nothing is left however the process ends."""
    for number in range(100):
        spool.keep(b"%d" % number)
    assert [name for _, _, names in os.walk(tmp_path) for name in names if name != "file"] == []


def test_memory_is_bounded(tmp_path):
    """However much is kept, only so much of it should be in memory."""
    spool, block = Spool(str(tmp_path), most=1 << 16), bytes(1 << 10)
    tracemalloc.start()
    try:
        kept = [spool.keep(block) for _ in range(4096)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < (1 << 20)
    assert len(kept) == 4096


def test_several_threads_may_use_one(tmp_path):
    """Each should get its own bytes."""
    spool, wrong = Spool(str(tmp_path), most=64), []

    def work(number):
        own = [(spool.keep(b"%d-%d" % (number, i)), b"%d-%d" % (number, i)) for i in range(500)]
        wrong.extend(expected for kept, expected in own if kept.read() != expected)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_is_gone_is_an_error(tmp_path):
    """Bytes that a file does not have any more should not be taken for others."""
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    kept = Kept(FilePages(os.open(path, os.O_RDONLY)), 2, 3)
    assert kept.read() == b"345"
    os.truncate(path, 4)
    with pytest.raises(StoreProblem, match="not there any more"):
        kept.read()


def test_a_column_is_what_was_appended(spool):
    """Blocks should hold all bytes in order."""
    column = Column(spool, block=16)
    parts = [bytes([number]) * (number % 7) for number in range(100)]
    for part in parts:
        column.append(part)
    assert b"".join(column.blocks()) == b"".join(parts)
    assert column.size == len(b"".join(parts))
