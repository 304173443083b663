"""Fixtures for tests of what the server verifies."""

import pytest

from registry.server import proving


@pytest.fixture
def hashed(monkeypatch):
    """The sizes of the blocks that pulls put into digests."""
    sizes = []

    class Counting(proving.Hasher):
        def update(self, data):
            sizes.append(len(data))
            super().update(data)

    monkeypatch.setattr(proving, "Hasher", Counting)
    return sizes
