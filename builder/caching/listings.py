"""
Lists of the files that sources in build contexts selected, so that a later miss can name what differs.

One small file for each selection that a step began to run with, by the digest of the selection; the last
hundred are kept, and none of a selection of more than five thousand files. Losing them only makes
explanations vaguer.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress

from ..contexts.context import BuildContext
from ..contexts.folderrecord import STAMP
from ..contexts.selection import Selection
from ..ops import ContextSource, CopyFiles, Exec, Op

FOLDER = "listings"
MOST = 100
MOST_FILES = 5000
_LIMIT = 64 << 20


class Listings:
    """The lists below a state directory."""

    def __init__(self, state: str) -> None:
        self._folder = os.path.join(state, FOLDER)

    def remember(self, op: Op, contexts: Mapping[str, BuildContext]) -> None:
        """Keep the lists of everything that an op takes from build contexts (blocking); never an error."""
        for selection in _selections(op, contexts):
            count = sum(part.count + 1 for source in selection.sources for part in source.parts)
            path = self._path(str(selection.digest))
            if count > MOST_FILES or os.path.exists(path):
                continue
            with suppress(OSError):
                self._write(path, selection)

    def read(self, digest: str) -> dict[str, list[object]] | None:
        """Mode, and what else counts, of each entry of a selection by its path; None for unknown ones."""
        try:
            with open(self._path(digest), "rb") as file:
                unpacker = zlib.decompressobj()
                found = json.loads(unpacker.decompress(file.read(), _LIMIT))
        except (OSError, ValueError, zlib.error):
            return None
        return found if isinstance(found, dict) else None

    def _path(self, digest: str) -> str:
        return os.path.join(self._folder, digest.partition(":")[2])

    def _write(self, path: str, selection: Selection) -> None:
        value = {
            entry.path or ".": [entry.mode, entry.kind, entry.stamp[STAMP.size :][:8].hex() or entry.link]
            for entry in selection.entries()
        }
        os.makedirs(self._folder, exist_ok=True)
        temporary = os.path.join(self._folder, f".{os.getpid()}-{os.path.basename(path)}")
        try:
            with open(temporary, "wb") as file:
                file.write(zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 1))
            os.replace(temporary, path)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        paths = [os.path.join(self._folder, name) for name in os.listdir(self._folder)]
        if len(paths) <= MOST:
            return
        ages: list[tuple[float, str]] = []
        for path in paths:
            with suppress(FileNotFoundError):
                ages.append((os.stat(path).st_mtime, path))
        for _, path in sorted(ages)[:-MOST]:
            with suppress(FileNotFoundError):
                os.unlink(path)


def _selections(op: Op, contexts: Mapping[str, BuildContext]) -> Iterator[Selection]:
    """What was selected when the build was planned; it is not looked for once more."""
    if isinstance(op, CopyFiles):
        for source in op.sources:
            if isinstance(source, ContextSource) and source.context in contexts:
                context = contexts[source.context]
                yield context.select(source.pattern, exclude=op.exclude, parents=op.parents)
    elif isinstance(op, Exec):
        for mount in op.mounts:
            if mount.context_digest is not None and mount.context is not None and mount.context in contexts:
                yield contexts[mount.context].select(mount.source)
