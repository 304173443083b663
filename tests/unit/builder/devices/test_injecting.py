"""What devices become in a sandbox: mounts, device nodes, variables, groups, and refusals."""

import os
import stat
import subprocess

import pytest

from builder.devices.injecting import injected
from builder.errors import MissingDevice, Unsupported
from builder.ops import ExecDevice
from runtime.mounts import Bind, DeviceNode

ZERO = {"source": "/dev/zero", "type": "c", "major": 1, "minor": 5}


@pytest.fixture
def given(machine):
    """What a device with these edits becomes."""

    def give(user_namespace=False, **edits):
        machine.spec({"name": "dev", "containerEdits": edits})
        device = ExecDevice(name="vendor.com/class=dev", required=True)
        return injected([device], machine.registry, user_namespace=user_namespace)

    return give


def mode_of(path):
    """The permissions of a file of this machine."""
    return stat.S_IMODE(os.stat(path).st_mode)


def test_the_document_comes_first_and_once(machine):
    """Edits of a document are those of each of its devices; later variables come last."""
    shared = {"env": ["A=all"], "additionalGids": [7, 0]}
    machine.spec("one", "two", containerEdits=shared)
    machine.spec("x", kind="vendor.com/other", name="two.json")
    devices = [
        ExecDevice(name="vendor.com/class=*"),
        ExecDevice(name="vendor.com/other"),
        ExecDevice(name="no"),
    ]
    found = injected(devices, machine.registry, user_namespace=False)
    assert found.env == ["A=all", "ONE=etc", "TWO=etc", "X=etc"]
    assert found.groups == [7]
    assert [notice.partition(" is")[0] for notice in found.notices] == ['optional device "no"']
    with pytest.raises(MissingDevice):
        injected([ExecDevice(name="no", required=True)], machine.registry, user_namespace=False)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ({}, {"target": "/dev/zero", **ZERO, "mode": mode_of("/dev/zero")}),
        (
            {"path": "/dev/z", "hostPath": "/dev/zero"},
            {"target": "/dev/z", **ZERO, "mode": mode_of("/dev/zero")},
        ),
        ({"type": "u", "fileMode": 0o600, "uid": 1, "gid": 0}, {**ZERO, "mode": 0o600, "uid": 1, "gid": 0}),
        ({"type": "b", "major": 7, "minor": 3}, {**ZERO, "type": "b", "major": 7, "minor": 3, "mode": 0o666}),
        ({"major": 9, "minor": 3}, {**ZERO, "major": 9, "minor": 3, "mode": 0o666}),
        (
            {"path": "/dev/x", "hostPath": "/not/there", "type": "c", "major": 9},
            {"target": "/dev/x", "source": "/not/there", "type": "c", "major": 9, "mode": 0o666},
        ),
        ({"path": "/p", "type": "p"}, {"target": "/p", "source": "/p", "type": "p", "mode": 0o666}),
        ({"fileMode": 0o100640}, {**ZERO, "mode": 0o640}),
    ],
)
def test_device_nodes(given, edit, expected):
    """What a specification does not say is as on this machine; without type or major it has to be there."""
    (node,) = given(deviceNodes=[{"path": "/dev/zero", **edit}]).mounts
    assert node == DeviceNode(**{"target": "/dev/zero", **expected})


def test_mounts(given, tmp_path):
    """Binds with the options that binds have."""
    path = str(tmp_path)
    found = given(
        mounts=[
            {
                "hostPath": path,
                "containerPath": "/a",
                "options": ["ro", "nosuid", "nodev", "rbind", "rprivate"],
            },
            {"hostPath": path, "containerPath": "/b", "options": ["rw", "bind", "noexec"], "type": "none"},
            {"hostPath": path, "containerPath": "/c"},
        ]
    )
    assert found.mounts == [
        Bind(source=path, target="/a", readonly=True, nosuid=True),
        Bind(source=path, target="/b", recursive=False, noexec=True),
        Bind(source=path, target="/c", recursive=False),
    ]


