"""A mirror in front of a registry that does what a test wants, over each storage."""

import pytest

from registry.server.app import create_app
from registry.server.config import RegistryConfig
from registry.server.mirror.settings import Mirror
from registry.server.store.filesystem import FilesystemStore
from registry.upstreams import upstreams
from tests.contract.mirror.farside import FarSide
from tests.contract.storages import place


@pytest.fixture
async def far(aiohttp_server):
    side = FarSide()
    side.server = await aiohttp_server(side.app())
    return side


KINDS = ("memory", "filesystem", "bucket")


def pytest_generate_tests(metafunc):
    """Every storage for what is stored; one is enough for what is remembered."""
    chosen = any(mark.args[0] == "store" for mark in metafunc.definition.iter_markers("parametrize"))
    if "store" in metafunc.fixturenames and not chosen:
        kinds = ("filesystem",) if "freshness" in metafunc.module.__name__ else KINDS
        metafunc.parametrize("store", kinds, indirect=True)


@pytest.fixture
def store(request, tmp_path):
    made = place(request.param, tmp_path).open()
    yield made
    made.close()


@pytest.fixture
def start(aiohttp_client, far, store, tmp_path):
    """Starts a mirror `docker.io` of the far side; `server` has settings of the whole registry."""

    async def begin(environment=None, server=None, **settings):
        mirror = Mirror(**({"prefix": "docker.io", "upstream": far.url, "tag_ttl": 300.0} | settings))
        root = store.layout.root if isinstance(store, FilesystemStore) else ""
        config = RegistryConfig(root=root, mirrors=(mirror,), **(server or {}))
        return await aiohttp_client(create_app(config, store, upstreams=upstreams(environment or {})))

    return begin
