"""The bounded tar reader."""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oci_image.errors import UnsafeLayer
from oci_image.layer.entry import Entry, Kind
from oci_image.layer.read import LayerReader, Limits, is_tar
from oci_image.layer.write import LayerWriter

END = bytes(1024)


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time and cannot seek."""

    def __init__(self, data, step):
        super().__init__()
        self._data, self._step = io.BytesIO(data), step

    def read(self, size=-1):
        return self._data.read(min(size, self._step))

    def seekable(self):
        return False


def block(name=b"f", *, kind=b"0", size=0, **fields):
    """One header; fields are raw bytes in their places."""
    places = {"mode": 100, "uid": 108, "gid": 116, "size": 124, "mtime": 136, "link": 157, "magic": 257}
    places |= {"major": 329, "minor": 337, "prefix": 345}
    raw = bytearray(512)
    values = {"mode": b"0000644\0", "uid": b"0000000\0", "gid": b"0000000\0", "size": b"%011o\0" % size}
    values |= {"mtime": b"%011o\0" % 0, "magic": b"ustar\x0000"} | fields
    raw[: len(name)] = name
    for key, value in values.items():
        raw[places[key] : places[key] + len(value)] = value
    raw[156:157] = kind
    return sealed(bytes(raw))


def sealed(raw):
    raw = raw[:148] + b" " * 8 + raw[156:]
    return raw[:148] + b"%06o\0 " % sum(raw) + raw[156:]


def padded(data):
    return data + bytes(-len(data) % 512)


def pax(*records, kind=b"x"):
    body = b"".join(records)
    return block(b"pax", kind=kind, size=len(body)) + padded(body)


def record(text):
    for length in range(len(text), len(text) + 9):
        line = b"%d %b\n" % (length, text)
        if len(line) == length:
            return line
    raise AssertionError


def read(data, **limits):
    return [
        (entry, payload.read()) for entry, payload in LayerReader(io.BytesIO(data), limits=Limits(**limits))
    ]


def entries(data):
    return [entry for entry, _ in read(data)]


NAMES = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=60).filter(
    lambda name: name not in (".", "..")
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
XATTRS = st.dictionaries(
    st.text(st.characters(exclude_characters="=\0", codec="utf-8"), min_size=1, max_size=20).map(
        "user.".__add__
    ),
    st.binary(max_size=50),
    max_size=3,
).map(lambda xattrs: tuple(sorted(xattrs.items())))
IDS = st.integers(0, 0xFFFFFFFE)
TIMES = st.integers(-(1 << 40), 1 << 40)
METADATA = {"mode": st.integers(0, 0o7777), "uid": IDS, "gid": IDS, "mtime": TIMES, "xattrs": XATTRS}
TARGETS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=150)


def some(kinds, **fields):
    """Entries of the kinds; every field is given, for builds() would make up what is left out."""
    nothing = {"size": st.just(0), "link": st.just(""), "major": st.just(0), "minor": st.just(0)}
    return st.builds(Entry, path=PATHS, kind=st.sampled_from(kinds), **METADATA, **(nothing | fields))


ENTRIES = st.one_of(
    some([Kind.FILE], size=st.integers(0, 1500)),
    some([Kind.DIRECTORY, Kind.FIFO]),
    some([Kind.SYMLINK], link=TARGETS),
    some([Kind.HARDLINK], link=PATHS),
    some([Kind.CHARACTER, Kind.BLOCK], major=st.integers(0, 0xFFF), minor=st.integers(0, 0xFFFFF)),
)


@given(st.lists(ENTRIES, max_size=6), st.integers(1, 2000))
@settings(deadline=None)
def test_what_is_written_is_read(members, step):
    """Every entry, content and offset survives the round trip, however the stream is cut up."""
    out = io.BytesIO()
    writer = LayerWriter(out.write)
    contents = [bytes(number % 251 for number in range(entry.size)) for entry in members]
    offsets = [
        writer.add(entry, data if entry.kind is Kind.FILE else None)
        for entry, data in zip(members, contents, strict=True)
    ]
    writer.finish()
    found = [
        (entry, payload.offset, payload.read())
        for entry, payload in LayerReader(Trickle(out.getvalue(), step))
    ]
    assert found == list(zip(members, offsets, contents, strict=True))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_the_standard_library_are_understood(form):
    """All three formats, with names beyond the header's field where the format has a way."""
    long = "d" * 80 + "/" + "e" * 80
    names = ["short", long] if form == tarfile.USTAR_FORMAT else ["short", long, "x" * 250, "ü"]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uid = 3, 1_600_000_000, 7
            archive.addfile(info, io.BytesIO(b"abc"))
    members = read(out.getvalue())
    assert [entry.path for entry, _ in members] == names
    assert {(entry.uid, entry.mtime, content) for entry, content in members} == {(7, 1_600_000_000, b"abc")}


