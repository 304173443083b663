"""
Who opened which uploads, so that nobody takes the place of everybody else.

Invariants: a user counts by name wherever the requests come from, an anonymous caller by address; an upload
counts until it ends, whoever ends it; after a restart the uploads of before count for nobody; only the event
loop touches the record, and its memory is bounded by the uploads that there are.
"""

from __future__ import annotations

from ..errors import ApiError
from ..protocol.errors import ErrorCode
from .store.base import UploadAccess

_OWNERS_LIMIT = 10_000
_RETRY_SECONDS = "60"


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
        self._owned: dict[str, set[tuple[str, str]]] = {}

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
        if len(self._owned) >= _OWNERS_LIMIT:
            for known in list(self._owned):
                self._refresh(known)
        self._owned.setdefault(owner, set()).add((repository, identifier))

    def _refresh(self, owner: str) -> int:
        """Forget what has ended; how many are left."""
        left = {item for item in self._owned[owner] if self._uploads.find(*item) is not None}
        if left:
            self._owned[owner] = left
        else:
            del self._owned[owner]
        return len(left)


def _too_many(message: str) -> ApiError:
    return ApiError(ErrorCode.TOOMANYREQUESTS, message=message, headers={"Retry-After": _RETRY_SECONDS})
