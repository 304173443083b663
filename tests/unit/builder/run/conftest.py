"""Fixtures for running builds."""

import importlib.util
import sys
from pathlib import Path

import pytest


def _load(name):
    # Test folders are no packages; the stand-ins must be one module, because they register an op.
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


_load("stand_ins")


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


@pytest.fixture
def bench(tmp_path):
    """A store, a context, and short ways to copy."""
    import stand_ins

    made = stand_ins.Bench(tmp_path)
    yield made
    made.close()
