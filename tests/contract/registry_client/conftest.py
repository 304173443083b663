"""A registry of each kind, a client of it, and two machines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from registry.client.client import RegistryClient
from registry.client.transport import Transport
from tests.contract.registry_client.machines import PEERS, Machine, docker_registry, own_registry


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The name of an open registry of each kind."""
    if request.param == "docker-registry":
        with docker_registry(tmp_path) as name:
            yield name
    else:
        with own_registry(tmp_path, root=request.param == "own-disk") as name:
            yield name


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    async with Transport() as opened:
        yield opened


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    yield made
    made.notes.close()


@pytest.fixture
def other() -> Iterator[Machine]:
    made = Machine()
    yield made
    made.notes.close()


@pytest.fixture
def client(peer: str, transport: Transport) -> RegistryClient:
    return RegistryClient(transport, peer)
