"""Compression and decompression of layers."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import lzma
import random
import shutil
import struct
import subprocess
import sys
import threading
import zlib
from functools import cache
from itertools import pairwise

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from oci_image.errors import ImageError, UnsafeLayer
from oci_image.layer.codecs import library_version
from oci_image.layer.compression import compress, open_decompressed, sniff
from oci_image.layer.encoders import DEFAULT_ENCODER, Encoder, parse_encoder

BLOCK = 512 * 1024
ENCODERS = [
    "gzip",
    "gzip:2",
    "gzip:6",
    "gzip:12",
    "gzip-fast",
    "gzip-fast:0",
    "zstd",
    "zstd:1",
    "uncompressed",
]


@cache
def sample(size: int, seed: int = 0) -> bytes:
    """Bytes that compress about as well as a layer does."""
    source = random.Random(seed)
    words = [source.randbytes(source.randrange(1, 12)) for _ in range(400)]
    made = bytearray()
    while len(made) < size:
        made += source.choice(words)
        if source.random() < 0.01:
            made += bytes(source.randrange(700))
    return bytes(made[:size])


def packed(data: bytes, encoder: str = "gzip", threads: int = 1) -> bytes:
    return b"".join(compress(io.BytesIO(data), parse_encoder(encoder), threads=threads))


def unpacked(data: bytes, compression: str | None = None) -> bytes:
    with open_decompressed(io.BytesIO(data), compression) as stream:
        return stream.read()


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(
    "size", [0, 1, 32 * 1024, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 2_500_000], ids=str
)
def test_bytes_do_not_depend_on_threads(encoder, size):
    """Any number of threads gives the same bytes, which give the input back."""
    data = sample(size)
    one = packed(data, encoder)
    assert [packed(data, encoder, threads) == one for threads in (2, 4)] == [True, True]
    assert unpacked(one) == data


@pytest.mark.parametrize("encoder", ["gzip", "gzip-fast", "zstd"])
@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 3 * BLOCK), max_size=8),
    end=st.integers(-3, 3).map(lambda delta: 2 * BLOCK + delta) | st.integers(0, 3 * BLOCK),
    threads=st.integers(1, 3),
)
def test_bytes_do_not_depend_on_pieces(encoder, cuts, end, threads):
    """However the input is cut, the bytes are the same, and both libraries give the input back."""
    data = sample(3 * BLOCK)[:end]
    edges = [0, *sorted(min(cut, end) for cut in cuts), end]
    pieces = [data[start:stop] for start, stop in pairwise(edges)]
    made = b"".join(compress(iter(pieces), parse_encoder(encoder), threads=threads))
    assert made == packed(data, encoder)
    assert unpacked(made) == data
    if encoder != "zstd":
        assert gzip.decompress(made) == data


GOLDEN = {
    "gzip": "097eceee8e2a382f9722dfac3971922844b638f3588043aa94314ab065abce4b",
    "gzip:6": "442e492eeda2c07e8b89d5ae168d6ce54850d4cb5b95491a506d83f197846d7f",
    "zstd": "e6e0f42975c26d5cbbc9e1c43c641894616ca393a0f85cc96921aee32896619f",
}


@pytest.mark.parametrize("encoder", GOLDEN)
def test_bytes_are_the_same_on_every_processor(encoder):
    """These encoders give exactly these bytes, here and everywhere, as long as the library stays the same."""
    versions = {"libdeflate": "0.9.0", "zstandard": "1.5.7"}
    implementation = parse_encoder(encoder).implementation
    if library_version(implementation) != versions[implementation]:
        pytest.skip(f"another version of {implementation}, hence another encoder id")
    blocks = (hashlib.sha256(b"%d" % number).digest() for number in range(30_000))
    data = b"".join(
        block[: block[0] % 30] * (1 + block[1] % 7) + block[:4].hex().encode() for block in blocks
    )
    assert len(data) > 3 * BLOCK
    assert hashlib.sha256(packed(data, encoder, 2)).hexdigest() == GOLDEN[encoder]


def test_gzip_has_a_member_for_each_block():
    """Each block is a member without name and time, with its checksum and size; nothing is one, too."""
    data = sample(2 * BLOCK + 5)
    rest, sizes = packed(data), []
    while rest:
        member = zlib.decompressobj(31)
        block = member.decompress(rest)
        assert member.eof
        assert rest[:8] == bytes.fromhex("1f8b080000000000")
        made, rest = rest[: len(rest) - len(member.unused_data)], member.unused_data
        assert struct.unpack("<II", made[-8:]) == (zlib.crc32(block), len(block))
        sizes.append(len(block))
    assert sizes == [BLOCK, BLOCK, 5]
    assert zlib.decompress(packed(b""), 31) == b""


def test_fast_gzip_is_one_plain_member():
    """A fast gzip layer is one member without name and time, whose trailer tells of everything."""
    data = sample(2 * BLOCK + 5)
    made = packed(data, "gzip-fast")
    assert made[:10] == bytes.fromhex("1f8b08000000000000ff")
    assert struct.unpack("<II", made[-8:]) == (zlib.crc32(data), len(data))
    decompressor = zlib.decompressobj(31)
    assert decompressor.decompress(made) == data
    assert decompressor.eof
    assert decompressor.unused_data == b""


def test_blocks_know_what_was_before_them():
    """The window of fast gzip is carried over block ends; members have none, and cost next to nothing."""
    data = sample(6 * BLOCK)
    whole = len(zlib.compress(data, 6))
    assert len(packed(data, "gzip:6")) < whole * 1.05
    block = sample(BLOCK)
    assert len(packed(block + block[-20_000:], "gzip-fast")) < len(packed(block, "gzip-fast")) + 500
    assert len(packed(block + block[-20_000:])) > len(packed(block)) + 5_000


@pytest.mark.parametrize(
    ("encoder", "command"),
    [("gzip", "gzip -dc"), ("gzip-fast", "gzip -dc"), ("gzip", "pigz -dc"), ("zstd", "zstd -dc")],
)
def test_tools_read_it(encoder, command):
    """The usual programs read what we write."""
    words = command.split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    data = sample(2 * BLOCK + 5)
    done = subprocess.run(words, input=packed(data, encoder, 2), capture_output=True, check=True)
    assert done.stdout == data


def test_zstd_says_its_checksum():
    """A zstd layer carries a checksum, so that damage is found."""
    made = bytearray(packed(sample(100_000), "zstd"))
    assert zstandard.get_frame_parameters(bytes(made)).has_checksum
    made[-1] ^= 1
    with pytest.raises(UnsafeLayer, match="zstd"):
        unpacked(bytes(made))


# Reading


@pytest.mark.parametrize(
    ("first", "name"),
    [
        (gzip.compress(b"", mtime=0), "gzip"),
        (zstandard.compress(b""), "zstd"),
        (b"\x5a\x2a\x4d\x18\x00\x00", "zstd"),
        (bz2.compress(b""), "bzip2"),
        (lzma.compress(b""), "xz"),
        (b"", "none"),
        (b"\x1f\x8b", "none"),
        (bytes(512), "none"),
        (b"ustar", "none"),
        (b"\x5a\x2a\x4d", "none"),
    ],
)
def test_sniff(first, name):
    """Six bytes tell the compression."""
    assert sniff(first[:6]) == name


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time and cannot seek."""

    def __init__(self, data: bytes, step: int) -> None:
        self.data = data
        self.step = step
        self.position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer):
        part = self.data[self.position : self.position + min(self.step, len(buffer))]
        buffer[: len(part)] = part
        self.position += len(part)
        return len(part)


