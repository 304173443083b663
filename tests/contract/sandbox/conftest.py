"""What the tests of sandboxes share: a machine that can, a laboratory, one Linux sandbox per module."""

import os
from collections.abc import Callable, Iterator
from functools import partial
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
def on_demand(machine: None) -> Iterator[LinuxSandbox]:
    """Sandboxes whose child is made when it is needed."""
    with LinuxSandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def ahead(machine: None) -> Iterator[LinuxSandbox]:
    """Sandboxes whose child was made while the one before ran."""
    with LinuxSandbox(ahead=True) as sandbox:
        yield sandbox


@pytest.fixture(params=["on_demand", "ahead"])
def linux(request: pytest.FixtureRequest) -> LinuxSandbox:
    return request.getfixturevalue(request.param)


@pytest.fixture(params=[False, True], ids=["on_demand", "ahead"])
def brief(request: pytest.FixtureRequest, machine: None) -> Callable[[], LinuxSandbox]:
    """Makes sandboxes for a test that looks at what is left when they are closed."""
    return partial(LinuxSandbox, ahead=request.param)


@pytest.fixture(params=["on_demand", "ahead", "none"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    return NoSandbox() if request.param == "none" else request.getfixturevalue(request.param)
