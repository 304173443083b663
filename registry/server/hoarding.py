"""
Who opened which uploads, so that nobody takes the place of everybody else.

Invariants: a user counts by name wherever the requests come from, an anonymous caller by address; an upload
counts until it ends, whoever ends it; after a restart the uploads of before count for nobody; only the
event loop touches the record. With every upload two older ones are looked at, so the record has at most
about twice as many rows (0.4 KiB each) as there are uploads.
"""

from __future__ import annotations

from collections import deque

from ..errors import ApiError
from ..protocol.errors import ErrorCode
from .store.base import UploadAccess

_LOOKED_AT = 2
_RETRY_SECONDS = "60"

_Item = tuple[str, str]


class OpenUploads:
    """
    The uploads that each caller opened.

    Args:
        uploads: says which of them go on.
        limit: how many a caller may have.
        total: how many there may be.
    """

    def __init__(self, uploads: UploadAccess, *, limit: int, total: int) -> None:
        self._uploads = uploads
        self._limit = limit
        self._total = total
        self._owned: dict[str, set[_Item]] = {}
        self._order: deque[tuple[str, _Item]] = deque()

    def check(self, owner: str) -> None:
        """
        Refuse another upload to a caller who has enough of them, or to everybody when there are too many.

        Raises:
            ApiError: TOOMANYREQUESTS, with ``Retry-After``.
        """
        if self._uploads.count() >= self._total:
            raise _too_many("too many uploads are in progress")
        if len(self._owned.get(owner, ())) >= self._limit and self._refresh(owner) >= self._limit:
            raise _too_many("you have too many uploads in progress; finish or cancel some")

    def add(self, owner: str, repository: str, identifier: str) -> None:
        """Note a new upload."""
        for _ in range(min(_LOOKED_AT, len(self._order))):
            self._look_at(*self._order.popleft())
        item = (repository, identifier)
        self._owned.setdefault(owner, set()).add(item)
        self._order.append((owner, item))

    def _look_at(self, owner: str, item: _Item) -> None:
        """Keep an upload that goes on; forget one that has ended."""
        items = self._owned.get(owner, set())
        if item not in items:
            return
        if self._uploads.find(*item) is not None:
            self._order.append((owner, item))
            return
        items.discard(item)
        if not items:
            del self._owned[owner]

    def _refresh(self, owner: str) -> int:
        """Forget what has ended; how many are left."""
        left = {item for item in self._owned[owner] if self._uploads.find(*item) is not None}
        if left:
            self._owned[owner] = left
        else:
            del self._owned[owner]
        return len(left)

    def __len__(self) -> int:
        return len(self._order)


def _too_many(message: str) -> ApiError:
    return ApiError(ErrorCode.TOOMANYREQUESTS, message=message, headers={"Retry-After": _RETRY_SECONDS})