FORMATS = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "none": bytes,
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("step", [1, 5, 7, 4096])
def test_slow_streams(name, step):
    """A stream may give its bytes in any pieces; the compression is found anyway."""
    data = sample(20_000)
    raw = Trickle(FORMATS[name](data), step)
    with open_decompressed(raw) as stream:
        assert b"".join(iter(lambda: stream.read(777), b"")) == data
        assert stream.read(1) == b""
    assert raw.closed
    assert raw.position == len(raw.data)


@pytest.mark.parametrize("name", ["gzip", "zstd", "bzip2", "xz"])
def test_several_members(name):
    """A stream may have many members, empty ones too."""
    parts = [sample(50_000, 1), b"", b"x", *(bytes([number]) * 100 for number in range(200))]
    assert unpacked(b"".join(map(FORMATS[name], parts))) == b"".join(parts)


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
@pytest.mark.parametrize("garbage", [bytes(1000), b"garbage", b"\x1f", bytes(9) + b"garbage" * 50_000])
def test_trailing_garbage_is_ignored_but_read(name, garbage):
    """What follows the last member is ignored as gunzip does, but read, so that it can be verified."""
    raw = Trickle(FORMATS[name](b"abc") + garbage, 100)
    with open_decompressed(raw) as stream:
        assert stream.read() == b"abc"
        assert raw.position == len(raw.data)


