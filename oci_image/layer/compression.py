"""
Compressing and decompressing layers, by libraries that are loaded when they are needed.

Invariants: an encoder gives the same bytes for any number of threads; reading is bounded in memory, and a
broken stream raises `UnsafeLayer`. Governing sources: RFC 1951 and 1952, RFC 8878, OCI image-spec layer.md.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, BinaryIO

from ..errors import ImageError
from .codecs import deflating, gzip_member
from .encoders import BLOCK, Encoder
from .members import Decompressor, FrameReader, MemberReader, Prefixed

_MAGIC = {
    "gzip": b"\x1f\x8b\x08",
    "zstd": b"\x28\xb5\x2f\xfd",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\x00",
}
_BUFFER = 256 * 1024
_XZ_MEMORY = 512 * 1024 * 1024
_WINDOW = 32 * 1024
_GZIP_HEADER = b"\x1f\x8b\x08\x00" + b"\0\0\0\0" + b"\0\xff"  # no name, no time, unknown system
_LAST_BLOCK = b"\x03\x00"  # an empty final block with the fixed code (RFC 1951, 3.2.6)


def sniff(first_bytes: bytes) -> str:
    """The compression that the first six bytes show: ``gzip``, ``zstd``, ``bzip2``, ``xz`` or ``none``."""
    for name, magic in _MAGIC.items():
        if first_bytes.startswith(magic):
            return name
    if len(first_bytes) >= 4 and first_bytes[0] & 0xF0 == 0x50 and first_bytes[1:4] == b"\x2a\x4d\x18":
        return "zstd"  # a skippable frame in front
    return "none"


def open_decompressed(raw: BinaryIO, compression: str | None = None) -> BinaryIO:
    """
    A stream of the uncompressed bytes; closing it closes `raw`.

    Reads `raw` to its end before it reports the end, also behind trailing garbage.

    Args:
        raw: the stream, which need not be seekable.
        compression: as `sniff` names it; None looks at the first bytes.

    Raises:
        UnsafeLayer: (when read) the stream is broken or ends too early.
        ImageError: a compression that is not known.
    """
    if compression is None:
        first = _first_bytes(raw, 6)
        compression = sniff(first)
        raw = io.BufferedReader(Prefixed(first, raw), _BUFFER)
    if compression == "none":
        return raw
    opener = {"gzip": _open_gzip, "zstd": _open_zstd, "bzip2": _open_bzip2, "xz": _open_xz}.get(compression)
    if opener is None:
        raise ImageError(f"unknown compression {compression!r}")
    return io.BufferedReader(opener(raw), _BUFFER)


def compress(source: Iterable[bytes] | BinaryIO, encoder: Encoder, *, threads: int) -> Iterator[bytes]:
    """
    Compress a stream; the bytes do not depend on `threads` nor on the pieces in which the input comes.

    At most some blocks per thread are in memory. Closing the iterator early ends its threads. Errors of
    `source` pass through.

    Args:
        source: the uncompressed bytes, as a stream or as pieces.
        encoder: how.
        threads: how many blocks are compressed at once, at least 1.
    """
    if encoder.kind == "none":
        return _pieces(source)
    if encoder.kind == "zstd":
        return _compress_zstd(source, encoder.level, threads)
    if encoder.implementation == "libdeflate":
        return _compress_members(source, encoder.level, threads)
    return _compress_gzip(source, encoder.level, threads)


def _open_gzip(raw: BinaryIO) -> io.RawIOBase:
    from isal import igzip_lib

    def new_member() -> Decompressor:
        return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)

    broken: Any = igzip_lib.IsalError  # its stub calls the class an instance
    return MemberReader(raw, "gzip", _MAGIC["gzip"], new_member, (broken,))


def _open_zstd(raw: BinaryIO) -> io.RawIOBase:
    import zstandard

    def open_stream(stream: BinaryIO) -> Any:
        return zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)

    return FrameReader(raw, open_stream, (zstandard.ZstdError,))


def _open_bzip2(raw: BinaryIO) -> io.RawIOBase:
    import bz2

    return MemberReader(raw, "bzip2", _MAGIC["bzip2"], bz2.BZ2Decompressor, (OSError, ValueError))


def _open_xz(raw: BinaryIO) -> io.RawIOBase:
    import lzma

    def new_member() -> Decompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    return MemberReader(raw, "xz", _MAGIC["xz"], new_member, (lzma.LZMAError,))


def _compress_zstd(source: Iterable[bytes] | BinaryIO, level: int, threads: int) -> Iterator[bytes]:
    import zstandard

    # Without worker threads (0) the library cuts its blocks elsewhere: the bytes would tell the number of
    # cores.
    compressor: Any = zstandard.ZstdCompressor(level=level, threads=max(1, threads), write_checksum=True)
    chunker = compressor.chunker(chunk_size=_BUFFER)
    for piece in _pieces(source):
        yield from chunker.compress(piece)
    yield from chunker.finish()


def _compress_members(source: Iterable[bytes] | BinaryIO, level: int, threads: int) -> Iterator[bytes]:
    """A gzip member for each block (RFC 1952, 2.2), which all readers take as one stream."""
    member = gzip_member(level)
    blocks = _blocks(_pieces(source), BLOCK)
    first = next(blocks, b"")  # nothing is one empty member
    yield from _ordered(member, ((block,) for block in chain((first,), blocks)), threads)


def _compress_gzip(source: Iterable[bytes] | BinaryIO, level: int, threads: int) -> Iterator[bytes]:
    """
    One gzip member of raw deflate blocks, joined by empty stored blocks (``Z_SYNC_FLUSH``).

    Each block has a compressor of its own, because one that is used again may depend on what it did before,
    and the 32 KiB in front of the block as its dictionary, which costs 0.3 % of the ratio.
    """
    library = deflating()
    checksum = size = 0
    window = b""

    def deflate(block: bytes, dictionary: bytes) -> bytes:
        options = {"zdict": dictionary} if dictionary else {}
        compressor = library.compressobj(level, library.DEFLATED, -15, **options)
        return bytes(compressor.compress(block) + compressor.flush(library.Z_SYNC_FLUSH))

    def jobs() -> Iterator[tuple[bytes, bytes]]:
        nonlocal checksum, size, window
        for block in _blocks(_pieces(source), BLOCK):
            yield block, window
            checksum = library.crc32(block, checksum)
            size += len(block)
            window = block[-_WINDOW:]

    yield _GZIP_HEADER
    yield from _ordered(deflate, jobs(), threads)
    yield _LAST_BLOCK + checksum.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")


def _ordered(work: Callable[..., bytes], jobs: Iterator[tuple[bytes, ...]], threads: int) -> Iterator[bytes]:
    """The results of all jobs in their order, some of them computed ahead."""
    if threads <= 1:
        for job in jobs:
            yield work(*job)
        return
    from concurrent.futures import Future, ThreadPoolExecutor

    ahead: deque[Future[bytes]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="compress")
    try:
        for job in jobs:
            ahead.append(pool.submit(work, *job))
            if len(ahead) > threads + 1:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _pieces(source: Iterable[bytes] | BinaryIO) -> Iterator[bytes]:
    read = getattr(source, "read", None)
    if read is None:
        yield from source
        return
    while piece := read(_BUFFER):
        yield piece


def _blocks(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """The same bytes in blocks of exactly `size`, only the last one shorter."""
    gathered = bytearray()
    for piece in pieces:
        gathered += piece
        while len(gathered) >= size:
            yield bytes(gathered[:size])
            del gathered[:size]
    if gathered:
        yield bytes(gathered)


def _first_bytes(raw: BinaryIO, count: int) -> bytes:
    first = b""
    while len(first) < count and (piece := raw.read(count - len(first))):
        first += piece
    return first
