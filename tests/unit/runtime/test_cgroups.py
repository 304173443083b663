"""Control groups: what is written where, against trees made of plain files."""

import os
from pathlib import Path

import pytest

from runtime import cgroup_settings, cgroups
from runtime.cgroup_hierarchies import Hierarchies, find_hierarchies
from runtime.errors import NotPermitted
from runtime.spec import Limits

MOUNTINFO = r"""25 24 0:23 / /dev/shm rw - tmpfs tmpfs rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /mnt/with\040space/memory rw - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
41 31 0:38 / /nonexistent/unified rw - cgroup2 cgroup2 rw
garbage
"""


def test_find_hierarchies() -> None:
    """Controllers are found wherever and however they are mounted."""
    found = find_hierarchies(MOUNTINFO)
    assert found.v1 == {"cpu": "/sys/fs/cgroup/cpu,cpuacct", "memory": "/mnt/with space/memory"}
    assert found.unified == "/nonexistent/unified"
    assert "version 1" in found.describe()
    assert find_hierarchies("").describe() == "none"


def test_v1_settings() -> None:
    """Memory comes before swap, because the kernel wants that order; swap is twice the memory unless said."""
    made = cgroup_settings.v1_settings(Limits(memory=100, pids=5, cpus=1.5, cpu_shares=512))
    assert made["memory"] == [("memory.limit_in_bytes", "100"), ("memory.memsw.limit_in_bytes", "200")]
    assert made["pids"] == [("pids.max", "5")]
    assert made["cpu"] == [
        ("cpu.cfs_period_us", "100000"),
        ("cpu.cfs_quota_us", "150000"),
        ("cpu.shares", "512"),
    ]
    assert cgroup_settings.v1_settings(Limits()) == {}
    assert cgroup_settings.v1_settings(Limits(memory=100, memory_swap=-1))["memory"][1][1] == "-1"


def test_v2_settings() -> None:
    """The same bounds in the words of version 2."""
    made = cgroup_settings.v2_settings(
        Limits(memory=100, memory_swap=150, pids=5, cpus=0.5, cpu_shares=1024, cpuset_cpus="0-1")
    )
    assert made == {
        "memory": [("memory.max", "100"), ("memory.swap.max", "50")],
        "cpu": [("cpu.max", "50000 100000"), ("cpu.weight", "39")],
        "pids": [("pids.max", "5")],
        "cpuset": [("cpuset.cpus", "0-1")],
    }
    assert cgroup_settings.v2_settings(Limits(memory=100, memory_swap=-1))["memory"][1][1] == "max"
    assert cgroup_settings.v2_settings(Limits(cpu_shares=2))["cpu"] == [("cpu.weight", "1")]
    assert cgroup_settings.v2_settings(Limits(cpu_shares=262144))["cpu"] == [("cpu.weight", "10000")]


def v2_tree(path: Path) -> Hierarchies:
    """A version 2 tree of plain files, which a real kernel would make with each directory."""
    (path / "pybuild").mkdir()
    for directory in (path, path / "pybuild"):
        (directory / "cgroup.controllers").write_text("cpu memory pids\n")
        (directory / "cgroup.subtree_control").write_text("cpu\n")
    return Hierarchies(v1={}, unified=str(path), unified_controllers=("cpu", "memory", "pids"))


def test_v2_limits(tmp_path: Path) -> None:
    """Missing controllers are handed down, the bounds are written, killing and memory events are read."""
    tree = v2_tree(tmp_path)
    group = cgroups.make("one", tree, Limits(memory=1000, cpus=1.0))
    directory = tmp_path / "pybuild/one"
    assert (directory / "memory.max").read_text() == "1000"
    assert (directory / "cpu.max").read_text() == "100000 100000"
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory"
    assert (tmp_path / "pybuild/cgroup.subtree_control").read_text() == "+memory"
    assert not group.ran_out_of_memory()
    (directory / "memory.events").write_text("low 0\noom 1\noom_kill 2\noom_group_kill 0\n")
    assert group.ran_out_of_memory()
    group.kill()
    assert (directory / "cgroup.kill").read_text() == "1"
    assert group.procs() == ()


def test_v1_limits(tmp_path: Path) -> None:
    """Every controller gets its own directory, whose cgroup.procs the child enters."""
    for name in ("memory", "pids"):
        (tmp_path / name).mkdir()
    tree = Hierarchies(v1={name: str(tmp_path / name) for name in ("memory", "pids")})
    group = cgroups.make("one", tree, Limits(memory=1000, pids=3))
    assert (tmp_path / "memory/pybuild/one/memory.limit_in_bytes").read_text() == "1000"
    assert (tmp_path / "pids/pybuild/one/pids.max").read_text() == "3"
    assert group.procs() == tuple(
        f"{tmp_path}/{name}/pybuild/one/cgroup.procs" for name in ("memory", "pids")
    )
    (tmp_path / "memory/pybuild/one/memory.oom_control").write_text(
        "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"
    )
    assert group.ran_out_of_memory()


