"""
Fixtures for pytest: a registry for one test, one for all tests of a run, and registries made to order.

Invariant: a run that asks for none of them loads nothing of the registry. pytest finds the plugin by its
entry point ``pybuild``; ``-p no:pybuild`` leaves it out. Governing source: pytest, "Writing plugins".
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .server.embedded import Registry


@pytest.fixture
def pybuild_registry(pybuild_registry_factory: Callable[..., Registry]) -> Registry:
    """A registry for this test: empty, in memory, open to everybody; see its `url` and `host`."""
    return pybuild_registry_factory()


@pytest.fixture(scope="session")
def pybuild_registry_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry for all tests of the run, which share its content."""
    with _starting(tmp_path_factory) as start:
        yield start()


@pytest.fixture
def pybuild_registry_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Registry]]:
    """
    Starts registries that end with the test.

    Called with ``users={name: password}``, ``anonymous_pull=True``, ``tls=True``, ``root=PATH`` and fields of
    `registry.server.config.RegistryConfig`.
    """
    with _starting(tmp_path_factory) as start:
        yield start


@contextlib.contextmanager
def _starting(directories: pytest.TempPathFactory) -> Iterator[Callable[..., Registry]]:
    from .testing import make_registry

    with contextlib.ExitStack() as running:

        def start(**settings: Any) -> Registry:
            registry = make_registry(str(directories.mktemp("registry")), **settings)
            running.enter_context(registry)
            return registry

        yield start
