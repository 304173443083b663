"""What every blob store guarantees, whatever it is made of."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oci_image.digest import Digest
from oci_image.errors import ImageError, InvalidDigest, NotFound, StoreProblem, VerificationFailed
from oci_image.store.base import AgedBlobStore, local_path
from oci_image.store.layout import LayoutBlobStore, LayoutTagStore

ABC = Digest.of(b"abc")


def put(store: AgedBlobStore, data: bytes, algorithm: str = "sha256") -> Digest:
    with store.writer(algorithm) as writer:
        writer.write(data)
        return writer.commit()


def content(store: AgedBlobStore, digest: Digest, offset: int = 0, length: int | None = None) -> bytes:
    with store.open(digest, offset, length) as stream:
        return stream.read()


def test_blob_comes_back(blob_store):
    """Committed bytes are found under their digest, with their size, also in the list."""
    assert put(blob_store, b"abc") == ABC
    assert blob_store.stat(ABC) == 3
    assert content(blob_store, ABC) == b"abc"
    assert list(blob_store.digests()) == [ABC]


def test_empty_blob(blob_store):
    """A blob may be empty."""
    digest = put(blob_store, b"")
    assert (blob_store.stat(digest), content(blob_store, digest)) == (0, b"")


def test_sha512_blob(blob_store):
    """The writer's algorithm names the blob, and the list contains blobs of all algorithms."""
    digest = put(blob_store, b"abc", "sha512")
    assert digest == Digest.of(b"abc", "sha512")
    put(blob_store, b"abc")
    assert set(blob_store.digests()) == {digest, ABC}


def test_unknown_algorithm_is_refused(blob_store):
    """A writer for a digest that nobody can check is refused."""
    with pytest.raises((InvalidDigest, ValueError)):
        blob_store.writer("md4711")


def test_absent_blob(blob_store):
    """What is not there is None, False or NotFound, never another error, also before the store exists."""
    assert blob_store.stat(ABC) is None
    assert blob_store.delete(ABC) is False
    assert blob_store.modified(ABC) is None
    assert blob_store.touch(ABC) is False
    assert local_path(blob_store, ABC) is None
    assert list(blob_store.digests()) == []
    with pytest.raises(NotFound, match=ABC.hex):
        blob_store.open(ABC)


def test_deleted_blob_is_gone_but_readers_keep_it(blob_store):
    """Deleting takes the blob away from new readers, not from one that is reading."""
    put(blob_store, b"abc")
    with blob_store.open(ABC) as stream:
        assert blob_store.delete(ABC) is True
        assert stream.read() == b"abc"
    assert blob_store.stat(ABC) is None
    assert blob_store.delete(ABC) is False


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


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (3, 4, b"3456"),
        (0, 0, b""),
        (8, 100, b"89"),
        (10, None, b""),
        (11, 5, b""),
        (2**40, 1, b""),
    ],
)
def test_parts(blob_store, offset, length, expected):
    """A part is what slicing would give, cut at the end of the blob."""
    digest = put(blob_store, b"0123456789")
    assert content(blob_store, digest, offset, length) == expected


def test_part_can_be_read_in_pieces(blob_store):
    """A part ends where it should also when it is read little by little."""
    digest = put(blob_store, bytes(range(256)) * 1000)
    with blob_store.open(digest, 1000, 70_000) as stream:
        pieces = list(iter(lambda: stream.read(999), b""))
    assert b"".join(pieces) == (bytes(range(256)) * 1000)[1000:71_000]


@pytest.mark.parametrize(("offset", "length"), [(-1, None), (0, -1)])
def test_negative_parts_are_refused(blob_store, offset, length):
    """A negative offset or length is the caller's mistake."""
    put(blob_store, b"abc")
    with pytest.raises(ValueError, match="negative"):
        blob_store.open(ABC, offset, length)


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
