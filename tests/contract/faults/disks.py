"""
A disk that forgets: what a tree would hold if the power failed after each change of it.

A file keeps the bytes it had when it was flushed, a directory the names it had then. With ``eager`` the
names are on the disk at once and only bytes are forgotten, as journaling file systems may do. Governing
sources: fsync(2), rename(2).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field


@dataclass(eq=False)
class File:
    """The bytes of one file, now and on the disk."""

    data: bytearray = field(default_factory=bytearray)
    flushed: bytes = b""


class ForgettingDisk:
    """Follows the calls of the operating system below a root; `install` puts it between."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.names: dict[str, File | None] = {}  # None is a directory
        self.flushed: dict[str, File | None] = {}
        self.open: dict[int, tuple[str, File | None]] = {}
        self.states: list[tuple[dict[str, tuple[str, bytes]], dict[str, tuple[str, bytes]]]] = []

    def _note(self) -> None:
        def shown(names):
            return {
                path: ("directory", b"") if file is None else ("file", file.flushed)
                for path, file in names.items()
            }

        self.states.append((shown(self.flushed), shown(self.names)))

    def _is_ours(self, path: object) -> bool:
        return isinstance(path, str) and path.startswith(self.root + "/")

    def install(self, monkeypatch) -> None:
        real = {
            name: getattr(os, name)
            for name in (
                *("open", "close", "write", "writev", "fsync", "ftruncate"),
                *("rename", "link", "unlink", "mkdir", "rmdir"),
            )
        }

        def opened(path, flags, mode=0o777, *args, **kwargs):
            descriptor = real["open"](path, flags, mode, *args, **kwargs)
            if path == self.root or self._is_ours(path):
                if flags & os.O_CREAT and path not in self.names:
                    self.names[path] = File()
                    self._note()
                self.open[descriptor] = (path, self.names.get(path))
            return descriptor

        def close(descriptor):
            self.open.pop(descriptor, None)
            real["close"](descriptor)

        def written(descriptor, data):
            count = real["write"](descriptor, data)
            self._append(descriptor, bytes(data)[:count])
            return count

        def written_many(descriptor, parts):
            count = real["writev"](descriptor, parts)
            self._append(descriptor, b"".join(parts)[:count])
            return count

        def truncated(descriptor, size):
            real["ftruncate"](descriptor, size)
            if descriptor in self.open:
                del self.open[descriptor][1].data[size:]
                self._note()

        def flushed(descriptor):
            real["fsync"](descriptor)
            if descriptor in self.open:
                self._flush(*self.open[descriptor])

        def renamed(old, new):
            real["rename"](old, new)
            if self._is_ours(old) and self.names.get(old) is not self.names.get(new):
                self.names[new] = self.names.pop(old)
                self._note()

        def linked(old, new, **kwargs):
            real["link"](old, new, **kwargs)
            if self._is_ours(new):
                self.names[new] = self.names[old]
                self._note()

        def removed(path):
            real["unlink"](path)
            if self._is_ours(path):
                self.names.pop(path, None)
                self._note()

        def made(path, mode=0o777):
            real["mkdir"](path, mode)
            if self._is_ours(path):
                self.names[path] = None
                self._note()

        def unmade(path, **kwargs):
            real["rmdir"](path, **kwargs)
            if self._is_ours(path):
                self.names.pop(path, None)
                self._note()

        for name, function in (
            *(("open", opened), ("close", close), ("write", written), ("writev", written_many)),
            *(("ftruncate", truncated), ("fsync", flushed), ("rename", renamed), ("link", linked)),
            *(("unlink", removed), ("mkdir", made), ("rmdir", unmade)),
        ):
            monkeypatch.setattr(os, name, function)

    def _append(self, descriptor: int, data: bytes) -> None:
        if descriptor in self.open and self.open[descriptor][1] is not None:
            self.open[descriptor][1].data += data

    def _flush(self, path: str, file: File | None) -> None:
        if file is not None:
            file.flushed = bytes(file.data)
        else:
            inside = {name for name in (*self.names, *self.flushed) if os.path.dirname(name) == path}
            for name in inside:
                if name in self.names:
                    self.flushed[name] = self.names[name]
                else:
                    self.flushed.pop(name, None)
        self._note()

    def restore(self, number: int, target: str, *, eager: bool) -> None:
        """Make a directory as the disk was after the change of this number."""
        names = self.states[number][eager]
        os.makedirs(target)
        there = {""}
        for path in sorted(names):
            relative = path[len(self.root) + 1 :]
            kind, data = names[path]
            if os.path.dirname(relative) not in there:
                continue  # a name in a directory that is not on the disk itself
            if kind == "directory":
                os.mkdir(f"{target}/{relative}")
                there.add(relative)
            else:
                with open(f"{target}/{relative}", "wb") as file:
                    file.write(data)
