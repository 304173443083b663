"""The storages that the distribution API is tested over: one more is one more line here."""

import time

import pytest

from registry.server.admin import failure
from registry.server.app import create_app
from registry.server.belongings import Belongings
from registry.server.config import RegistryConfig
from registry.server.control import ControlServer
from registry.server.store.filesystem import FilesystemStore
from registry.server.workers.link import Link
from registry.server.workers.operations import OtherWorkers, StoreOperations, Workers
from registry.server.workers.region import Region
from registry.server.workers.sharing import SharedMetadata, SharedSwitches
from registry.server.workers.store import WorkerStore
from registry.server.workers.uploads import Claims, SharedUploads
from tests.contract.storages import place


@pytest.fixture(params=["memory", "filesystem", "bucket"])
def store(request, tmp_path):
    made = place(request.param, tmp_path).open()
    yield made
    made.close()


@pytest.fixture
def worker(tmp_path):
    """A worker's storage and belongings, with the leading process in the same process."""
    root = str(tmp_path / "root")
    leading = FilesystemStore(root)
    region, claims, link = Region.create(), Claims(root), Link(root)
    shared = {"region": region, "claims": claims}
    leading.leases.others = OtherWorkers(region)
    leading.uploads = SharedUploads(
        leading.layout.uploads, leading.blobs.adopt, time.monotonic, slot=0, **shared
    )
    changes = StoreOperations(leading, Workers(region, leading), (), None, lambda: None)
    server = ControlServer(root, changes.operations, failure)
    server.start()
    made = WorkerStore(root, leading.clock, slot=1, link=link, **shared)
    switches = SharedSwitches(region)
    yield (
        made,
        Belongings(metadata=SharedMetadata(region), switches=switches, claims=claims, owns_directory=False),
    )
    made.close()
    server.stop()
    leading.close()
    claims.close()
    region.close()


@pytest.fixture(params=["memory", "filesystem", "bucket", "worker"])
async def client(request, aiohttp_client, tmp_path):
    if request.param == "worker":
        storage, belongings = request.getfixturevalue("worker")
        yield await aiohttp_client(create_app(RegistryConfig(), storage, belongings=belongings))
        return
    storage = place(request.param, tmp_path).open()
    yield await aiohttp_client(create_app(RegistryConfig(), storage))
    storage.close()
