"""Fixtures for what runs steps: the fake steps, a record of what they did, and a sink."""

import importlib.util
import sys
from pathlib import Path

import pytest


def _load(path):
    # Test folders are no packages; the stand-ins must be one module, because they register an op.
    if path.stem not in sys.modules:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)


_load(Path(__file__).parent / "run" / "stand_ins.py")
_load(Path(__file__).parent / "cache" / "cache_values.py")


@pytest.fixture
def journal():
    """An empty record of what the fake ops did."""
    import stand_ins

    stand_ins.journal.__init__()
    return stand_ins.journal


@pytest.fixture
def recorder():
    """A sink that keeps the events."""
    import stand_ins

    return stand_ins.Recorder()
