"""
Digests of what is selected from the results of other steps, remembered by what was selected from.

A snapshot never changes, so neither does the digest of a part of it: it is computed once, and kept under
``state/selections``. With it a step can be recognised without fetching or reading the layers that it copies
from.
"""

from __future__ import annotations

import os

from oci_image import jsonbytes
from oci_image.digest import Digest
from oci_image.errors import InvalidDigest
from oci_image.store.lock import replace_file
from oci_image.store.problems import store_problem

from ..host import Host
from ..snapshots import Snapshot
from .base import in_thread
from .stepfiles import StepFiles, digest_items

_FORMAT = 1
"""Raise it when the digest covers something else."""


async def selection_digest(
    snapshot: Snapshot, pattern: str, host: Host, *, exclude: tuple[str, ...] = (), parents: bool = False
) -> Digest:
    """
    The digest of what a source path selects.

    Raises:
        MissingSource: it selects nothing though it has no wildcard.
        ImageError: the layers cannot be had or read.
    """
    value = [_FORMAT, snapshot.chain, pattern, list(exclude), parents]
    key = Digest.of(jsonbytes.encode_sorted(value))
    path = os.path.join(host.state, "selections", key.hex)
    known = _read(path)
    if known is None:
        await host.layers.ensure(snapshot.layers)
        known = await in_thread(_computed, snapshot, pattern, host, exclude, parents)
        _write(path, known)
    return known


def _computed(
    snapshot: Snapshot, pattern: str, host: Host, exclude: tuple[str, ...], parents: bool
) -> Digest:
    files = StepFiles(snapshot, host.layers)
    return digest_items(files.items(pattern, exclude=exclude, parents=parents))


def _read(path: str) -> Digest | None:
    try:
        with open(path, encoding="ascii") as file:
            return Digest.parse(file.read())
    except (OSError, ValueError, InvalidDigest):
        return None  # absent or damaged: it is computed again


def _write(path: str, digest: Digest) -> None:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        replace_file(path, str(digest).encode(), temporary=f"{path}.{os.getpid()}.tmp", durable=False)
    except OSError as problem:
        raise store_problem(problem, path, "remember a digest") from problem
