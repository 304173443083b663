"""Which devices a build may use: --allow, annotations, and what gets into the key."""

import pytest

from builder.devices.allowing import AllowedDevices, read_allowed
from builder.devices.granting import grant
from builder.devices.specs import AUTO_ALLOW, CLASS
from builder.errors import InvalidOption, MissingDevice
from builder.ops import ExecDevice

KIND = "vendor.com/class"


def test_reading_allow():
    """Values are those of docker buildx; others are for somebody else."""
    assert read_allowed([]) is None
    assert read_allowed(["network.host", "devices"]) is None
    assert read_allowed(["device"]) == read_allowed(["device="]) == AllowedDevices(everything=True)
    allowed = read_allowed([f"device={KIND}=a", "device=gpu", f"device={KIND}=b,alias=vendor.com/x"])
    assert allowed == AllowedDevices(
        names=frozenset((f"{KIND}=a", "gpu")), aliases={"vendor.com/x": f"{KIND}=b"}
    )
    assert read_allowed(["device=a", "device"]).everything
    assert read_allowed(['device="a,b"']).names == {"a,b"}
    assert read_allowed(["device=a,alias=b", "device=c,alias=b"]).aliases == {"b": "c"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("device=a,b", "'b' is not KEY=VALUE"),
        ("device=a,name=b", "unexpected key 'name'"),
        ("device=,alias=b", "the name is missing"),
        ('device="a', 'missing " in quoted field'),
    ],
)
def test_malformed_allow(text, message):
    """The error shows the value."""
    with pytest.raises(InvalidOption) as caught:
        read_allowed([text])
    assert caught.value.message.startswith(f"--allow {text}: ")
    assert message in caught.value.message
    assert caught.value.hint


@pytest.fixture
def several(machine):
    """Three devices, one of which every build may use."""
    free = {"name": "free", "annotations": {AUTO_ALLOW: "true"}}
    machine.spec("a", {"name": "b", "annotations": {CLASS: "letters"}}, free)
    return machine


def granted(machine, *requests, allow=()):
    """The names that get into the key, with a mark behind those that are not required."""
    wanted = [ExecDevice(name=name.rstrip("?"), required=not name.endswith("?")) for name in requests]
    devices, missing = grant(wanted, read_allowed(allow), machine.registry)
    return [device.name + ("" if device.required else "?") for device in devices], list(missing)


@pytest.mark.parametrize(
    ("requests", "allow", "expected"),
    [
        ([f"{KIND}=free"], [], [f"{KIND}=free"]),
        ([f"{KIND}=free?"], [], [f"{KIND}=free"]),
        ([f"{KIND}=a"], [f"device={KIND}=a"], [f"{KIND}=a"]),
        ([f"{KIND}=a", f"{KIND}=free"], [f"device={KIND}"], [f"{KIND}=a", f"{KIND}=free"]),
        ([f"{KIND}=*"], [f"device={KIND}=*"], [f"{KIND}=a", f"{KIND}=b", f"{KIND}=free"]),
        (["letters"], ["device=letters"], [f"{KIND}=b"]),
        (["letters"], [f"device={KIND}=b"], [f"{KIND}=b"]),
        ([KIND], [f"device={KIND}=a"], [f"{KIND}=a"]),
        # An alias is what the Dockerfile says; it is not looked up here.
        (["x.com/y?", f"{KIND}=free"], ["device=letters,alias=x.com/y"], ["letters?", f"{KIND}=free"]),
        (["x.com/y"], ["device=not.com/there,alias=x.com/y"], ["not.com/there"]),
    ],
)
def test_granted(several, requests, allow, expected):
    """A device is given by its annotation, or by any name of it that was allowed."""
    assert granted(several, *requests, allow=allow) == (expected, [])


@pytest.mark.parametrize(
    ("requests", "allow", "message"),
    [
        ([f"{KIND}=a"], [], f"device {KIND}=a is requested by the build but not allowed"),
        ([f"{KIND}=a?"], [], f"device {KIND}=a is requested"),
        (["letters"], [f"device={KIND}=a"], f"device {KIND}=b is requested"),
        ([f"{KIND}=*"], [f"device={KIND}=free"], f"devices {KIND}=a, {KIND}=b are requested"),
    ],
)
def test_refused(several, requests, allow, message):
    """The error names the devices, the hint the flags."""
    with pytest.raises(InvalidOption) as caught:
        granted(several, *requests, allow=allow)
    assert caught.value.message.startswith(message)
    assert f"--allow device={KIND}=" in caught.value.hint
    assert "--allow device for all" in caught.value.hint


def test_what_is_missing(several):
    """Nothing of an optional request is left; a required one, or one that --allow names, is an error."""
    assert granted(several, "no.com/x?", f"{KIND}=free") == ([f"{KIND}=free"], ["no.com/x"])
    assert granted(several, "no.com/x?", allow=["device=no.com/y"]) == ([], ["no.com/x"])
    with pytest.raises(MissingDevice, match=r'required device "no\.com/x" is not registered'):
        granted(several, "no.com/x")
    with pytest.raises(MissingDevice, match=r"--allow device=no\.com/y: it is not registered"):
        granted(several, f"{KIND}=free", allow=["device=no.com/y"])