@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "pax"])
def test_archives_of_gnu_tar_are_understood(tmp_path, form):
    """Each format that GNU tar writes, with links, a directory and fractional times."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_bytes(b"content")
    (tmp_path / "d/h").hardlink_to(tmp_path / "d/f")
    (tmp_path / "d/s").symlink_to("../there")
    subprocess.run(
        ["tar", f"--format={form}", "--sort=name", "-cf", "t.tar", "./d"], cwd=tmp_path, check=True
    )
    found = read((tmp_path / "t.tar").read_bytes())
    assert [(entry.path, entry.kind, entry.link, data) for entry, data in found] == [
        ("d", Kind.DIRECTORY, "", b""),
        ("d/f", Kind.FILE, "", b"content"),
        ("d/h", Kind.HARDLINK, "d/f", b""),
        ("d/s", Kind.SYMLINK, "../there", b""),
    ]
    assert found[1][0].mtime == int((tmp_path / "d/f").stat().st_mtime)


def test_gnu_base_256_numbers_are_understood():
    """Sizes, ids and times beyond octal, and times before 1970."""
    big = block(uid=struct.pack(">BxxxI", 0x80, 3_000_000_000), mtime=b"\xff" * 11 + b"\xfe")
    assert entries(big + END) == [Entry("f", Kind.FILE, 0o644, uid=3_000_000_000, mtime=-2)]


def test_numbers_may_fill_their_field():
    """Old archives have twelve digits without a terminator, or blanks around them."""
    assert entries(block(mtime=b"000000000017", mode=b"   755 \0") + END)[0][2:6] == (0o755, 0, 0, 0o17)


def test_the_prefix_is_used_only_where_posix_has_it():
    """GNU's old headers have times in its place."""
    assert entries(block(prefix=b"some/where") + END)[0].path == "some/where/f"
    assert entries(block(prefix=b"00000000000", magic=b"ustar  \0") + END)[0].path == "f"
    assert entries(block(prefix=b"some", magic=bytes(8)) + END)[0].path == "f"


def test_a_v7_name_with_a_slash_is_a_directory():
    """v7 has no type for directories; others have, and there a file stays a file."""
    assert entries(block(b"d/", kind=b"\0", magic=bytes(8)) + END)[0].kind is Kind.DIRECTORY
    assert entries(block(b"d/", kind=b"0") + END)[0].kind is Kind.FILE


def test_pax_records_overrule_the_header():
    """Name, link, size, ids and time; times are cut downwards."""
    texts = [
        b"path=n/m",
        b"size=3",
        b"uid=9999999",
        b"gid=8",
        b"mtime=-1.5",
        b"comment=x",
        b"SCHILY.xattr.user.a=\0\n=",
    ]
    data = pax(*map(record, texts)) + block(size=77) + padded(b"abc")
    assert read(data + END) == [
        (Entry("n/m", Kind.FILE, 0o644, 9999999, 8, -2, 3, xattrs=(("user.a", b"\0\n="),)), b"abc")
    ]


def test_a_pax_header_is_good_for_one_member():
    """The next one is on its own again."""
    data = pax(record(b"path=first")) + block(b"a") + block(b"b")
    assert [entry.path for entry in entries(data + END)] == ["first", "b"]


def test_a_global_pax_header_is_checked_and_not_applied():
    """`git archive` begins with one; layers mean the same as in Go's reader, which does not apply it."""
    data = pax(record(b"comment=abc"), record(b"uid=5"), kind=b"g") + block()
    assert entries(data + END) == [Entry("f", Kind.FILE, 0o644)]
    with pytest.raises(UnsafeLayer, match="malformed"):
        entries(pax(b"9 nonsense", kind=b"g") + block() + END)


def test_links_and_directories_have_no_content():
    """A size in their header does not make the next blocks content; so it is in Go's reader."""
    data = block(b"l", kind=b"2", link=b"t", size=512) + block(b"d", kind=b"5", size=512) + block(b"f")
    assert [entry.path for entry in entries(data + END)] == ["l", "d", "f"]


