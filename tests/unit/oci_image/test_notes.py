"""Notes about blobs."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading

import pytest

from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.errors import StoreProblem
from oci_image.store.lock import file_lock
from oci_image.store.notes import AS_PULLED, Notes

PLAIN = Digest.of(b"plain")


def variant(text: str, media_type: str = mediatypes.OCI_LAYER_GZIP) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(text.encode()), size=len(text))


@pytest.fixture(params=["file", "memory"])
def notes(request, tmp_path):
    with Notes(tmp_path / "state/notes.db" if request.param == "file" else ":memory:") as opened:
        yield opened


def test_nothing_is_known_at_first(notes):
    """Every question has an answer that says no."""
    assert notes.variant(PLAIN, "e") is None
    assert notes.variants(PLAIN) == ()
    assert notes.diff_id_of(PLAIN) is None
    assert notes.sources(PLAIN) == ()
    assert notes.last_used(PLAIN) is None


def test_variants(notes):
    """A compressed form is found by its encoder, and the layer by the compressed digest."""
    gzip, zstd = variant("gzip"), variant("zstd", mediatypes.OCI_LAYER_ZSTD)
    notes.remember_variant(PLAIN, "zlib-ng/1", gzip)
    notes.remember_variant(PLAIN, "zstandard/1", zstd)
    assert notes.variant(PLAIN, "zlib-ng/1") == gzip
    assert notes.variant(PLAIN, "zlib-ng/2") is None
    assert notes.variants(PLAIN) == (gzip, zstd)
    assert notes.diff_id_of(zstd.digest) == PLAIN
    assert notes.diff_id_of(PLAIN) is None


def test_variant_of_an_encoder_is_replaced(notes):
    """An encoder has one form of a layer; others may have compressed it in many ways."""
    for text in ("one", "two"):
        notes.remember_variant(PLAIN, "e", variant(text))
        notes.remember_variant(PLAIN, AS_PULLED, variant("pulled " + text))
    assert notes.variant(PLAIN, "e") == variant("two")
    assert set(notes.variants(PLAIN)) == {variant("two"), variant("pulled one"), variant("pulled two")}


def test_descriptor_is_kept_whole(notes):
    """Annotations and urls of a variant survive."""
    full = Descriptor(
        media_type="a/b", digest=PLAIN, size=3, annotations={"ä": "b"}, urls=("https://example.com",)
    )
    notes.remember_variant(PLAIN, "e", full)
    assert notes.variant(PLAIN, "e") == full


def test_sources(notes):
    """The repositories that hold a blob, the last noted first, each once."""
    for location in ("docker.io/library/a", "localhost:5000/b", "docker.io/library/a"):
        notes.remember_source(PLAIN, location)
    assert notes.sources(PLAIN) == ("docker.io/library/a", "localhost:5000/b")
    notes.forget_source(PLAIN, "docker.io/library/a")
    notes.forget_source(PLAIN, "never noted")
    assert notes.sources(PLAIN) == ("localhost:5000/b",)


def test_last_used(notes):
    """Stamps only grow, and go with the blob."""
    other = Digest.of(b"other")
    notes.mark_used([PLAIN, other], 100)
    notes.mark_used([PLAIN], 50)
    notes.mark_used([other], 200)
    assert (notes.last_used(PLAIN), notes.last_used(other)) == (100, 200)
    notes.forget_used([PLAIN])
    assert (notes.last_used(PLAIN), notes.last_used(other)) == (None, 200)


def test_notes_last(tmp_path):
    """What was noted is there for the next process, and after a close."""
    path = tmp_path / "notes.db"
    with Notes(path) as notes:
        notes.remember_source(PLAIN, "r/a")
        notes.close()
        assert notes.sources(PLAIN) == ("r/a",)
    with Notes(path) as notes:
        assert notes.sources(PLAIN) == ("r/a",)


def test_file_is_opened_at_first_use(tmp_path):
    """Making notes touches nothing."""
    notes = Notes(tmp_path / "deep/notes.db")
    assert not (tmp_path / "deep").exists()
    notes.mark_used([PLAIN], 1)
    assert (tmp_path / "deep/notes.db").exists()
    notes.close()


@pytest.mark.parametrize("damage", ["garbage", "header", "page", "version", "table", "empty"])
def test_damaged_file_is_begun_anew(tmp_path, damage):
    """A damaged file is moved aside; the next question is answered and the next note kept."""
    path = tmp_path / "notes.db"
    with Notes(path) as notes:
        for number in range(300):
            notes.remember_source(Digest.of(b"%d" % number), "registry.example.org/a/repository")
    raw = bytearray(path.read_bytes())
    if damage == "garbage":
        path.write_bytes(b"this is no database" * 1000)
    elif damage == "header":
        path.write_bytes(b"\0" * 100 + raw[100:])
    elif damage == "page":
        path.write_bytes(raw[:4096] + os.urandom(len(raw) - 4096))
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 99" if damage == "version" else "DROP TABLE sources")
        connection.commit()
        connection.close()
    with Notes(path) as notes:
        notes.remember_source(PLAIN, "r/a")
        assert notes.sources(PLAIN) == ("r/a",)
    assert (tmp_path / "notes.db.damaged").exists() == (damage != "empty")


def test_damage_while_open(tmp_path):
    """Damage that shows only later is survived as well."""
    path = tmp_path / "notes.db"
    with Notes(path) as notes:
        for number in range(300):
            notes.remember_source(Digest.of(b"%d" % number), "registry.example.org/a/repository")
        notes.close()
        raw = path.read_bytes()
        assert notes.last_used(PLAIN) is None
        path.write_bytes(raw[:4096] + os.urandom(len(raw) - 4096))
        for number in range(300):
            notes.sources(Digest.of(b"%d" % number))
        notes.remember_source(PLAIN, "r/a")
        assert notes.sources(PLAIN) == ("r/a",)


def test_unreadable_rows_are_not_there(tmp_path):
    """A row that makes no sense is as good as none."""
    path = tmp_path / "notes.db"
    with Notes(path) as notes:
        notes.remember_variant(PLAIN, "e", variant("x"))
    connection = sqlite3.connect(path)
    connection.execute("UPDATE variants SET descriptor = '{', diff_id = diff_id")
    connection.execute("INSERT INTO variants VALUES ('strange', 'e', ?, '{}')", (str(PLAIN),))
    connection.commit()
    connection.close()
    with Notes(path) as notes:
        assert notes.variant(PLAIN, "e") is None
        assert notes.variants(PLAIN) == ()
        assert notes.diff_id_of(PLAIN) is None


def test_place_that_cannot_be_used_is_told(tmp_path):
    """Where no file can be, the place is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreProblem, match="file/notes"):
        Notes(tmp_path / "file/notes.db").sources(PLAIN)
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(StoreProblem, match=r"folder\.db"):
        Notes(tmp_path / "folder.db").sources(PLAIN)


