"""Bounds on memory, processes and processors."""

# The event loop has nothing else to do while a test looks at files.
# ruff: noqa: ASYNC240

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.errors import SandboxError
from runtime.sandbox import LinuxSandbox
from runtime.spec import Limits, Ulimit
from tests.contract.sandbox.lab import Lab, own_groups, shell

pytestmark = pytest.mark.userns


async def test_memory_limit(linux: LinuxSandbox, lab: Lab) -> None:
    """A program that takes more memory than allowed is killed, and the status says so."""
    limits = Limits(memory=32 << 20, memory_swap=32 << 20)
    result = await shell(linux, lab, "dd if=/dev/zero of=/dev/null bs=120M count=1", limits=limits)
    assert result.status.oom_killed
    assert not result.status.ok


async def test_process_limit(linux: LinuxSandbox, lab: Lab) -> None:
    """A fork bomb ends at the bound."""
    result = await shell(
        linux, lab, "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait", limits=Limits(pids=4)
    )
    assert "an't fork" in result.err


async def test_processor_limits(linux: LinuxSandbox, lab: Lab) -> None:
    """Quota, weight and set are taken, and visible to the program where version 1 shows them."""
    limits = Limits(cpus=0.5, cpu_shares=512, cpuset_cpus="0")
    result = await shell(linux, lab, "grep Cpus_allowed_list /proc/self/status", limits=limits)
    assert result.out.split()[1] == "0"


async def test_limits_leave_no_groups(brief: Callable[[], LinuxSandbox], lab: Lab) -> None:
    """After the run no control group of ours is left."""
    before = own_groups()
    with brief() as linux:
        await shell(linux, lab, "true", limits=Limits(memory=64 << 20, pids=10, cpus=1.0))
    assert own_groups() <= before


async def test_bounds_of_a_parent(brief: Callable[[], LinuxSandbox], lab: Lab) -> None:
    """The bounds of the group that was asked for hold for the sandbox, which leaves nothing in it."""
    name = f"pybuild-test-{os.getpid()}"
    parent = Path("/sys/fs/cgroup/memory", name)
    if not os.access("/sys/fs/cgroup/memory", os.W_OK):
        pytest.skip("there is no version 1 memory controller that may be written")
    parent.mkdir()
    try:
        parent.joinpath("memory.limit_in_bytes").write_text(str(32 << 20))
        limits = Limits(parent=name)
        with brief() as linux:
            result = await shell(linux, lab, "dd if=/dev/zero of=/dev/null bs=120M count=1", limits=limits)
            assert not result.status.ok
            assert result.status.oom_killed
            result = await shell(linux, lab, "cat /proc/self/cgroup", limits=limits)
        assert f":memory:/{name}/pybuild/{os.getpid()}-" in result.out
        assert [path for path in parent.joinpath("pybuild").iterdir() if path.is_dir()] == []
    finally:
        for place in Path("/sys/fs/cgroup").glob(f"*/{name}"):
            place.joinpath("pybuild").rmdir()
            place.rmdir()


async def test_ulimits_and_shm(linux: LinuxSandbox, lab: Lab) -> None:
    """Resource limits and the size of /dev/shm are as asked."""
    limits = Limits(ulimits=(Ulimit("nofile", 77, 99),), shm_size=1 << 20)
    result = await shell(linux, lab, "ulimit -n; ulimit -Hn; grep shm /proc/mounts", limits=limits)
    assert result.out.split()[:2] == ["77", "99"]
    assert "size=1024k" in result.out


async def test_unknown_ulimit(linux: LinuxSandbox, lab: Lab) -> None:
    """A limit nobody knows is an error, not ignored."""
    with pytest.raises(SandboxError, match="unknown ulimit 'nofiles'"):
        await shell(linux, lab, "true", limits=Limits(ulimits=(Ulimit("nofiles", 1, 1),)))
