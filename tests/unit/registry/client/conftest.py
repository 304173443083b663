"""A scripted registry and a patient-in-milliseconds transport for the tests of the registry client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from registry.client.client import RegistryClient
from registry.client.retry import RetryPolicy
from registry.client.scripted import ScriptedRegistry
from registry.client.session import TransportOptions
from registry.client.transport import Transport

QUICK = TransportOptions(
    retry=RetryPolicy(attempts=4, first_delay=0.001, longest_delay=0.05),
    connect_timeout=5,
    stall_timeout=0.3,
)


@pytest.fixture
def quick_options() -> TransportOptions:
    """Options that wait for milliseconds."""
    return QUICK


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedRegistry]:
    """A registry that answers what the test tells it to."""
    async with ScriptedRegistry() as registry:
        yield registry


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    """An anonymous transport."""
    async with Transport(QUICK) as opened:
        yield opened


@pytest.fixture
def client(scripted: ScriptedRegistry, transport: Transport) -> RegistryClient:
    """A client of the scripted registry."""
    return RegistryClient(transport, scripted.name)