def test_threads_share_notes(notes):
    """Several threads may note things at once."""

    def work(number: int) -> None:
        for step in range(20):
            notes.remember_source(PLAIN, f"r/{number}-{step}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(notes.sources(PLAIN)) == 80


def test_processes_share_notes(tmp_path):
    """Several processes may begin the file and note things at once; nothing is lost."""
    program = """
import sys
from oci_image.digest import Digest
from oci_image.store.notes import Notes
sys.stdin.readline()
with Notes(sys.argv[1]) as notes:
    for step in range(40):
        notes.remember_source(Digest.of(b"plain"), f"r/{sys.argv[2]}-{step}")
"""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", program, tmp_path / "notes.db", str(number)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    assert [worker.communicate()[1] for worker in workers] == [""] * 4
    with Notes(tmp_path / "notes.db") as notes:
        assert len(notes.sources(PLAIN)) == 160


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_forked_child_opens_its_own(tmp_path):
    """A child process neither uses nor closes its parent's connection."""
    with Notes(tmp_path / "notes.db") as notes:
        notes.remember_source(PLAIN, "r/parent")
        child = os.fork()
        if child == 0:
            notes.remember_source(PLAIN, "r/child")
            os._exit(0 if len(notes.sources(PLAIN)) == 2 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert set(notes.sources(PLAIN)) == {"r/parent", "r/child"}


def test_lock_excludes_threads_and_ends_with_its_block(tmp_path):
    """A lock is held by one at a time, also among threads, and given back after an error."""
    path = str(tmp_path / "deep/lock")
    inside = 0
    worst = 0

    def work() -> None:
        nonlocal inside, worst
        for _ in range(50):
            with file_lock(path):
                inside += 1
                worst = max(worst, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worst == 1

    def fail() -> None:
        with file_lock(path):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with file_lock(path, shared=True), file_lock(path, shared=True):
        pass


def test_lock_of_a_killed_process_is_free(tmp_path):
    """A lock does not outlive its holder."""
    program = (
        "import sys, time\n"
        "from oci_image.store.lock import file_lock\n"
        "with file_lock(sys.argv[1]):\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    path = str(tmp_path / "lock")
    with subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    with file_lock(path):
        pass
