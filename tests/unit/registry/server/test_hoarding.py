"""Uploads in progress by who opened them."""

import pytest

from registry.errors import ApiError
from registry.server.hoarding import OpenUploads
from registry.server.store.memory import MemoryStore


@pytest.fixture
def uploads():
    return MemoryStore().uploads


def start(opened, uploads, owner):
    opened.check(owner)
    upload = uploads.create("a")
    opened.add(owner, "a", upload.identifier)
    return upload


def test_a_caller_has_a_limit(uploads):
    """Of its own; what ended makes room, whoever ended it."""
    opened = OpenUploads(uploads, limit=2, total=10)
    first = start(opened, uploads, "ann")
    start(opened, uploads, "ann")
    with pytest.raises(ApiError) as refused:
        start(opened, uploads, "ann")
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "60")
    start(opened, uploads, "bob")
    first.discard()
    start(opened, uploads, "ann")
    with pytest.raises(ApiError):
        start(opened, uploads, "ann")


def test_all_callers_together_have_a_limit(uploads):
    """Also when each has few."""
    opened = OpenUploads(uploads, limit=2, total=3)
    for owner in ("ann", "bob", "carl"):
        start(opened, uploads, owner)
    with pytest.raises(ApiError) as refused:
        start(opened, uploads, "dora")
    assert "too many uploads are in progress" in refused.value.message


def test_memory_follows_the_uploads(uploads):
    """Callers and uploads that ended are forgotten as others come."""
    opened = OpenUploads(uploads, limit=1000, total=1000)
    kept = [start(opened, uploads, f"keeper{number}") for number in range(10)]
    for number in range(500):
        start(opened, uploads, f"user{number % 7}").discard()
        start(opened, uploads, f"guest{number}").discard()
    assert len(opened) <= 2 * len(kept) + 2
    assert len(opened._owned) <= 2 * len(kept) + 2
    assert sum(map(len, opened._owned.values())) <= len(opened)


def test_uploads_that_go_on_are_not_forgotten(uploads):
    """However many others came since."""
    opened = OpenUploads(uploads, limit=2, total=1000)
    start(opened, uploads, "ann")
    start(opened, uploads, "ann")
    for number in range(300):
        start(opened, uploads, f"guest{number}").discard()
    with pytest.raises(ApiError):
        start(opened, uploads, "ann")
