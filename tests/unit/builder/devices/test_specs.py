"""CDI specifications: what is read, and what is refused with its place."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.devices.edits import MountEdit, NodeEdit
from builder.devices.specs import AUTO_ALLOW, CLASS, read_spec

PATH = "/etc/cdi/one.json"
KIND = "vendor.com/class"


def document(*devices, **members):
    """A specification as a JSON value; a device is a name, or an object."""
    listed = [
        {"name": device, "containerEdits": {"env": ["A=b"]}} if isinstance(device, str) else device
        for device in devices or ("dev",)
    ]
    return {"cdiVersion": "1.1.0", "kind": KIND, "devices": listed, **members}


def edited(**edits):
    """A specification of one device with these edits."""
    return document({"name": "dev", "containerEdits": edits})


def read(value):
    """Read a JSON value, or a text as it is."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return read_spec(text, PATH, 2)


def test_devices_by_their_full_names():
    """A device is called by kind and name, and knows where it stands."""
    one, two = read(document("one", "0:two_2.x-y"))
    assert (one.name, two.name) == (f"{KIND}=one", f"{KIND}=0:two_2.x-y")
    assert (one.spec.path, one.spec.priority, one.spec is two.spec) == (PATH, 2, True)
    assert one.edits.env == ("A=b",)


def test_edits():
    """All that a sandbox can do is there."""
    (device,) = read(
        edited(
            env=["A=", "B=c=d"],
            deviceNodes=[
                {"path": "/dev/a"},
                {
                    "path": "/dev/b",
                    "hostPath": "/dev/c",
                    "type": "u",
                    "major": 4095,
                    "minor": 1048575,
                    "fileMode": 438,
                    "permissions": "rw",
                    "uid": 0,
                    "gid": 4294967295,
                },
            ],
            mounts=[{"hostPath": "/a", "containerPath": "/b", "options": ["ro", "bind"], "type": "none"}],
            additionalGids=[0, 44],
        )
    )
    assert device.edits.env == ("A=", "B=c=d")
    assert device.edits.nodes == (
        NodeEdit(path="/dev/a"),
        NodeEdit(
            path="/dev/b",
            host_path="/dev/c",
            type="u",
            major=4095,
            minor=1048575,
            mode=0o666,
            permissions="rw",
            uid=0,
            gid=4294967295,
        ),
    )
    assert device.edits.mounts == (
        MountEdit(host_path="/a", container_path="/b", options=("ro", "bind"), type="none"),
    )
    assert device.edits.groups == (0, 44)
    assert device.edits.beyond == ()


def test_what_no_sandbox_does_is_kept_by_name():
    """Hooks, interfaces and Intel's resources are read, so that other devices can be used."""
    hook = {"hookName": "createContainer", "path": "/usr/bin/x", "args": ["x"], "env": ["A=b"], "timeout": 1}
    (device,) = read(
        edited(
            hooks=[hook, hook, {"hookName": "poststop", "path": "/x"}],
            netDevices=[{"hostInterfaceName": "eth0", "name": "net"}],
            intelRdt={"closID": "/", "l3CacheSchema": "x", "memBwSchema": "y", "schemata": ["z"]},
        )
    )
    assert device.edits.beyond == ("hooks (createContainer, poststop)", "netDevices (eth0)", "intelRdt")


@pytest.mark.parametrize(
    ("members", "own", "expected"),
    [
        ({}, {}, False),
        ({AUTO_ALLOW: "true"}, {}, True),
        ({AUTO_ALLOW: True}, {}, True),
        ({AUTO_ALLOW: 1}, {}, True),
        ({}, {AUTO_ALLOW: "T"}, True),
        ({AUTO_ALLOW: True}, {AUTO_ALLOW: False}, False),
        ({AUTO_ALLOW: "yes"}, {}, False),
        ({AUTO_ALLOW: ""}, {}, False),
    ],
)
def test_devices_for_every_build(members, own, expected):
    """The annotation of the device beats that of the document; its words are those of Go."""
    device = {"name": "dev", "annotations": own, "containerEdits": {"env": ["A=b"]}}
    (found,) = read(document(device, annotations=members))
    assert found.is_allowed is expected


