"""What the contract suites of the stores run on: one more backend is one more line here."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from builder.limit import CacheLimit, LimitedBlobStore
from builder.local import LocalStore
from oci_image.store.base import AgedBlobStore, TagStore
from oci_image.store.layout import LayoutBlobStore, LayoutTagStore
from oci_image.store.memory import MemoryBlobStore, MemoryTagStore
from tests.contract.s3 import s3_service

REPOSITORY = Path(__file__).resolve().parents[2]

BLOB_STORES: dict[str, Callable[[Path], AgedBlobStore]] = {
    "memory": lambda _: MemoryBlobStore(),
    "layout": lambda path: LayoutBlobStore(path, durable=False),
    "durable-layout": lambda path: LayoutBlobStore(path, durable=True),
    "limited-layout": lambda path: LimitedBlobStore(
        path, CacheLimit(LocalStore(str(path)), 1 << 30), durable=False
    ),
}
TAG_STORES: dict[str, Callable[[Path], TagStore]] = {
    "memory": lambda _: MemoryTagStore(),
    "layout": LayoutTagStore,
}


@pytest.fixture(params=BLOB_STORES)
def blob_store(request: pytest.FixtureRequest, tmp_path: Path) -> AgedBlobStore:
    """An empty blob store of each kind."""
    return BLOB_STORES[request.param](tmp_path / "store")


@pytest.fixture(params=TAG_STORES)
def tag_store(request: pytest.FixtureRequest, tmp_path: Path) -> TagStore:
    """An empty tag store of each kind."""
    return TAG_STORES[request.param](tmp_path / "store")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long forms alone unless ``-m`` names them."""
    if "long" in config.option.markexpr:
        return
    long = [item for item in items if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if not item.get_closest_marker("long")]


@pytest.fixture
def run_python() -> Callable[..., subprocess.Popen[str]]:
    """Starts a program with the project's packages in another process."""

    def start(program: str, *arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="session")
def bucket_service() -> Iterator[Callable[[], str]]:
    """Starts an S3 service of its own on the loopback address when it is asked for the first time."""
    with ExitStack() as stack:
        yield functools.cache(lambda: stack.enter_context(s3_service()))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of one MiB."""
    place = tmp_path / "tiny"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        if "userns" in os.environ.get("PYBUILD_REQUIRE", "").split(","):
            pytest.fail(f"cannot mount a small filesystem: {mounted.stderr!r}")
        pytest.skip("mounting a small filesystem needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
