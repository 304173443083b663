"""
Answering a build from its record: the read side of recorded builds.

A record holds what a build whose steps were all cached depended on and what it came to. It is worth something
only while everything that it names is the same, which is looked at here without parsing or planning anything.
A record that cannot be read counts as none. This module runs before anything else is loaded, so it imports as
little as possible, of the standard library only; see decisions/0006-recorded-builds.md.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:  # type checkers take the name for True; importing typing would take long
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from typing import Any, BinaryIO

FORMAT = 3
"""Raise it when records mean something else, or when the same request makes another image than before."""
FOLDER = "builds"
"""Where records lie in the directory of the builder's state."""

STAMP = struct.Struct("=5q")
INODE_BITS = 2**63 - 1
"""As in `statcache`, which must not be imported here."""

_TYPE_BITS, _REGULAR, _DIRECTORY, _LINK, _SOCKET = 0o170000, 0o100000, 0o040000, 0o120000, 0o140000
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CONTAINERD_NAME = "io.containerd.image.name"
_REF_NAME = "org.opencontainers.image.ref.name"
_DIGEST_LENGTH = 64
_IN_A_LINE = 100
"""So many directories."""


def key_of(parts: object) -> str:
    """The name of the record for a request, given as plain values."""
    return hashlib.sha256(json.dumps([FORMAT, parts]).encode()).hexdigest()


def find(root: str, key: str, context: str) -> dict[str, Any] | None:
    """
    The record of a build, if it says what the build would come to now; None otherwise, never an error.

    Args:
        root: the local store.
        key: of the request.
        context: the directory of the build context.
    """
    path = os.path.join(root, "pybuild", FOLDER, key)
    try:
        with open(path, "rb") as stream:
            lines = _Lines(stream)
            record = lines.head
            if not (
                _index_holds(root, record)
                and all(_size(os.path.join(root, name)) == size for name, size in record["files"])
                and all(look(context, name) == found for name, found in record["paths"].items())
                and all(_folders_hold(context, json.loads(line)) for line in lines)
            ):
                return None
            lines.check()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    try:
        os.utime(path)
    except OSError:
        return record  # when it was last used is only a hint for cleaning up
    return record


def read(path: str) -> dict[str, Any]:
    """
    A record as it was written, without what it says of directories.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    with open(path, "rb") as stream:
        lines = _Lines(stream)
        for _ in lines:
            pass
        lines.check()
    return lines.head


class _Lines:
    """The lines of a record: `head` is the first one, the others are those of its directories."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._expected = stream.readline(_DIGEST_LENGTH + 1)
        first = stream.readline()
        self._hasher = hashlib.sha256(first)
        self.head: dict[str, Any] = json.loads(first)

    def __iter__(self) -> Iterator[bytes]:
        for line in self._stream:
            self._hasher.update(line)
            yield line

    def check(self) -> None:
        """
        Once all lines were read: see that they are those that were written.

        Raises:
            ValueError: they are not.
        """
        if self._expected != self._hasher.hexdigest().encode() + b"\n":
            raise ValueError("damaged")


def write(path: str, record: Mapping[str, Any], folders: Iterable[tuple[str, str, Sequence[str]]]) -> None:
    """
    Write what `read` and `find` read.

    Args:
        path: of the file.
        record: all but what it says of directories.
        folders: path, digest and hidden names of each directory; there may be very many.

    Raises:
        OSError: it cannot be written.
    """
    hasher = hashlib.sha256()
    with open(path, "wb") as stream:
        stream.write(bytes(_DIGEST_LENGTH) + b"\n")
        for part in _parts(record, folders):
            line = json.dumps(part).encode() + b"\n"
            hasher.update(line)
            stream.write(line)
        stream.seek(0)
        stream.write(hasher.hexdigest().encode())


def _parts(record: Mapping[str, Any], folders: Iterable[tuple[str, str, Sequence[str]]]) -> Iterator[object]:
    """What stands in the lines of a record."""
    yield record
    some: list[tuple[str, str, Sequence[str]]] = []
    for folder in folders:
        some.append(folder)
        if len(some) == _IN_A_LINE:
            yield some
            some = []
    if some:
        yield some


