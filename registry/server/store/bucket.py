"""
Objects of a bucket: the one door to obstore, with its errors in the words of the registry.

Invariants: an object appears with all of its bytes or not at all; a failure that trying again may mend is a
`StorageUnavailable`, which carries no credential and whose message carries no address; memory per transfer is
bounded by parts that are sent at once. Governing source: https://developmentseed.org/obstore
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from ...errors import StorageUnavailable

if TYPE_CHECKING:
    from obstore import GetOptions, PutMode
    from obstore.store import ObjectStore

PART = 8 * 1024 * 1024
"""Bytes of a part of a large object; S3 takes at least 5 MiB, and at most 10,000 parts."""

_MOST_PARTS = 10_000
_AT_ONCE = 2  # parts in memory: beside the one that is read, these are on their way
_PAGE = 1000
_LINKING = ("s3", "gs", "az")
_REASON_LENGTH = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    What a bucket says about an object.

    Attributes:
        key: its name below the prefix of the registry.
        size: bytes.
        version: what tells one content of the key from another one.
        generation: the same in a store that numbers contents; empty elsewhere.
        modified: when it was written, in seconds since the epoch.
    """

    key: str
    size: int
    version: str
    generation: str = ""
    modified: float


@contextmanager
def bucket_errors() -> Iterator[None]:
    """
    Turn errors of the client library into those of the registry.

    Raises:
        StorageUnavailable: any of them but the absence of an object.
    """
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as problem:
        # The cause is not kept: what a library prints of a request is not ours to log.
        lines = str(problem).splitlines() or [type(problem).__name__]
        raise StorageUnavailable(lines[0][:_REASON_LENGTH]) from None


class Bucket:
    """
    The part of a bucket that belongs to one registry.

    Args:
        store: of obstore, which adds the prefix of the registry to all keys.
        kind: scheme of its URL.
    """

    def __init__(self, store: ObjectStore, kind: str = "") -> None:
        self._store = store
        self._kind = kind

    def head(self, key: str) -> Entry | None:
        """What there is under the key; None for nothing."""
        try:
            with bucket_errors():
                return _entry(self._store.head(key))
        except FileNotFoundError:
            return None

    def read(self, key: str) -> tuple[bytes, Entry] | None:
        """The bytes under the key, which are few; None for nothing."""
        try:
            with bucket_errors():
                result = self._store.get(key)
                return bytes(result.bytes()), _entry(result.meta)
        except FileNotFoundError:
            return None

    def stream(self, key: str, start: int, version: str, batch: int) -> Iterator[bytes]:
        """
        The bytes from an offset on, piece by piece.

        Raises:
            StorageUnavailable: the object is gone, has another version, or the connection broke.
        """
        try:
            with bucket_errors():
                options: GetOptions = {"range": {"offset": start}, "if_match": version}
                pieces = iter(self._store.get(key, options=options).stream(min_chunk_size=batch))
            while True:
                with bucket_errors():
                    piece = next(pieces, None)
                if piece is None:
                    return
                yield bytes(piece)
        except FileNotFoundError:
            raise StorageUnavailable("an object went away while it was read") from None

    def write(self, key: str, data: bytes) -> None:
        """Let the key hold the bytes."""
        self._put(key, data, None)

    def exchange(self, key: str, data: bytes, current: Entry | None) -> bool:
        """
        Let the key hold the bytes if it still holds what it did; None for nothing.

        A bucket that knows no conditions writes without one.

        Returns:
            False when somebody else was faster; nothing was written.
        """
        from obstore.exceptions import AlreadyExistsError, NotSupportedError, PreconditionError

        mode: PutMode = "create"
        if current is not None:
            mode = {"e_tag": current.version}
            if current.generation:
                mode["version"] = current.generation
        try:
            self._put(key, data, mode)
        except (AlreadyExistsError, PreconditionError):
            return False
        except (NotSupportedError, NotImplementedError):
            self.write(key, data)
        return True

    def _put(self, key: str, data: bytes, mode: PutMode | None) -> None:
        from obstore.exceptions import AlreadyExistsError, NotSupportedError, PreconditionError

        refusals = (AlreadyExistsError, PreconditionError, NotSupportedError)
        refusal = None
        with bucket_errors():
            try:
                self._store.put(key, data, mode=mode, use_multipart=False)
            except refusals as problem:
                if mode is None:
                    raise
                refusal = problem
        if refusal is not None:
            raise refusal

    def write_blocks(self, key: str, blocks: Iterator[bytes], size: int) -> None:
        """Let the key hold so many bytes, of which few are in memory; an error of `blocks` leaves nothing."""
        part = max(PART, -(-size // (_MOST_PARTS - 1)))
        if size <= part:
            self._put(key, b"".join(blocks), None)
            return
        with bucket_errors():
            self._store.put(
                key, _whole(blocks), use_multipart=True, chunk_size=part, max_concurrency=_AT_ONCE
            )

    def remove(self, key: str) -> None:
        """Remove what is under the key; a no-op for nothing."""
        with suppress(FileNotFoundError), bucket_errors():
            self._store.delete(key)

    def move(self, source: str, target: str) -> None:
        """Copy within the bucket, then remove the source; a no-op when there is none."""
        with suppress(FileNotFoundError):
            with bucket_errors():
                self._store.copy(source, target)
            self.remove(source)

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Everything below the prefix, which ends where a component does."""
        pages = iter(self._store.list(prefix, chunk_size=_PAGE))
        while True:
            with bucket_errors():
                page = next(pages, None)
            if page is None:
                return
            for item in page:
                yield _entry(item)

    def has_any(self, prefix: str) -> bool:
        """Whether there is something below the prefix."""
        return next(itertools.islice(self.entries(prefix), 1), None) is not None

    def link(self, key: str, seconds: float) -> str:
        """A URL that lets everybody read the object for a while; empty where the store makes none."""
        if self._kind not in _LINKING:
            return ""
        from obstore import sign

        with bucket_errors():
            # The check above leaves the stores that can sign.
            return sign(self._store, "GET", key, timedelta(seconds=seconds))  # type: ignore[call-overload, no-any-return]


def _entry(meta: object) -> Entry:
    found: dict[str, object] = meta  # type: ignore[assignment]  # a TypedDict that only exists in stubs
    modified = found["last_modified"]
    return Entry(
        key=str(found["path"]),
        size=int(str(found["size"])),
        version=str(found["e_tag"] or ""),
        generation=str(found["version"] or ""),
        modified=modified.timestamp() if hasattr(modified, "timestamp") else 0.0,
    )


def _whole(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The blocks without empty ones, which would be taken for the end."""
    return (block for block in blocks if block)
