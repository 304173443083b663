"""RUN --device in a plan: what gets into the key, what is told, what is refused."""

import asyncio
import json

import pytest

from builder.devices.allowing import read_allowed
from builder.errors import InvalidOption, MissingDevice
from builder.graph_text import describe_graph
from builder.loop import drive
from builder.lowering.devices import Devices
from builder.ops import ExecDevice
from builder.plan import plan
from builder.request import BuildRequest
from dockerfile_grammar.parser import parse
from oci_image.platform import Platform

AMD64 = Platform(os="linux", architecture="amd64")
DEVICE = "vendor.com/class=one"


@pytest.fixture
def planned(plans, tmp_path):
    """Plans the text of a RUN on a machine with some devices; "free" is for every build."""
    free = {"org.mobyproject.buildkit.device.autoallow": "true"}

    def make(run, *allow, devices=("one", "free")):
        listed = [
            {
                "name": name,
                "containerEdits": {"env": [f"NAME={name}"]},
                "annotations": free if name == "free" else {},
            }
            for name in devices
        ]
        value = {"cdiVersion": "0.6.0", "kind": "vendor.com/class", "devices": listed}
        (tmp_path / "one.json").write_text(json.dumps(value))
        text = f"FROM alpine\n{run}\n".encode()
        request = BuildRequest(context="", dockerfile=text)
        found = Devices((str(tmp_path),), read_allowed(allow))
        work = plan(parse(text), request, {}, plans.resolver, platform=AMD64, devices=found)
        graph = drive(work, asyncio.run)
        return graph, found

    return make


def key(found):
    """The digest of the last step of what was planned."""
    return found[0].targets[0].head.digest


def test_keys_without_devices(plans, planned):
    """A RUN without devices has the key that it always had, whatever is allowed or registered."""
    head = plans("FROM alpine\nRUN x\n", context=False).targets[0].head
    assert b"device" not in head.preimage
    assert key(planned("RUN x")) == key(planned("RUN x", "device", devices=("two",))) == head.digest


def test_what_is_in_the_key_of_what_was_found(planned):
    """Without --allow for all of them: the devices that are meant, however they were asked for."""
    one = planned(f"RUN --device={DEVICE} x", f"device={DEVICE}")
    assert one[0].targets[0].head.op.devices == (ExecDevice(name=DEVICE, required=True),)
    assert b'"devices":[["vendor.com/class=one",true]]' in one[0].targets[0].head.preimage
    assert key(one) == key(planned(f"RUN --device={DEVICE},required x", f"device={DEVICE}"))
    assert key(one) == key(
        planned("RUN --device=vendor.com/class x", "device=vendor.com/class", devices=["one"])
    )
    assert key(one) == key(
        planned("RUN --device=it,required x", f"device={DEVICE},alias=it", devices=["two"])
    )
    assert key(one) != key(planned("RUN --device=vendor.com/class=free x"))
    assert key(one) != key(planned("RUN x"))


def test_what_is_in_the_key_where_all_are_allowed(planned):
    """With --allow device: what stands in the Dockerfile, whatever is registered."""
    one = planned(f"RUN --device={DEVICE} x", "device")
    assert b'"devices":[["vendor.com/class=one",false]]' in one[0].targets[0].head.preimage
    assert key(one) == key(planned(f"RUN --device={DEVICE} x", "device", devices=["two"]))
    assert key(one) != key(planned(f"RUN --device={DEVICE},required x", "device"))
    assert key(one) != key(planned("RUN --device=vendor.com/class x", "device"))
    assert not one[1].were_looked_at


def test_what_a_device_does_is_not_in_the_key(planned, tmp_path):
    """Other edits of the same device are the same step, as with BuildKit."""
    graph, _ = planned("RUN --device=vendor.com/class=free x")
    assert b"NAME" not in graph.targets[0].head.preimage


def test_an_optional_device_that_is_missing(planned):
    """The command goes without it, a warning says so, and the key is that of a command without."""
    found = planned("RUN --device=vendor.com/class=two x")
    (warning,) = found[0].warnings
    assert warning.startswith(
        'optional device "vendor.com/class=two" is not registered, so RUN goes without it'
    )
    assert key(found) == key(planned("RUN x"))
    assert found[1].were_looked_at
    assert key(found) != key(
        planned(
            "RUN --device=vendor.com/class=two x",
            f"device={DEVICE}",
            "device=vendor.com/class=two",
            devices=["one", "two"],
        )
    )


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (
            f"RUN --device={DEVICE} x",
            InvalidOption,
            f"device {DEVICE} is requested by the build but not allowed",
        ),
        ("RUN --device=no,required x", MissingDevice, 'required device "no" is not registered'),
    ],
)
def test_refusals_have_their_line(planned, run, error, message):
    """The error has the span of the RUN."""
    with pytest.raises(error) as caught:
        planned(run)
    assert caught.value.message == message
    assert (caught.value.span.start_line, caught.value.span.filename) == (2, "Dockerfile")
    assert caught.value.hint


def test_values_are_not_expanded(planned):
    """A variable in a name stays as it is, as with BuildKit."""
    found, _ = planned("ARG N=one\nRUN --device=vendor.com/class=$N x", "device")
    assert found.targets[0].head.op.devices[0].name == "vendor.com/class=$N"


def test_each_document_is_read_once(planned, tmp_path):
    """Two commands see the same devices, and a damaged document is told of once."""
    (tmp_path / "bad.json").write_text("{")
    found, _ = planned("RUN --device=vendor.com/class=free x\nRUN --device=vendor.com/class=free y")
    (warning,) = found.warnings
    assert warning.startswith(f"CDI specification {tmp_path}/bad.json is not used: it is not valid JSON")


def test_plans_show_devices(planned):
    """The text of a plan names them."""
    found, _ = planned("RUN --device=a --device=b,required x", "device")
    assert "    device a, if there is one\n    device b\n" in describe_graph(found)