def names_hold(index: Mapping[str, Any], names: Mapping[str, str]) -> bool:
    """
    Whether each name stands for the manifest with the given digest in an ``index.json``.

    False, too, when another tool left names that only the image model can read.
    """
    found: dict[str, str] = {}
    for entry in index["manifests"] or ():
        annotations = entry.get("annotations") or {}
        if annotations.get(_CONTAINERD_NAME):
            found[annotations[_CONTAINERD_NAME]] = entry["digest"]
        elif _REF_NAME in annotations:
            return False
    return all(found.get(name) == digest for name, digest in names.items())


def folder_digest(
    names: bytes,
    stamps: bytes,
    directories: Iterable[tuple[str, int]],
    others: Iterable[tuple[str, int, int, str]],
    xattrs: Iterable[tuple[str, bytes]],
) -> str:
    """
    The digest of what is visible in one directory of a context.

    Args:
        names: of its files in order, with zero bytes between them.
        stamps: of its files in the same order.
        directories: name and mode of each directory, in order.
        others: name, mode, device number and link target of everything else, in order.
        xattrs: of the directory itself.
    """
    rest = [list(directories), list(others), [(name, value.hex()) for name, value in xattrs]]
    head = json.dumps([len(names), len(stamps), rest]).encode()
    return hashlib.sha256(b"\0".join((head, names, stamps))).hexdigest()


def look(context: str, path: str) -> list[object] | None:
    """What is at a single path, without following links: its mode, and what its content hangs on."""
    full = os.path.join(context, path)
    try:
        status = os.lstat(full)
    except (FileNotFoundError, NotADirectoryError):
        return None
    kind = status.st_mode & _TYPE_BITS
    if kind == _DIRECTORY:
        return [status.st_mode]
    if kind == _REGULAR:
        return [status.st_mode, _stamp(status).hex()]
    return [status.st_mode, status.st_rdev, os.readlink(full) if kind == _LINK else ""]


def image_xattrs(descriptor: int) -> list[tuple[str, bytes]]:
    """The extended attributes of an open directory that belong into an image, as `listing` selects them."""
    try:
        names = os.listxattr(descriptor)
    except OSError:
        return []
    return [
        (name, os.getxattr(descriptor, name))
        for name in sorted(names)
        if name == "security.capability"
        or not name.startswith(("security.", "system.", "trusted.", "user.overlay."))
    ]


def _index_holds(root: str, record: Mapping[str, Any]) -> bool:
    """Whether the names of the store stand for what they stood for."""
    if not record["names"] and not record["exact"]:
        return True
    with open(os.path.join(root, "index.json"), "rb") as stream:
        raw = stream.read()
    if hashlib.sha256(raw).hexdigest() == record["index"]:
        return True
    return not record["exact"] and names_hold(json.loads(raw), record["names"])


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return None


def _folders_hold(context: str, folders: Iterable[tuple[str, str, list[str]]]) -> bool:
    for path, digest, hidden in folders:
        # The root may be named through a link; below it links are never followed.
        flags = _READ_DIRECTORY if path else _READ_DIRECTORY & ~os.O_NOFOLLOW
        descriptor = os.open(os.path.join(context, path), flags)
        try:
            if _scan(descriptor, frozenset(hidden), is_root=not path) != digest:
                return False
        finally:
            os.close(descriptor)
    return True


def _scan(descriptor: int, hidden: Collection[str], *, is_root: bool) -> str:
    """The digest of a directory as it is now; written for very many files."""
    stamps: dict[str, bytes] = {}
    directories: list[tuple[str, int]] = []
    others: list[tuple[str, int, int, str]] = []
    pack = STAMP.pack
    with os.scandir(descriptor) as items:
        for item in items:
            name = item.name
            if hidden and (f"{name}/" if item.is_dir(follow_symlinks=False) else name) in hidden:
                continue
            status = item.stat(follow_symlinks=False)
            mode = status.st_mode
            kind = mode & _TYPE_BITS
            if kind == _REGULAR:
                stamps[name] = pack(
                    status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & INODE_BITS, mode
                )
            elif kind == _DIRECTORY:
                directories.append((name, mode))
            elif kind != _SOCKET:
                link = os.readlink(name, dir_fd=descriptor) if kind == _LINK else ""
                others.append((name, mode, status.st_rdev, link))
    files = sorted(stamps)
    return folder_digest(
        "\0".join(files).encode("utf-8", "surrogateescape"),
        b"".join(map(stamps.__getitem__, files)),
        sorted(directories),
        sorted(others),
        () if is_root else image_xattrs(descriptor),
    )


def _stamp(status: os.stat_result) -> bytes:
    return STAMP.pack(
        status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & INODE_BITS, status.st_mode
    )