HOOK = {"hookName": "prestart", "path": "/x"}
NET = {"hostInterfaceName": "eth0", "name": "eth0"}


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"hooks": [HOOK]}, "it asks for hooks (prestart)"),
        ({"hooks": [HOOK], "netDevices": [NET]}, "it asks for hooks (prestart) and netDevices (eth0)"),
        ({"intelRdt": {}}, "it asks for intelRdt"),
        ({"deviceNodes": [{"path": "/dev/zero", "permissions": "r"}]}, "permissions 'r'"),
        ({"deviceNodes": [{"path": "/dev/zero", "permissions": "wm"}]}, "permissions 'wm'"),
        ({"deviceNodes": [{"path": "dev/zero"}]}, "dev/zero is no absolute path"),
        ({"mounts": [{"hostPath": "/", "containerPath": "a"}]}, "a is no absolute path"),
        ({"mounts": [{"hostPath": "a", "containerPath": "/"}]}, "a is no absolute path"),
        ({"mounts": [{"hostPath": "/", "containerPath": "/a", "type": "tmpfs"}]}, "a mount of type tmpfs"),
        (
            {"mounts": [{"hostPath": "/", "containerPath": "/a", "options": ["rshared", "noatime", "ro"]}]},
            "/a is to be mounted with noatime, rshared",
        ),
    ],
)
def test_what_a_sandbox_cannot_do(given, machine, edits, message):
    """It is an error that names the device and the document, and is passed over nowhere."""
    with pytest.raises(Unsupported) as caught:
        given(**edits)
    assert caught.value.message.startswith("device vendor.com/class=dev cannot be given to a command: ")
    assert message in caught.value.message
    assert caught.value.message.endswith(f", says {machine.root}/etc/one.json")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"deviceNodes": [{"path": "/dev/not-there"}]}, "/dev/not-there cannot be used: No such file"),
        ({"deviceNodes": [{"path": "/etc/passwd"}]}, "/etc/passwd cannot be used: it is no device node"),
        ({"deviceNodes": [{"path": "/dev/stdin"}]}, "/dev/stdin cannot be used: it is no device node"),
        ({"deviceNodes": [{"path": "/dev/zero", "type": "b"}]}, "it is of type c, not b"),
        (
            {"mounts": [{"hostPath": "/not/there", "containerPath": "/a"}]},
            "/not/there cannot be used: it is not",
        ),
    ],
)
def test_what_is_not_there(given, edits, message):
    """A file of the machine that is missing, or another kind of file, is named."""
    with pytest.raises(MissingDevice) as caught:
        given(**edits)
    assert caught.value.message.startswith("device vendor.com/class=dev: ")
    assert message in caught.value.message
    assert "one.json names it" in caught.value.hint


def test_in_a_user_namespace(given):
    """Only what the machine has can be shown, as it is there; a notice says what is not kept."""
    found = given(user_namespace=True, deviceNodes=[{"path": "/dev/z", "hostPath": "/dev/zero"}])
    assert found.mounts == [DeviceNode(target="/dev/z", **ZERO, mode=mode_of("/dev/zero"))]
    assert found.notices == []
    found = given(user_namespace=True, deviceNodes=[{"path": "/dev/zero", "fileMode": 0o600}])
    (notice,) = found.notices
    assert "/dev/zero keeps the mode and owner of /dev/zero" in notice
    assert given(user_namespace=True, deviceNodes=[{"path": "/p", "type": "p"}]).notices == []
    for edit in ({"path": "/dev/x", "type": "c", "major": 1}, {"path": "/dev/zero", "type": "c", "major": 9}):
        with pytest.raises(Unsupported, match="on this machine") as caught:
            given(user_namespace=True, deviceNodes=[edit])
        assert "build as root" in caught.value.hint


@pytest.fixture
def closed(tmp_path):
    """The path of a device node on a filesystem that is mounted with nodev."""
    if os.geteuid() != 0:
        pytest.skip("not root")
    place = tmp_path / "nodev"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nodev", "none", place], check=True)
    os.mknod(place / "zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    yield str(place / "zero")
    subprocess.run(["umount", place], check=True)


def test_a_node_on_a_filesystem_without_devices(given, closed):
    """A node that cannot be opened is refused where it would be shown, and made where it can be."""
    edit = {"path": "/dev/z", "hostPath": closed}
    with pytest.raises(MissingDevice, match="mounted with nodev"):
        given(user_namespace=True, deviceNodes=[edit])
    assert given(deviceNodes=[edit]).mounts[0].source == closed
