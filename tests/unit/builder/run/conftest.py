"""Fixtures for running builds."""

import pytest


@pytest.fixture
def bench(tmp_path):
    """A store, a context, and short ways to copy."""
    import stand_ins

    made = stand_ins.Bench(tmp_path)
    yield made
    made.close()
