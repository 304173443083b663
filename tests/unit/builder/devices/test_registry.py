"""Directories of CDI specifications: which document counts, and what a request finds."""

import os

import pytest

from builder.devices.registry import read_registry
from builder.devices.specs import CLASS
from builder.errors import MissingDevice
from builder.ops import ExecDevice


def found(machine, *names, required=True):
    """What requests find."""
    return list(machine.registry.find(ExecDevice(name=name, required=required) for name in names).names)


@pytest.fixture
def several(machine):
    """Two kinds, and classes over them."""
    classes = [{CLASS: "class1"}, {CLASS: "class2"}]
    machine.spec("foo", {"name": "bar", "annotations": classes[0]}, "baz")
    machine.spec({"name": "qux", "annotations": classes[1]}, "0", kind="vendor.com/other", name="two.json")
    machine.spec("a", kind="vendor.com/third", name="three.json", annotations=classes[0])
    return machine


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ("vendor.com/class=foo", ["class=foo"]),
        ("vendor.com/class", ["class=bar"]),
        ("vendor.com/class=", ["class=bar"]),
        ("vendor.com/class=*", ["class=bar", "class=baz", "class=foo"]),
        ("vendor.com/other", ["other=0"]),
        ("class1", ["class=bar", "third=a"]),
        ("class2", ["other=qux"]),
    ],
)
def test_requests(several, request_, expected):
    """A name, the first of a kind, all of a kind, or those of a class; in the order of their names."""
    assert found(several, request_) == [f"vendor.com/{name}" for name in expected]


def test_each_device_once(several):
    """Requests are answered in their order, and a device that answers two of them is there once."""
    names = found(several, "vendor.com/third=a", "class1", "vendor.com/class=bar", "vendor.com/class")
    assert names == ["vendor.com/third=a", "vendor.com/class=bar"]


def test_a_class_may_be_called_like_a_kind(machine):
    """Where no device of a kind is found, the word is looked for among the classes."""
    machine.spec({"name": "a", "annotations": {CLASS: "other.com/x"}})
    assert found(machine, "other.com/x") == ["vendor.com/class=a"]


@pytest.mark.parametrize(
    "name", ["vendor.com/class=no", "vendor.com/no", "vendor.com/no=*", "no", "", "=", "/"]
)
def test_missing(several, name):
    """A request without an answer is an error where the device is required, and told of where it is not."""
    with pytest.raises(MissingDevice) as caught:
        found(several, name)
    assert caught.value.message == f'required device "{name}" is not registered'
    assert "vendor.com/class=bar" in caught.value.hint
    assert several.registry.find([ExecDevice(name=name)]).missing == (name,)
    (told,) = several.registry.told((name,))
    assert told.startswith(
        f'optional device "{name}" is not registered, so RUN goes without it: registered in'
    )


def test_later_directories_come_first(machine):
    """A device of a later directory takes the place of the one before it, others of the document stay."""
    machine.spec("a", "b", where="etc")
    machine.spec("a", where="run")
    devices = machine.registry.devices
    assert devices["vendor.com/class=a"].edits.env == ("A=run",)
    assert devices["vendor.com/class=b"].edits.env == ("B=etc",)


def test_conflicts(machine):
    """What two documents of one directory describe does not count, and is told of."""
    first = machine.spec("a", "b")
    second = machine.spec("a", name="two.json")
    registry = machine.registry
    assert list(registry.devices) == ["vendor.com/class=b"]
    (fault,) = registry.faults
    assert first in fault
    assert second in fault
    assert "neither counts" in fault


def test_what_is_no_specification(machine):
    """Other files, directories, and directories that are not there, are passed over."""
    directory = machine.directory("etc")
    (directory / "readme.txt").write_text("{")
    (directory / "sub.json").mkdir()
    (directory / "sub.json" / "one.json").write_text("{")
    machine.directories.append(str(directory / "not" / "there"))
    assert (machine.registry.devices, machine.registry.faults) == ({}, ())
    assert "no CDI specification was found in" in machine.registry.reason("x")
    assert read_registry(()).reason("x") == "no device was looked for"


def test_damaged_documents(machine):
    """Each is told of with its path, and the others count."""
    directory = machine.directory("etc")
    (directory / "a.json").write_text("{")
    (directory / "b.json").symlink_to("nowhere")
    os.mkfifo(directory / "c.json")
    machine.spec("a", name="d.json")
    (directory / "e.json").write_bytes(b" " * (17 << 20))
    registry = machine.registry
    assert list(registry.devices) == ["vendor.com/class=a"]
    assert [fault.partition(": ")[0] for fault in registry.faults] == [
        f"CDI specification {directory}/{name}.json is not used" for name in "abce"
    ]
    reasons = ["not valid JSON", "No such file", "it is not a file", "larger than 16777216 bytes"]
    for fault, reason in zip(registry.faults, reasons, strict=True):
        assert reason in fault
    assert registry.reason("x") == registry.faults[0]
    assert registry.told(()) == registry.faults


def test_yaml_is_named_where_it_may_be_the_reason(machine):
    """YAML is not read: said of a device of that kind only. JSON in such a file counts."""
    directory = machine.directory("etc")
    (directory / "gpu.yaml").write_text("cdiVersion: 0.6.0\nkind: 'vendor.com/gpu'\n")
    (directory / "old.yml").write_text('{"kind": "vendor.com/old"}')
    machine.spec("a", name="b.yaml")
    registry = machine.registry
    assert list(registry.devices) == ["vendor.com/class=a"]
    assert registry.faults == ()
    assert registry.reason("vendor.com/gpu=0").startswith(f"{directory}/gpu.yaml has it, but")
    assert "only JSON is read" in registry.reason("vendor.com/gpu=*")
    assert f"{directory}/old.yml" in registry.reason("vendor.com/old")
    assert "registered in" in registry.reason("vendor.com/net=0")


def test_a_directory_that_cannot_be_listed(machine):
    """It is told of like a document."""
    path = "/" + "a" * 300
    machine.directories.append(path)
    assert machine.registry.faults == (f"CDI specification {path} is not used: File name too long",)
