"""Devices that are asked for: who can open them, whose they are, and what stays closed."""

import pytest

from runtime.errors import SetupFailed
from runtime.mounts import Bind, DeviceNode
from runtime.sandbox import LinuxSandbox
from tests.contract.sandbox.lab import Lab, shell

pytestmark = pytest.mark.userns
ZERO = {"source": "/dev/zero", "major": 1, "minor": 5}
READ = "head -c 3 {} | wc -c"


async def test_a_device_under_another_name(linux: LinuxSandbox, lab: Lab) -> None:
    """It can be read and written, in directories that are not there, too; no trace of it is in the layer."""
    mounts = (DeviceNode(target="/dev/a/zero", **ZERO), DeviceNode(target="/opt/zero", **ZERO))
    script = f"{READ.format('/dev/a/zero')}; {READ.format('/opt/zero')}; echo x > /opt/zero && echo ok"
    result = await shell(linux, lab, script, mounts=mounts)
    assert result.out.split() == ["3", "3", "ok"], result.err
    assert list(lab.upper.iterdir()) == []


@pytest.mark.parametrize(
    ("user", "owner", "expected"),
    [
        ("", {}, "600 0 0"),
        ("app", {}, "600 1000 1001"),
        ("app", {"uid": 0, "mode": 0o602}, "602 0 1001"),
        ("", {"uid": 5, "gid": 6, "mode": 0o640}, "640 5 6"),
    ],
    ids=["root", "app", "explicit-root", "explicit"],
)
async def test_whose_it_is(
    linux: LinuxSandbox, lab: Lab, user: str, owner: dict[str, int], expected: str
) -> None:
    """That of whoever runs the program unless an owner is given; the mode is the given one."""
    mount = DeviceNode(target="/dev/z", **{**ZERO, "mode": 0o600, **owner})
    result = await shell(linux, lab, "stat -c '%a %u %g' /dev/z", user=user, mounts=(mount,))
    assert result.out.strip() == expected


async def test_the_mode_counts(linux: LinuxSandbox, lab: Lab) -> None:
    """A user who owns a device can read it, others cannot."""
    mounts = (
        DeviceNode(target="/dev/mine", mode=0o600, **ZERO),
        DeviceNode(target="/dev/roots", mode=0o600, uid=0, gid=0, **ZERO),
    )
    script = f"{READ.format('/dev/mine')}; cat /dev/roots"
    result = await shell(linux, lab, script, user="app", mounts=mounts)
    assert result.out.strip() == "3"
    assert "Permission denied" in result.err


async def test_fifos(linux: LinuxSandbox, lab: Lab) -> None:
    """A FIFO has no numbers."""
    mount = DeviceNode(target="/run/pipe", type="p", mode=0o622)
    result = await shell(
        linux, lab, "stat -c '%F %a' /run/pipe; echo hello > /run/pipe & cat /run/pipe", mounts=(mount,)
    )
    assert result.out == "fifo 622\nhello\n"


async def test_a_standard_device_can_be_replaced(linux: LinuxSandbox, lab: Lab) -> None:
    """What is asked for lies over what is there anyway."""
    result = await shell(
        linux, lab, READ.format("/dev/full"), mounts=(DeviceNode(target="/dev/full", **ZERO),)
    )
    assert result.out.strip() == "3"


async def test_other_devices_stay_closed(linux: LinuxSandbox, lab: Lab) -> None:
    """A device opens itself, not one that is made beside it or shown by a bind."""
    mounts = (DeviceNode(target="/dev/z", **ZERO), Bind(source="/dev", target="/host", recursive=False))
    script = "mknod /dev/other c 1 5 && cat /dev/other; cat /host/zero"
    result = await shell(linux, lab, script, mounts=mounts)
    assert result.err.count("Permission denied") == 2, result.err


async def test_a_place_that_cannot_be_made(linux: LinuxSandbox, lab: Lab) -> None:
    """The error says where."""
    with pytest.raises(SetupFailed, match="/sys/zero"):
        await shell(linux, lab, "true", mounts=(DeviceNode(target="/sys/zero", **ZERO),))


async def test_binds_without_programs(linux: LinuxSandbox, lab: Lab) -> None:
    """`noexec` and `nosuid` are flags of the mount, for everything below it."""
    source = lab.base / "source"
    source.mkdir()
    (source / "run").write_text("#!/bin/sh\necho ran\n")
    (source / "run").chmod(0o755)
    mounts = (
        Bind(source=str(source), target="/plain"),
        Bind(source=str(source), target="/bare", noexec=True, nosuid=True),
    )
    script = "/plain/run; /bare/run; grep ' /bare ' /proc/self/mounts"
    result = await shell(linux, lab, script, mounts=mounts)
    lines = result.out.splitlines()
    assert lines[0] == "ran"
    assert {"nosuid", "noexec", "nodev"} <= set(lines[1].split()[3].split(","))
    assert "Permission denied" in result.err


@pytest.mark.parametrize("user", ["", "app", "app:wheel"])
async def test_further_groups(linux: LinuxSandbox, lab: Lab, user: str) -> None:
    """They are added to the groups that the user has, each once."""
    groups = (await shell(linux, lab, "id -G", user=user)).out.split()
    result = await shell(linux, lab, "id -G", user=user, groups=(4444, 10))
    assert sorted(result.out.split()) == sorted({*groups, "10", "4444"})