def test_zeros_between_members():
    """Padding between members is skipped."""
    assert unpacked(gzip.compress(b"abc") + bytes(300_000) + gzip.compress(b"def")) == b"abcdef"


@pytest.mark.parametrize("name", ["gzip", "zstd", "bzip2", "xz"])
def test_every_truncation_is_found(name):
    """A stream that ends anywhere before its end is broken, whatever the place."""
    data = FORMATS[name](sample(3000)) + FORMATS[name](b"second")
    first = len(FORMATS[name](sample(3000)))
    for end in range(1, len(data)):
        if end == first:
            continue
        # Less than a magic number behind a member is garbage, not a member.
        if first < end < first + 6 and name != "zstd":
            continue
        with pytest.raises(UnsafeLayer, match=name):
            unpacked(data[:end], name)


@pytest.mark.parametrize("name", ["gzip", "zstd", "bzip2", "xz"])
def test_empty_stream_is_broken(name):
    """Nothing at all is no compressed stream, except for zstd, where no frame is allowed."""
    if name == "zstd":
        assert unpacked(b"", name) == b""
        return
    with pytest.raises(UnsafeLayer, match="too early"):
        unpacked(b"", name)


@pytest.mark.parametrize("name", ["gzip", "zstd", "bzip2", "xz"])
@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 10_000), value=st.integers(1, 255))
def test_damage_is_found_or_harmless(name, position, value):
    """A damaged stream gives the right bytes or the one error, never other bytes."""
    data = sample(3000)
    damaged = bytearray(FORMATS[name](data))
    damaged[position % len(damaged)] ^= value
    with contextlib.suppress(UnsafeLayer):
        assert unpacked(bytes(damaged), name) in (data, b"")


@given(st.binary(max_size=300), st.sampled_from(["gzip", "zstd", "bzip2", "xz"]))
def test_random_bytes_are_no_crash(data, name):
    """Any bytes are read or refused with the one error."""
    magic = {"gzip": b"\x1f\x8b\x08", "zstd": b"\x28\xb5\x2f\xfd", "bzip2": b"BZh9", "xz": b"\xfd7zXZ\0"}[
        name
    ]
    for raw in (data, magic + data):
        with contextlib.suppress(UnsafeLayer):
            unpacked(raw, name)


