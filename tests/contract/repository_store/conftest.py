"""The storages that the contract is tested over: one more is one more line in `tests.contract.storages`."""

import pytest

from tests.contract.repository_store.storing import Clock
from tests.contract.storages import KINDS, place


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=KINDS)
def store(request, tmp_path, clock, bucket_service):
    made = place(request.param, tmp_path, bucket_service).open(clock)
    yield made
    made.close()


@pytest.fixture
def opened_by_kind(bucket_service):
    return lambda kind, path: place(kind, path, bucket_service)
