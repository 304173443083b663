"""
Making a directory an image layout, and tidying up after writers that died.

Invariant: an existing layout is taken as it is; only what is missing is added.
Governing source: OCI image-spec, image-layout.md.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

from .. import jsonbytes, mediatypes
from ..errors import InvalidDocument, StoreProblem
from .lock import file_lock, replace_file, sync_directory
from .problems import store_problem

TEMPORARY_PREFIX = "blob-"
"""How the names of files begin that become blobs."""

_VERSION = "1.0.0"


def sweep_lock(root: str) -> str:
    """The lock that is shared by what makes blobs young and held alone by what removes old ones."""
    return f"{root}/pybuild/locks/sweep"


def prepare_layout(root: str) -> None:
    """
    Make the directory an image layout if it is none; idempotent, safe with several processes at once.

    Raises:
        StoreProblem: it cannot be written, or is a layout of a version that we do not know.
    """
    marker = f"{root}/oci-layout"
    try:
        for name in ("blobs/sha256", "pybuild/tmp", "pybuild/locks"):
            os.makedirs(f"{root}/{name}", exist_ok=True)
        if not os.path.exists(marker) or not os.path.exists(f"{root}/index.json"):
            with file_lock(f"{root}/pybuild/locks/index"):
                _write_missing(root, marker)
        with open(marker, "rb") as stream:
            version = jsonbytes.decode_object(stream.read(4096), marker).get("imageLayoutVersion")
    except OSError as problem:
        raise store_problem(problem, root, "make an image layout") from problem
    except InvalidDocument as problem:
        raise StoreProblem(problem.message) from problem
    if version != _VERSION:
        raise StoreProblem(f"{marker}: unsupported layout version {version!r}, expected {_VERSION!r}")


def _write_missing(root: str, marker: str) -> None:
    temporary = f"{root}/pybuild/layout.new"
    if not os.path.exists(f"{root}/index.json"):
        empty = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": []}
        replace_file(f"{root}/index.json", jsonbytes.encode(empty), temporary=temporary)
    if not os.path.exists(marker):
        content = jsonbytes.encode({"imageLayoutVersion": _VERSION})
        replace_file(marker, content, temporary=temporary)
    for name in ("blobs", "pybuild"):
        sync_directory(f"{root}/{name}")


def remove_leftovers(directory: str) -> int:
    """
    Remove temporary files whose writers are dead; gives their number.

    A file is at work as long as its writer holds the lock on it, which the kernel ends with the process.
    """
    removed = 0
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(TEMPORARY_PREFIX):
                removed += _remove_abandoned(entry.path)
    return removed


def _remove_abandoned(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Under the lock: its maker, who may be about to take it, sees then that the file is gone.
        os.unlink(path)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
