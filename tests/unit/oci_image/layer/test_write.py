"""The layer writer."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile

import pytest

from oci_image.errors import ImageError
from oci_image.layer.entry import Entry, Kind
from oci_image.layer.write import BUFFER, LayerWriter

LONG = "directory/" * 30 + "file"
MANY = (
    (Entry("", Kind.DIRECTORY, 0o755), None),
    (Entry("etc", Kind.DIRECTORY, 0o1777, 1, 2, 3), None),
    (Entry("etc/passwd", Kind.FILE, 0o4755, 1000, 1001, 1_700_000_000, 5), b"root\n"),
    (Entry("etc/empty", Kind.FILE, 0o600), b""),
    (Entry("etc/link", Kind.SYMLINK, 0o777, link="../other"), None),
    (Entry("etc/hard", Kind.HARDLINK, 0o4755, 1000, 1001, 1_700_000_000, link="etc/passwd"), None),
    (Entry("dev/sda1", Kind.BLOCK, 0o660, major=8, minor=1), None),
    (Entry("dev/null", Kind.CHARACTER, 0o666, major=1, minor=3), None),
    (Entry("run/fifo", Kind.FIFO, 0o622), None),
    (Entry("a" * 90 + "/" + "b" * 90, Kind.FILE, 0o644, size=1), b"x"),
    (Entry(LONG, Kind.FILE, 0o644, size=1), b"x"),
    (Entry("long", Kind.SYMLINK, 0o777, link="t" * 200), None),
    (Entry("grüße/日本", Kind.FILE, 0o644, 3_000_000, 4_000_000, 5, 2), b"hi"),
)


def tar_of(*members):
    out = io.BytesIO()
    writer = LayerWriter(out.write)
    for entry, content in members:
        writer.add(entry, content)
    assert writer.finish() == len(out.getvalue())
    return out.getvalue()


def test_the_standard_library_reads_what_was_written():
    """Names, links, modes, ids, times, sizes and contents come back from tarfile."""
    data = tar_of(*MANY)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for entry, content in MANY:
            info = archive.next()
            assert info is not None
            assert info.name.removeprefix(".") == entry.path
            assert info.type == b"%d" % entry.kind
            assert (info.mode, info.uid, info.gid, info.mtime) == entry[2:6]
            assert info.linkname == entry.link
            assert (info.uname, info.gname) == ("", "")
            if entry.kind is Kind.FILE:
                assert archive.extractfile(info).read() == content
        assert archive.next() is None


def test_gnu_tar_lists_what_was_written(tmp_path):
    """GNU tar finds every member and nothing to complain about."""
    (tmp_path / "layer.tar").write_bytes(tar_of(*MANY))
    done = subprocess.run(
        ["tar", "-tf", "layer.tar", "--quoting-style=literal"], cwd=tmp_path, capture_output=True, check=True
    )
    names = done.stdout.decode().splitlines()
    assert done.stderr == b""
    assert [name.rstrip("/").removeprefix(".") for name in names] == [entry.path for entry, _ in MANY]


def test_what_fits_into_ustar_has_no_pax_header():
    """One block for the header, however the name is cut."""
    for path in ("f", "a" * 100, "a" * 100 + "/" + "b" * 100, "d" * 155 + "/" + "f" * 100):
        assert len(tar_of((Entry(path, Kind.FILE, 0o644), b""))) == 3 * 512
    assert len(tar_of((Entry("d" * 99, Kind.DIRECTORY, 0o755), None))) == 3 * 512


@pytest.mark.parametrize(
    "entry",
    [
        Entry("a" * 101, Kind.FILE, 0o644),
        Entry("d" * 156 + "/f", Kind.FILE, 0o644),
        Entry("ä", Kind.FILE, 0o644),
        Entry("\udcff", Kind.FILE, 0o644),
        Entry("l", Kind.SYMLINK, 0o777, link="t" * 101),
        Entry("l", Kind.SYMLINK, 0o777, link="ä"),
        Entry("f", Kind.FILE, 0o644, uid=1 << 21),
        Entry("f", Kind.FILE, 0o644, gid=1 << 21),
        Entry("f", Kind.FILE, 0o644, mtime=-1),
        Entry("f", Kind.FILE, 0o644, mtime=1 << 33),
        Entry("f", Kind.FILE, 0o644, xattrs=(("user.a", b""),)),
    ],
)
def test_what_does_not_fit_has_one(entry):
    """A pax header precedes the ustar header only of such entries."""
    data = tar_of((entry, b"" if entry.kind is Kind.FILE else None))
    assert data[156:157] == b"x"
    assert len(data) == 5 * 512


def test_a_pax_record_whose_length_gains_a_digit_counts_it():
    """Records around 99 and 999 bytes are where the length has to count itself."""
    for size in (*range(70, 110), *range(960, 1010)):
        xattrs = (("user.a", bytes(size)),)
        data = tar_of((Entry("f", Kind.FILE, 0o644, xattrs=xattrs), b""))
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            assert len(archive.next().pax_headers["SCHILY.xattr.user.a"]) == size


def test_the_size_of_huge_files_goes_into_a_pax_header():
    """8 GiB do not fit into eleven octal digits."""

    class Zeros:
        left = 8 << 30

        def read(self, size):
            size = min(size, self.left)
            self.left -= size
            return zeros[:size]

    zeros = bytes(BUFFER)
    head = []
    writer = LayerWriter(lambda data: head.append(data) if len(head) < 2 else None)
    writer.add(Entry("huge", Kind.FILE, 0o644, size=8 << 30), Zeros())
    assert b" size=8589934592\n" in head[0]
    assert writer.finish() == (8 << 30) + 3 * 512 + 2 * 512


def test_the_end_is_two_zero_blocks_and_finish_is_idempotent():
    """An empty layer has 1,024 bytes, no padding to 10 KiB."""
    out = io.BytesIO()
    writer = LayerWriter(out.write)
    assert writer.finish() == writer.finish() == 1024
    assert out.getvalue() == bytes(1024)


def test_equal_entries_give_equal_bytes():
    """Nothing of the clock, the user or the process gets in."""
    assert tar_of(*MANY) == tar_of(*MANY)


def test_small_members_are_joined_and_large_ones_stream(tmp_path):
    """Writes of at least one MiB for small files, of at most one MiB for large ones."""
    sizes = []
    writer = LayerWriter(lambda data: sizes.append(len(data)))
    for number in range(600):
        writer.add(Entry(f"f{number}", Kind.FILE, 0o644, size=4000), bytes(4000))
    assert sizes
    assert min(sizes) >= BUFFER
    large = tmp_path / "large"
    large.write_bytes(bytes(5 * BUFFER + 7))
    sizes.clear()
    with large.open("rb", buffering=0) as file:
        writer.add(Entry("large", Kind.FILE, 0o644, size=5 * BUFFER + 7), file.fileno())
    assert max(sizes[1:]) == BUFFER


def test_descriptors_readers_and_bytes_give_the_same(tmp_path):
    """How the content arrives makes no difference, small or large."""
    for size in (0, 1, 511, 512, 513, BUFFER, BUFFER + 1, 3 * BUFFER):
        data = os.urandom(size)
        (tmp_path / "f").write_bytes(data)
        entry = Entry("f", Kind.FILE, 0o644, size=size)
        expected = tar_of((entry, data))
        with (tmp_path / "f").open("rb") as file:
            assert tar_of((entry, file)) == expected
        descriptor = os.open(tmp_path / "f", os.O_RDONLY)
        try:
            assert tar_of((entry, descriptor)) == expected
        finally:
            os.close(descriptor)


@pytest.mark.parametrize("size", [0, 10, BUFFER, 2 * BUFFER])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path, size, change):
    """Neither a longer nor a shorter content than announced makes a layer, whatever its form."""
    if size + change < 0:
        pytest.skip("no file is that small")
    data = bytes(size + change)
    (tmp_path / "f").write_bytes(data)
    entry = Entry("some/f", Kind.FILE, 0o644, size=size)
    with (tmp_path / "f").open("rb", buffering=0) as file:
        for content in (data, file, file.fileno()):
            file.seek(0)
            with pytest.raises(ImageError, match=r"some/f: .*bytes") as problem:
                LayerWriter(lambda _: None).add(entry, content)
            assert problem.value.hint is not None


def test_content_and_kind_must_fit():
    """A directory has no content, a file of some size has one."""
    writer = LayerWriter(lambda _: None)
    with pytest.raises(ImageError, match="only a file"):
        writer.add(Entry("d", Kind.DIRECTORY, 0o755), b"")
    with pytest.raises(ImageError, match="needs content"):
        writer.add(Entry("f", Kind.FILE, 0o755, size=1))


def test_offsets_point_at_the_content():
    """`add` returns where the content starts, also behind large files and pax headers."""
    out = io.BytesIO()
    writer = LayerWriter(out.write)
    contents = [b"one", bytes(2 * BUFFER) + b"two", b"three"]
    names = ["a", "b" * 150, "ä"]
    offsets = [
        writer.add(Entry(name, Kind.FILE, 0o644, size=len(data)), data)
        for name, data in zip(names, contents, strict=True)
    ]
    writer.finish()
    for offset, data in zip(offsets, contents, strict=True):
        assert out.getvalue()[offset : offset + len(data)] == data


def test_an_index_needs_recording():
    """A writer that was told to forget says so."""
    writer = LayerWriter(lambda _: None, record=False)
    with pytest.raises(ImageError, match="without recording"):
        writer.index()