@pytest.mark.parametrize("end", [END, bytes(512), b"", bytes(10240)])
def test_every_form_of_the_end_is_accepted(end):
    """Two zero blocks, one at the very end, none at all, or many."""
    assert len(read(block() + end)) == 1


def test_the_rest_of_the_stream_is_read_when_finishing():
    """A verifying stream has to see the bytes behind the end of the archive too."""
    stream = io.BytesIO(block() + END + b"trailing" * 100_000)
    reader = LayerReader(stream)
    assert len(list(reader)) == 1
    reader.finish()
    assert stream.read() == b""


def test_unread_contents_are_skipped_by_seeking_or_reading(tmp_path):
    """A large member costs nothing if the stream can seek, and the next member is found anyway."""
    out = io.BytesIO()
    writer = LayerWriter(out.write)
    for name, size in (("a", 3_000_000), ("b", 10), ("c", 0)):
        writer.add(Entry(name, Kind.FILE, 0o644, size=size), bytes(size))
    writer.finish()
    for stream in (io.BytesIO(out.getvalue()), Trickle(out.getvalue(), 1 << 16)):
        assert [entry.path for entry, _ in LayerReader(stream)] == ["a", "b", "c"]

    class Counting(io.BytesIO):
        count = 0

        def read(self, size=-1):
            data = super().read(size)
            self.count += len(data)
            return data

    stream = Counting(out.getvalue())
    assert len(list(LayerReader(stream))) == 3
    assert stream.count < 300_000


def test_contents_can_be_read_in_parts():
    """`read` stops at the end of the member."""
    data = block(size=700) + padded(b"x" * 700) + block(b"g", size=1) + padded(b"y") + END
    parts = []
    for _, payload in LayerReader(io.BytesIO(data)):
        while part := payload.read(300):
            parts.append(part)
    assert parts == [b"x" * 300, b"x" * 300, b"x" * 100, b"y"]


