"""
Rows of the registry benchmark about many things at once: repositories, tags, uploads; and encrypted blobs.

A hundred thousand repositories with a million tags take too long to push. They are written into the index of
our server while it is stopped, as a push would have left it; the peer has no index and is left out.
"""

from __future__ import annotations

import hashlib
import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import quote

import load
from servers import Server

CROWDED = "many/crowded"
PAGE = 100
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_EMPTY = "sha256:" + hashlib.sha256(b"").hexdigest()


def fill(server: Server, repositories: int, tags: int) -> None:
    """Let the stopped server have repositories with equally many tags each, but for one that has a tenth."""
    crowded = tags // 10
    each = max(1, (tags - crowded) // repositories)
    with closing(sqlite3.connect(server.root / "index.db")) as index, index:
        index.execute("PRAGMA synchronous=OFF")
        names = [f"many/r{number:06d}" for number in range(repositories - 1)] + [CROWDED]
        index.executemany("INSERT INTO repositories (name, stale) VALUES (?, 0)", ((name,) for name in names))
        index.executemany(
            "INSERT INTO manifests VALUES (?, ?, ?, '', 2, NULL, 1, 1, NULL)",
            ((name, _EMPTY, _MANIFEST) for name in names),
        )
        index.executemany("INSERT INTO tags VALUES (?, ?, ?, 1)", _tags(names, each, crowded))


def _tags(names: list[str], each: int, crowded: int) -> Iterator[tuple[str, str, str]]:
    for name in names:
        for number in range(crowded if name == CROWDED else each):
            yield name, f"v{number:06d}", _EMPTY


def page_times(server: Server, repositories: int, tags: int) -> list[float]:
    """Seconds for pages at the start, in the middle and at the end of lists, of 100 and of 1,000 entries."""
    places = [("/v2/_catalog", f"many/r{number:06d}") for number in (0, repositories // 2, repositories - 50)]
    places += [(f"/v2/{CROWDED}/tags/list", f"v{number:06d}") for number in (0, tags // 20, tags // 10 - 50)]
    places += [("/v2/_catalog", ""), (f"/v2/{CROWDED}/tags/list", ""), ("/v2/many/r000007/tags/list", "")]
    times = []
    with load.Connection(server.address) as connection:
        for path, last in places:
            for size in (PAGE, 1000):
                started = time.perf_counter()
                connection.request("GET", f"{path}?n={size}&last={quote(last)}", expect=200)
                times.append(time.perf_counter() - started)
    return times


def describe(times: list[float]) -> str:
    """The median and the longest, in milliseconds."""
    return f"median {statistics.median(times) * 1000:.1f} ms, longest {max(times) * 1000:.1f} ms"


def push_together(address: load.Address, blobs: list[load.Blob]) -> None:
    """Push blobs at the same time, each over a connection of its own."""
    load.together([partial(load.push_blob, address, f"crowd/{n}", blob) for n, blob in enumerate(blobs)])


def push_encrypted(address: load.Address, repository: str, blob: load.Blob) -> None:
    """Push a blob in one PUT over TLS."""
    with load.Connection(address, encrypted=True) as connection:
        started = connection.request("POST", f"/v2/{repository}/blobs/uploads/", expect=202)
        location = load.local_path(started.headers["location"])
        closing_path = f"{location}{'&' if '?' in location else '?'}digest={blob.digest}"
        whole = (Path(blob.file), 0, blob.size, blob.tail)
        octets = {"Content-Type": "application/octet-stream"}
        connection.send_file("PUT", closing_path, whole, headers=octets, expect=201)


def pull_encrypted(address: load.Address, repository: str, digest: str) -> int:
    """Pull a blob over TLS and drop it; its size."""
    with load.Connection(address, encrypted=True) as connection:
        return connection.drop(f"/v2/{repository}/blobs/{digest}")
