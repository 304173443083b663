"""What the tests of sandboxes share: a machine that can, a laboratory, one Linux sandbox per module."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.probe import can_sandbox
from runtime.recording import NoSandbox
from runtime.sandbox import LinuxSandbox, Sandbox
from tests.contract.sandbox.lab import BUSYBOX, ROOT, Lab, need


@pytest.fixture(scope="module")
def machine() -> None:
    need(os.path.exists(BUSYBOX), "busybox is not installed")
    need(ROOT, "these run as root; test_ordinary_user covers the other case")
    ability = can_sandbox()
    need(ability.ok, f"{ability.name}: {ability.detail} ({ability.remedy})")


@pytest.fixture
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    request.getfixturevalue("machine")
    return Lab(tmp_path)


@pytest.fixture(scope="module")
def linux(request: pytest.FixtureRequest) -> Iterator[LinuxSandbox]:
    request.getfixturevalue("machine")
    with LinuxSandbox() as sandbox:
        yield sandbox


@pytest.fixture(params=["linux", "none"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    return NoSandbox() if request.param == "none" else request.getfixturevalue("linux")