def test_a_parent_that_was_asked_for(tmp_path: Path) -> None:
    """The group lies in the parent in every hierarchy, also where nothing else is bounded."""
    for name in ("memory", "pids", "unified"):
        (tmp_path / name).mkdir()
    v1 = {name: str(tmp_path / name) for name in ("memory", "pids")}
    tree = Hierarchies(v1=v1, unified=str(tmp_path / "unified"))
    (tmp_path / "memory/ci/builds/pybuild/4194399-forgotten").mkdir(parents=True)

    group = cgroups.make("1-one", tree, Limits(parent="/ci/builds", pids=3))

    assert (tmp_path / "pids/ci/builds/pybuild/1-one/pids.max").read_text() == "3"
    assert sorted(path.name for path in (tmp_path / "memory/ci/builds/pybuild").iterdir()) == ["1-one"]
    assert group.unified == str(tmp_path / "unified/ci/builds/pybuild/1-one")
    assert not (tmp_path / "memory/pybuild").exists()


@pytest.mark.parametrize("unified", ["", "/proc/nonexistent"])
def test_a_parent_that_cannot_be_had(unified: str) -> None:
    """It is an error that names the group, whatever the version."""
    v1 = {} if unified else {"memory": "/proc/nonexistent"}
    with pytest.raises(NotPermitted, match="no control group can be made in ci/pybuild"):
        cgroups.make("one", Hierarchies(v1=v1, unified=unified), Limits(parent="ci"))
    with pytest.raises(NotPermitted, match="cgroup controller"):
        cgroups.make("one", Hierarchies(v1={}), Limits(parent="ci"))


def test_controllers_reach_a_parent_of_version_2(tmp_path: Path) -> None:
    """Each group on the way hands the controller down."""
    for place in ("", "ci", "ci/pybuild"):
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / "cgroup.subtree_control").write_text("cpu\n")
    tree = Hierarchies(v1={}, unified=str(tmp_path), unified_controllers=("cpu", "memory"))

    cgroups.make("one", tree, Limits(parent="ci", memory=1000))

    for place in ("", "ci", "ci/pybuild"):
        assert (tmp_path / place / "cgroup.subtree_control").read_text() == "+memory"
    assert (tmp_path / "ci/pybuild/one/memory.max").read_text() == "1000"


def test_empty_groups_are_removed(tmp_path: Path) -> None:
    """Closing removes the directories, and may be repeated."""
    (tmp_path / "pybuild").mkdir()
    group = cgroups.make("one", Hierarchies(v1={}, unified=str(tmp_path)), Limits())
    assert (tmp_path / "pybuild/one").is_dir()
    group.close()
    group.close()
    assert list((tmp_path / "pybuild").iterdir()) == []


@pytest.mark.parametrize("limits", [Limits(memory=1), Limits(cpus=1.0), Limits(cpuset_cpus="0")])
def test_bounds_without_a_controller_are_refused(tmp_path: Path, limits: Limits) -> None:
    """A bound that cannot be kept is an error that names it, and nothing stays behind."""
    (tmp_path / "pids").mkdir()
    with pytest.raises(NotPermitted, match="cgroup controller"):
        cgroups.make("one", Hierarchies(v1={"pids": str(tmp_path / "pids")}), limits)
    with pytest.raises(NotPermitted, match="cgroup controller"):
        cgroups.make("one", Hierarchies(v1={}), limits)
    with pytest.raises(NotPermitted, match="could not be set"):
        cgroups.make("one", Hierarchies(v1={}, unified="/proc/nonexistent"), limits)


def test_without_bounds_nothing_is_needed() -> None:
    """A machine without writable groups still runs sandboxes; there is just no second way to kill."""
    group = cgroups.make("one", Hierarchies(v1={}, unified="/proc/nonexistent"), Limits())
    assert group.unified == ""
    group.kill()
    group.close()


def test_forgotten_groups_are_swept(tmp_path: Path) -> None:
    """Empty groups whose maker is gone go; full ones, those in use and those of others stay."""
    tree = Hierarchies(v1={}, unified=str(tmp_path))
    group = cgroups.make(f"{os.getpid()}-used", tree, Limits())
    for name in ("4194399-forgotten", f"{os.getpid()}-forgotten", "4194399-full/process", "other"):
        (tmp_path / "pybuild" / name).mkdir(parents=True)

    cgroups.sweep(tree)
    assert sorted(os.listdir(tmp_path / "pybuild")) == sorted(
        ["4194399-full", f"{os.getpid()}-used", "other"]
    )
    group.close()
    assert not os.path.exists(tmp_path / "pybuild" / f"{os.getpid()}-used")