def test_annotations_are_joined():
    """Those of the document hold for each device."""
    device = {"name": "dev", "annotations": {CLASS: "gpu"}, "containerEdits": {"env": ["A=b"]}}
    (found,) = read(document(device, annotations={"a": "b"}))
    assert found.annotations == {"a": "b", CLASS: "gpu"}


def test_null_is_nothing():
    """Members that are null count as absent."""
    node = {"path": "/dev/a", "hostPath": None, "uid": None, "major": None}
    (device,) = read(
        document(
            {"name": "dev", "annotations": None, "containerEdits": {"env": None, "deviceNodes": [node]}},
            annotations=None,
            containerEdits=None,
        )
    )
    assert device.edits.nodes == (NodeEdit(path="/dev/a"),)


NODE = {"path": "/dev/a"}
MOUNT = {"hostPath": "/a", "containerPath": "/b"}


@pytest.mark.parametrize(
    ("version", "value"),
    [
        ("0.3.0", document()),
        ("v0.3.0", edited(deviceNodes=[NODE], mounts=[MOUNT])),
        ("0.4.0", edited(mounts=[{**MOUNT, "type": "bind"}])),
        ("0.5.0", edited(deviceNodes=[{**NODE, "hostPath": "/dev/b"}])),
        ("0.5.0", document("0")),
        ("0.6.0", document(annotations={"a": "b"})),
        ("0.6.0", document({"name": "a", "annotations": {"a": "b"}, "containerEdits": {"env": ["A=b"]}})),
        ("0.6.0", document(kind="vendor.com/class.sub")),
        ("0.7.0", edited(additionalGids=[1])),
        ("0.7.0", edited(intelRdt={})),
        ("0.7.0", document(containerEdits={"additionalGids": [1]})),
        ("1.1.0", edited(intelRdt={"enableMonitoring": True})),
        ("1.1.0", edited(intelRdt={"schemata": []})),
        ("1.1.0", edited(netDevices=[{"hostInterfaceName": "a", "name": "b"}])),
    ],
)
def test_versions(version, value):
    """A document may say what its version has, and nothing of a later one."""
    known = ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"]
    assert read({**value, "cdiVersion": version})
    for earlier in known[: known.index(version.removeprefix("v"))]:
        with pytest.raises(ValueError, match=rf"cdiVersion is {earlier}, but what it says needs"):
            read({**value, "cdiVersion": earlier})