@pytest.mark.parametrize("name", ["gzip", "zstd", "bzip2", "xz"])
def test_bombs_do_not_fill_the_memory(name):
    """What expands enormously comes in pieces."""
    bomb = FORMATS[name](bytes(64 << 20))
    program = """
import io, resource, sys
from oci_image.layer.compression import open_decompressed
raw = io.BytesIO(sys.stdin.buffer.read())
with open_decompressed(raw) as stream:
    stream.read(10)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    total = 10
    while data := stream.read(100_000):
        total += len(data)
    print(total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", program], input=bomb, capture_output=True, check=True)
    total, grown = map(int, done.stdout.split())
    assert total == 64 << 20
    assert grown < 12_000


def test_huge_windows_are_refused():
    """A frame that wants a window of gigabytes is refused, not tried."""
    parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=True)
    made = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    frame = made.compress(bytes(1000)) + made.flush()
    with pytest.raises(UnsafeLayer, match="zstd"):
        unpacked(frame)


def test_skippable_frames():
    """Frames that carry no content, as lazily pulled formats have them, are passed over, also at the ends."""
    skip = b"\x50\x2a\x4d\x18" + (70_000).to_bytes(4, "little") + bytes(70_000)
    data = skip + zstandard.compress(b"abc") + skip + zstandard.compress(b"def") + skip
    assert unpacked(data) == b"abcdef"
    with pytest.raises(UnsafeLayer, match="too early"):
        unpacked(data[:-1])


@pytest.mark.parametrize(
    "options",
    [
        {"level": 1, "write_content_size": False},
        {"level": 19, "write_checksum": True},
        {"level": 3, "threads": 2},
    ],
)
@pytest.mark.parametrize("size", [0, 1, 300, 70_000, 2_000_000])
def test_all_frame_headers(options, size):
    """The end of a frame is found whatever its header says."""
    data = sample(size) + bytes(size)
    frame = zstandard.ZstdCompressor(**options).compress(data)
    assert unpacked(frame + frame) == data * 2
    with pytest.raises(UnsafeLayer):
        unpacked(frame + frame[:-1])


def test_unknown_compression():
    """A compression that nobody knows is named."""
    with pytest.raises(ImageError, match="'lz4'"):
        open_decompressed(io.BytesIO(b""), "lz4")


# Threads


def test_memory_is_bounded():
    """The input is read only a little ahead of what was taken."""
    taken = 0

    def source():
        nonlocal taken
        for _ in range(100):
            taken += BLOCK
            yield bytes(BLOCK)

    made = compress(source(), DEFAULT_ENCODER, threads=2)
    next(made)
    next(made)
    assert taken <= 6 * BLOCK
    made.close()


@pytest.mark.parametrize("encoder", ["gzip", "gzip-fast", "zstd"])
def test_leaving_early_ends_the_threads(encoder):
    """Who stops taking leaves no thread behind."""
    before = threading.active_count()
    made = compress(iter([random.randbytes(4 * BLOCK)] * 20), parse_encoder(encoder), threads=3)
    next(made)
    next(made)
    made.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("encoder", ["gzip", "zstd", "uncompressed"])
@pytest.mark.parametrize("threads", [1, 2])
def test_errors_of_the_source_pass_through(encoder, threads):
    """What the source raises is what the caller gets, and no thread stays."""

    def source():
        yield sample(3 * BLOCK)
        raise KeyError("broken")

    before = threading.active_count()
    with pytest.raises(KeyError, match="broken"):
        for _ in compress(source(), parse_encoder(encoder), threads=threads):
            pass
    assert threading.active_count() == before


# Encoders


@pytest.mark.parametrize(
    ("text", "kind", "implementation", "level"),
    [
        ("gzip", "gzip", "libdeflate", 1),
        ("gzip:12", "gzip", "libdeflate", 12),
        ("gzip-fast", "gzip", "isal", 2),
        ("gzip-fast:0", "gzip", "isal", 0),
        ("zstd", "zstd", "zstandard", 3),
        ("zstd:22", "zstd", "zstandard", 22),
        ("uncompressed", "none", "", 0),
        ("none", "none", "", 0),
    ],
)
def test_parse_encoder(text, kind, implementation, level):
    """Names with optional levels are read; what is printed is read to the same."""
    encoder = parse_encoder(text)
    assert encoder == Encoder(kind=kind, implementation=implementation, level=level)
    assert parse_encoder(str(encoder)) == encoder


def test_default_encoder():
    """Gzip, from the library whose bytes are the same everywhere."""
    assert parse_encoder("gzip") == DEFAULT_ENCODER
    assert DEFAULT_ENCODER.implementation == "libdeflate"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "unknown compression ''"),
        ("lz4", "unknown compression 'lz4'"),
        ("gzip:", "levels 0 to 12"),
        ("gzip:13", "levels 0 to 12"),
        ("gzip:+1", "levels 0 to 12"),
        ("gzip:\u0661", "levels 0 to 12"),
        ("gzip-fast:3", "levels 0 to 2"),
        ("zstd:23", "levels 0 to 22"),
        ("zstd:-5", "levels 0 to 22"),
        ("zstd:" + "9" * 9999, "levels 0 to 22"),
        ("uncompressed:1", "no levels"),
    ],
)
def test_unknown_encoders_are_refused(text, words):
    """The message says what is possible."""
    with pytest.raises(ImageError, match=words):
        parse_encoder(text)


def test_encoder_ids():
    """An id holds everything that the bytes depend on."""
    ids = [parse_encoder(text).id for text in ENCODERS]
    assert len(set(ids)) == len(ids)
    assert parse_encoder("gzip:6").id == f"libdeflate/{library_version('libdeflate')}/l6/512k"
    assert parse_encoder("gzip-fast").id.endswith("/l2/512k")
    assert parse_encoder("zstd:9").id == f"zstandard/{library_version('zstandard')}/l9"
    assert parse_encoder("none").id == "none"


def test_media_types():
    """An encoder knows the media type of what it writes."""
    assert DEFAULT_ENCODER.media_type() == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert DEFAULT_ENCODER.media_type(docker=True) == "application/vnd.docker.image.rootfs.diff.tar.gzip"
    assert parse_encoder("zstd").media_type(docker=True) == "application/vnd.oci.image.layer.v1.tar+zstd"
    assert parse_encoder("none").media_type() == "application/vnd.oci.image.layer.v1.tar"


def test_libraries_load_when_they_are_needed():
    """Naming an encoder loads none of the libraries."""
    program = (
        "import sys\n"
        "from oci_image.layer.compression import sniff\n"
        "from oci_image.layer.encoders import parse_encoder\n"
        "parse_encoder('zstd'); sniff(b'')\n"
        "heavy = {'zstandard', 'isal', 'deflate', 'concurrent.futures', 'bz2', 'lzma'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
