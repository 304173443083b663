"""Every kind of storage that a registry has, as the contract suites open it."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from obstore.store import MemoryStore as ObjectsInMemory

from registry.server.store.bucket import Bucket
from registry.server.store.bucket_opening import BucketSettings, open_bucket
from registry.server.store.bucket_store import BucketStore
from registry.server.store.filesystem import FilesystemStore
from registry.server.store.memory import MemoryStore
from tests.contract.s3 import create_bucket

KINDS = ("memory", "filesystem", "bucket", "s3")


@dataclass(frozen=True)
class Place:
    """Where content is: `open` may be called again after `close`."""

    open: Callable
    lose_index: Callable = lambda: None


def new_bucket(service: str, path: Path) -> tuple[str, BucketSettings]:
    """A new bucket of a service on the loopback address: its URL and how it is reached."""
    name = f"b{uuid.uuid4().hex}"
    create_bucket(service, name)
    credentials = path / "credentials"
    credentials.write_text("[default]\naws_access_key_id = key\naws_secret_access_key = hidden\n")
    settings = BucketSettings(endpoint=service, region="us-east-1", credentials=str(credentials))
    return f"s3://{name}/a/prefix", settings


def place(kind: str, path: Path, service: Callable[[], str] = lambda: "") -> Place:
    """An empty storage of the kind; `service` says where S3 is."""
    if kind == "memory":
        return Place(MemoryStore)
    if kind == "filesystem":
        root = str(path / "root")
        return Place(
            lambda clock=time.monotonic, wall=time.time: FilesystemStore(root, clock, wall),
            (path / "root" / "index.db").unlink,
        )
    if kind == "bucket":
        objects, url = Bucket(ObjectsInMemory()), "objects in memory"
    else:
        url, settings = new_bucket(service(), path)
        objects = open_bucket(url, settings)
    state = str(path / "state")

    def reopen(clock=time.monotonic, wall=time.time, **more):
        return BucketStore(objects, url, state, clock=clock, wall=wall, **more)

    return Place(reopen, (path / "state" / "index.db").unlink)