def without(name):
    """A specification that lacks a member."""
    return {key: value for key, value in document().items() if key != name}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "it is not valid JSON"),
        (b"{", "it is not valid JSON"),
        (b"\xff", "it is not UTF-8"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b'{"a": NaN}', "it is not valid JSON: NaN"),
        (b'{"kind": "a", "kind": "b"}', "'kind' is there twice"),
        ([], "the document is not an object"),
        (document(name="x"), "name is not a known field"),
        (
            document({"name": "a", "containerEdits": {"envs": []}}),
            "devices[0].containerEdits.envs is not a known",
        ),
        (without("cdiVersion"), "cdiVersion is '', which is not known"),
        (document(cdiVersion="0.6"), "cdiVersion is '0.6', which is not known"),
        (document(cdiVersion="2.0.0"), "cdiVersion is '2.0.0', which is not known"),
        (without("kind"), "kind is '', with an invalid vendor"),
        (document(kind="vendor"), "with an invalid vendor"),
        (document(kind="vendor/"), "with an invalid vendor"),
        (document(kind="1vendor/class"), "with an invalid vendor"),
        (document(kind="vendor-/class"), "with an invalid vendor"),
        (document(kind="vendor/cl/ass"), "with an invalid class"),
        (document(kind="vendor/class\n"), "with an invalid class"),
        (document(kind=["a"]), "kind is not a text"),
        (document("one", "one"), "devices[1].name: there are two devices vendor.com/class=one"),
        (document("a b"), "devices[0].name is 'a b'"),
        (document("-a"), "devices[0].name is '-a'"),
        (document("ä"), "devices[0].name is 'ä'"),
        (document(""), "devices[0].name is ''"),
        (without("devices"), "devices is empty"),
        (document(devices={}), "devices is not an array"),
        (document(devices=[1]), "devices[0] is not an object"),
        (document({"name": "a"}), "devices[0].containerEdits is empty"),
        (document(annotations=[]), "annotations is not an object"),
        (document(annotations={"a": {}}), "annotations.a is not a text"),
        (edited(env="A=b"), "containerEdits.env is not an array"),
        (edited(env=["A"]), "'A' is not NAME=value"),
        (edited(env=["=b"]), "'=b' is not NAME=value"),
        (edited(env=["A=\0"]), "env[0] is not a text"),
        (edited(env=["A=\ud800"]), "env[0] is not a text"),
        (edited(deviceNodes=[None]), "deviceNodes[0].path is empty"),
        (edited(deviceNodes=[{**NODE, "type": "d"}]), "deviceNodes[0].type is 'd'"),
        (edited(deviceNodes=[{**NODE, "permissions": "rx"}]), "deviceNodes[0].permissions is 'rx'"),
        (edited(deviceNodes=[{**NODE, "major": -1}]), "major is not a number from 0 to 4095"),
        (edited(deviceNodes=[{**NODE, "minor": 1 << 20}]), "minor is not a number from 0 to 1048575"),
        (edited(deviceNodes=[{**NODE, "uid": True}]), "uid is not a number"),
        (edited(deviceNodes=[{**NODE, "gid": 1.5}]), "gid is not a number"),
        (edited(deviceNodes=[{**NODE, "fileMode": "666"}]), "fileMode is not a number"),
        (edited(mounts=[{"hostPath": "/a"}]), "mounts[0].containerPath is empty"),
        (edited(mounts=[{**MOUNT, "options": "ro"}]), "options is not an array"),
        (edited(hooks=[{"hookName": "before", "path": "/x"}]), "hookName is 'before'"),
        (edited(hooks=[{"hookName": "prestart"}]), "hooks[0].path is empty"),
        (edited(intelRdt={"closID": "a/b"}), "intelRdt.closID is no file name"),
        (edited(intelRdt={"enableMonitoring": "yes"}), "enableMonitoring is not true or false"),
        (edited(netDevices=[{"name": "a"}]), "netDevices[0].hostInterfaceName is empty"),
        (edited(netDevices=[{"hostInterfaceName": n, "name": "a"} for n in "xy"]), "[1].name is there twice"),
        (edited(additionalGids=["a"]), "additionalGids[0] is not a number"),
        (document(containerEdits={"env": ["A"]}), "containerEdits.env: 'A' is not"),
    ],
)
def test_refused(value, message):
    """The error says what is wrong, and where."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is looked at
        read(value)
    assert message in str(caught.value)


names = st.sampled_from(
    [
        *("cdiVersion", "kind", "devices", "containerEdits", "annotations", "name", "env", "deviceNodes"),
        *(
            "path",
            "hostPath",
            "type",
            "major",
            "mounts",
            "options",
            "hooks",
            "hookName",
            "intelRdt",
            "closID",
        ),
        *("netDevices", "additionalGids", "fileMode", "uid", "anything"),
    ]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(json_values, names, st.integers(0, 1))
def test_any_document_is_read_or_refused(value, name, inner):
    """Whatever stands in a document, the answer is devices or a ValueError."""
    made = edited(**{name: value}) if inner else {**document(), name: value}
    for data in (json.dumps(made).encode(), json.dumps(value).encode()):
        with suppress(ValueError):
            assert read(data)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    """So with what is no JSON at all."""
    with pytest.raises(ValueError):  # noqa: PT011 - any
        read(data)
