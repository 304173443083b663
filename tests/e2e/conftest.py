"""Fixtures of the end-to-end tests."""

import os
from pathlib import Path

import pytest

from tests.e2e.support import Pybuild, make_base, missing, start_registry


@pytest.fixture
def pybuild(tmp_path):
    """The command line over a store of the test's own."""
    return Pybuild(tmp_path / "store")


@pytest.fixture(scope="session")
def archives(tmp_path_factory):
    """The folder that keeps the archives of base images for all tests of a run."""
    if folder := os.environ.get("PYBUILD_TEST_BASES"):
        return Path(folder)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return tmp_path_factory.mktemp("bases")
    bases = tmp_path_factory.getbasetemp().parent / "bases"  # of all processes of this run
    bases.mkdir(exist_ok=True)
    return bases


@pytest.fixture
def busybox(pybuild, archives):
    """The store holds busybox:latest."""
    make_base("busybox", pybuild, archives)
    return pybuild


@pytest.fixture
def as_root():
    """The test needs root."""
    if os.geteuid() != 0:
        missing("root", "not root")


@pytest.fixture
def registry(tmp_path):
    """Our registry, empty."""
    server = start_registry(tmp_path / "registry")
    yield server
    server.stop()
    server.process.stderr.close()
