"""
An image layout as a directory (``tar=false``): blobs first, then the index that names them.

What is in the directory stays; an image takes its names from those that have them. Governing source: OCI
image-spec image-layout.md.
"""

from __future__ import annotations

import os
import shutil
from typing import Any

from oci_image import jsonbytes
from oci_image.errors import InvalidDocument
from oci_image.store.names import is_named, name_of

from ..errors import ExportProblem
from .packing import Opener
from .target import new_file

_INDEX = "index.json"


def write_directory(dest: str, members: dict[str, tuple[int, Opener | bytes]]) -> None:
    """
    Write the files of a layout; the directory is made if it is not there.

    Raises:
        ExportProblem: it cannot be written, or holds something that is no layout.
    """
    try:
        os.makedirs(dest, exist_ok=True)
        for name in sorted(members, key=lambda name: (name == _INDEX, name)):
            size, content = members[name]
            path = os.path.join(dest, name)
            if name.startswith("blobs/") and _size(path) == size:
                continue
            if name == _INDEX and isinstance(content, bytes):
                content = _joined(path, content)
            _write(path, content)
    except OSError as problem:
        raise ExportProblem(f"cannot write to {dest}: {problem.strerror}") from problem


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return None


def _write(path: str, content: Opener | bytes) -> None:
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    with new_file(folder, os.path.basename(path)) as out:
        os.fchmod(out.fileno(), 0o644)
        if isinstance(content, bytes):
            out.write(content)
        else:
            with content() as stream:
                shutil.copyfileobj(stream, out, 1 << 20)


def _joined(path: str, raw: bytes) -> bytes:
    """The index with the entries that are there already and keep their names."""
    new: dict[str, Any] = jsonbytes.decode_object(raw, _INDEX)
    try:
        with open(path, "rb") as stream:
            old = jsonbytes.decode_object(stream.read(), path)
    except FileNotFoundError:
        return raw
    except InvalidDocument as problem:
        raise ExportProblem(problem.message, hint="name a new directory") from problem
    names = {name_of(entry) for entry in new["manifests"]} - {None}
    digests = {entry["digest"] for entry in new["manifests"]}
    kept = [
        entry
        for entry in old.get("manifests") or ()
        if isinstance(entry, dict)
        and name_of(entry) not in names
        and (is_named(entry) or entry.get("digest") not in digests)
    ]
    if not kept:
        return raw
    return jsonbytes.encode({**old, "manifests": [*kept, *new["manifests"]]})