BROKEN = {
    "traversal": (block(b"../etc/passwd"), r"\.\./etc/passwd: .*'\.\.'"),
    "inner-traversal": (block(b"a/../../b"), "'..'"),
    "pax-traversal": (pax(record(b"path=/a/..")) + block(), "'..'"),
    "gnu-traversal": (block(b"L", kind=b"L", size=5) + padded(b"../x\0") + block(), "'..'"),
    "hardlink-outside": (block(kind=b"1", link=b"../../etc/shadow"), "'..'"),
    "nul-in-name": (pax(record(b"path=a\0b")) + block(), "NUL"),
    "long-name": (pax(record(b"path=" + b"a/" * 3000)) + block(), "longer than 4096"),
    "long-component": (pax(record(b"path=" + b"a" * 256)) + block(), "longer than 255"),
    "empty-symlink": (block(kind=b"2"), "symlink"),
    "checksum": (block()[:-1] + b"x", "byte 0: .*checksum"),
    "checksum-of-second": (block() + block(b"g")[:-1] + b"x", "byte 512: .*checksum"),
    "truncated-header": (block()[:100], "ends within a header"),
    "truncated-content": (block(b"file", size=1000) + b"abc", "file: the archive ends"),
    "truncated-pax": (pax(record(b"path=x"))[:600], "ends within"),
    "pax-at-the-end": (pax(record(b"path=x")), "ends after an extension"),
    "half-an-end": (block() + bytes(512) + block(b"g"), "half an end"),
    "pax-no-length": (pax(b"path=x\n") + block(), "no length"),
    "pax-short-length": (pax(b"3 path=x\n") + block(), "malformed"),
    "pax-long-length": (pax(b"99 path=x\n") + block(), "malformed"),
    "pax-negative-length": (pax(b"-9 path=x\n") + block(), "no length"),
    "pax-no-newline": (pax(b"9 path=xy") + block(), "malformed"),
    "pax-no-key": (pax(record(b"=x")) + block(), "malformed"),
    "pax-bad-number": (pax(record(b"uid=x")) + block(), "uid is no number"),
    "pax-huge-number": (pax(record(b"mtime=" + b"9" * 19)) + block(), "out of range"),
    "pax-huge-size": (pax(record(b"size=" + b"9" * 30)) + block(), "size is no number"),
    "pax-negative-size": (pax(record(b"size=-1")) + block(), "out of range"),
    "pax-bad-xattr": (pax(record(b"SCHILY.xattr.=x")) + block(), "extended attribute"),
    "huge-pax": (block(b"pax", kind=b"x", size=1 << 30), "may have 1048576 bytes"),
    "huge-name": (block(b"name", kind=b"L", size=2 << 20), "may have 1048576 bytes"),
    "many-extensions": (pax(record(b"a=b")) * 9 + block(), "too many extension"),
    "bad-octal": (block(uid=b"12x\0    "), "no octal"),
    "octal-with-nine": (block(uid=b"0000009\0"), "no octal"),
    "octal-with-underscore": (block(uid=b"00_0001\0"), "no octal"),
    "negative-octal": (block(uid=b"-000001\0"), "no octal"),
    "negative-id": (block(uid=b"\xff" * 8), "out of range"),
    "huge-base-256": (block(mtime=b"\x80" + b"\xff" * 11), "out of range"),
    "device-number": (block(kind=b"3", major=b"7777777\0"), "device number"),
    "sparse": (block(kind=b"S"), "sparse"),
    "pax-sparse": (pax(record(b"GNU.sparse.major=1")) + block(), "sparse"),
    "volume": (block(kind=b"M"), "volumes"),
    "unknown-type": (block(b"odd", kind=b"Z"), "odd: members of type b'Z'"),
    "text": (b"this is no archive at all" * 100, "checksum|octal"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_and_hostile_archives_are_refused(name):
    """Each with a message that says what is wrong, and where."""
    data, message = BROKEN[name]
    end = b"" if name.startswith("truncated") or name == "pax-at-the-end" else END
    with pytest.raises(UnsafeLayer, match=message):
        read(data + end)


def test_limits_end_a_bomb_before_it_is_read():
    """Neither many members nor much content gets through, and the content is refused by its announcement."""
    with pytest.raises(UnsafeLayer, match="more than 2 members"):
        read(block() * 3 + END, members=2)
    with pytest.raises(UnsafeLayer, match=r"f: .*more than 1000 bytes"):
        read(block(size=1 << 40), content=1000)
    assert len(read(block(size=3) + padded(b"abc") + END, members=1, content=3)) == 1


def test_absolute_names_are_taken_relative_to_the_root():
    """As Docker and GNU tar do; dots and double slashes vanish too."""
    data = block(b"/etc//./passwd") + block(b"./h", kind=b"1", link=b"/etc/passwd") + block(b"./", kind=b"5")
    found = entries(data + END)
    assert [(entry.path, entry.link) for entry in found] == [
        ("etc/passwd", ""),
        ("h", "etc/passwd"),
        ("", ""),
    ]


def test_is_tar_knows_headers_from_other_data():
    """By the checksum; zeros alone are no archive that anybody meant to add."""
    assert is_tar(block())
    assert is_tar(block(magic=bytes(8)) + b"more")
    assert not is_tar(bytes(512))
    assert not is_tar(block()[:511])
    assert not is_tar(b"PK\3\4" + bytes(600))
    assert not is_tar(b"x" * 512)


def test_checksums_of_signed_characters_are_accepted():
    """Some old programs computed them so."""
    raw = block("ä".encode("latin-1"), magic=bytes(8))
    signed = sum(byte - 256 if byte >= 0x80 else byte for byte in raw[:148] + b" " * 8 + raw[156:])
    assert is_tar(raw[:148] + b"%06o\0 " % signed + raw[156:])


@given(st.binary(max_size=3000))
@settings(deadline=None)
def test_garbage_is_refused_cleanly(data):
    """Whatever the bytes are, nothing but UnsafeLayer comes out."""
    with contextlib.suppress(UnsafeLayer):
        read(sealed(data[:512].ljust(512, b"\0")) + data[512:])


@given(st.lists(ENTRIES, min_size=1, max_size=3), st.data())
@settings(deadline=None)
def test_mutated_archives_are_read_or_refused_cleanly(members, data):
    """A few flipped bytes in headers, checksum set right again."""
    out = io.BytesIO()
    writer = LayerWriter(out.write)
    for entry in members:
        writer.add(entry, bytes(entry.size) if entry.kind is Kind.FILE else None)
    writer.finish()
    raw = bytearray(out.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        start = 512 * data.draw(st.integers(0, len(raw) // 512 - 1))
        raw[start + data.draw(st.integers(0, 511))] = data.draw(st.integers(0, 255))
        raw[start : start + 512] = sealed(bytes(raw[start : start + 512]))
    with contextlib.suppress(UnsafeLayer):
        for entry, _ in read(bytes(raw)):
            assert ".." not in entry.path.split("/")
            assert not entry.path.startswith("/")
