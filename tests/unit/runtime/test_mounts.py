"""Mounts are ordered so that none hides another, and some targets are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import SandboxError
from runtime.mounts import (
    Bind,
    CgroupView,
    DeviceNode,
    Devices,
    FileContent,
    Overlay,
    Proc,
    Sysfs,
    Tmpfs,
    check_target,
    clean,
    ordered,
)

names = st.lists(st.sampled_from(["a", "b", "c", "..", ".", ""]), min_size=1, max_size=5).map("/".join)


@given(st.lists(names, max_size=8))
def test_parents_come_first(targets: list[str]) -> None:
    """No mount is followed by one on a directory above it, and each target occurs once."""
    usable = [target for target in targets if clean(target) != "/"]
    result = [clean(mount.target) for mount in ordered(Tmpfs(target=target) for target in usable)]
    assert len(set(result)) == len(result)
    assert set(result) == {clean(target) for target in usable}
    for place, target in enumerate(result):
        assert not any(target.startswith(f"{later}/") for later in result[place:])


def test_last_of_a_target_wins() -> None:
    """The same place mounted twice is mounted once, as asked last."""
    first, second = Tmpfs(target="/x/"), Bind(source="/s", target="/x")
    assert ordered([first, second]) == (second,)


@given(names)
def test_clean_is_absolute_and_stable(path: str) -> None:
    """Cleaning removes every dot component and may be repeated."""
    result = clean(path)
    assert result.startswith("/")
    assert ".." not in result.split("/")
    assert clean(result) == result


@pytest.mark.parametrize("target", ["/", "/a/..", "/proc", "/proc/1/ns", "/proc/sys", "//proc//sys", "/a\0b"])
def test_refused_targets(target: str) -> None:
    """The root, /proc and names with a NUL byte are refused."""
    with pytest.raises(SandboxError, match="mount target"):
        check_target(target)


@pytest.mark.parametrize("target", ["/proc/cpuinfo", "/proc/sys/kernel/ns_last_pid", "/process", "/dev/shm"])
def test_accepted_targets(target: str) -> None:
    """Files that are replaced one by one, and everything else, are accepted."""
    assert check_target(target) == target


@pytest.mark.parametrize(
    "mount",
    [
        Bind(source="/s", target="/t"),
        Overlay(lowers=("/l",), target="/t"),
        Tmpfs(target="/t"),
        FileContent(target="/t", content=b"secret"),
        DeviceNode(target="/t"),
        Proc("/t"),
        Devices(target="/t"),
        Sysfs("/t"),
        CgroupView(target="/t"),
    ],
)
def test_every_mount_describes_itself(mount: object) -> None:
    """A description names the target and never shows content."""
    text = mount.describe()
    assert "/t" in text
    assert "secret" not in text
