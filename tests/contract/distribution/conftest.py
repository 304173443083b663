"""The storages that the distribution API is tested over: one more is one more line here."""

import pytest

from registry.server.app import create_app
from registry.server.config import RegistryConfig
from registry.server.store.filesystem import FilesystemStore
from registry.server.store.memory import MemoryStore


@pytest.fixture(params=["memory", "filesystem"])
def store(request, tmp_path):
    made = MemoryStore() if request.param == "memory" else FilesystemStore(str(tmp_path / "root"))
    yield made
    made.close()


@pytest.fixture
async def client(aiohttp_client, store):
    return await aiohttp_client(create_app(RegistryConfig(), store))
