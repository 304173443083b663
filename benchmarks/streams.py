"""
Bodies whose length is not told before they end, as clients send layers that they compress on the way.

What they send is what Go's HTTP client makes of it: chunks of 32 KiB (RFC 9112, section 7.1).
"""

from __future__ import annotations

import mmap

import load

_CHUNK = 32 * 1024
_TOGETHER = 8  # chunks in one call: what the client needs is not the server's


def push_chunked(address: load.Address, repository: str, blob: load.Blob) -> None:
    """Push a blob as docker does: POST, one PATCH without a length, and a closing PUT."""
    fields = {"Content-Type": "application/octet-stream", "Transfer-Encoding": "chunked"}
    with load.Connection(address) as connection:
        started = connection.request("POST", f"/v2/{repository}/blobs/uploads/", expect=202)
        location = load.local_path(started.headers["location"])
        answer = connection.send_chunks("PATCH", location, _chunks(blob), headers=fields, expect=202)
        location = load.local_path(answer.headers["location"])
        closing = f"{location}{'&' if '?' in location else '?'}digest={blob.digest}"
        connection.request("PUT", closing, expect=201)


def _chunks(blob: load.Blob) -> load.Chunks:
    """Lists of buffers that hold some chunks each, with their framing."""
    with blob.file.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
        view = memoryview(content)
        try:
            for first in range(0, blob.size, _CHUNK * _TOGETHER):
                last = min(first + _CHUNK * _TOGETHER, blob.size)
                buffers: list[bytes | memoryview] = []
                for start in range(first, last, _CHUNK):
                    part = view[start : min(start + _CHUNK, last)]
                    buffers += [b"%x\r\n" % len(part), part, b"\r\n"]
                yield buffers
                buffers.clear()
                del part
        finally:
            view.release()
    yield [b"%x\r\n" % len(blob.tail), blob.tail, b"\r\n0\r\n\r\n"]
