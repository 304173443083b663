"""A specification is a value with an exact JSON form."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.capabilities import DEFAULT_CAPABILITIES, NUMBERS
from runtime.mounts import Bind, FileContent, Overlay, Tmpfs
from runtime.spec import DirectoryRoot, Limits, NetworkMode, OverlayRoot, SandboxSpec, Ulimit

text = st.text(max_size=12)
texts = st.lists(text, max_size=3).map(tuple)
roots = st.one_of(
    st.builds(DirectoryRoot, text),
    st.builds(OverlayRoot, lowers=texts, upper=text, work=text, volatile=st.booleans()),
)
mounts = st.one_of(
    st.builds(Bind, source=text, target=text, subpath=text, readonly=st.booleans()),
    st.builds(Overlay, lowers=texts, target=text),
    st.builds(Tmpfs, target=text, size=st.integers(0, 1 << 40)),
    st.builds(FileContent, target=text, content=st.binary(max_size=20), mode=st.integers(0, 0o777)),
)
specs = st.builds(
    SandboxSpec,
    argv=texts,
    rootfs=roots,
    env=texts,
    mounts=st.lists(mounts, max_size=3).map(tuple),
    network=st.sampled_from(NetworkMode),
    limits=st.builds(Limits, memory=st.integers(0), ulimits=st.just((Ulimit("nofile", 1, 2),))),
    capabilities=st.lists(st.sampled_from(sorted(NUMBERS))).map(tuple),
    tty=st.booleans(),
)


@given(specs)
def test_json_round_trip(spec: SandboxSpec) -> None:
    """Reading what was written gives an equal value, types included."""
    again = SandboxSpec.from_json(spec.to_json())
    assert again == spec
    assert isinstance(again.network, NetworkMode)


def test_json_is_stable() -> None:
    """Equal values have equal text, with sorted keys."""
    spec = SandboxSpec(argv=("a",), rootfs=DirectoryRoot("/r"))
    assert list(json.loads(spec.to_json())) == sorted(json.loads(spec.to_json()))


@pytest.mark.parametrize(
    "change", [{"kind": "Popen"}, {"kind": "DirectoryRoot"}, {"surprise": 1}, {"network": "lan"}]
)
def test_foreign_json_is_refused(change: dict[str, object]) -> None:
    """A kind, field or value that is not ours raises ValueError."""
    members = json.loads(SandboxSpec(argv=("a",), rootfs=DirectoryRoot("/r")).to_json())
    with pytest.raises((ValueError, TypeError)):
        SandboxSpec.from_json(json.dumps({**members, **change}))


def test_defaults_are_confined() -> None:
    """Without a word said, a sandbox has no network, the filter, fourteen capabilities and no privilege."""
    spec = SandboxSpec(argv=("a",), rootfs=DirectoryRoot("/r"))
    assert spec.network is NetworkMode.NONE
    assert spec.seccomp
    assert not spec.privileged
    assert spec.capabilities == DEFAULT_CAPABILITIES
    assert not spec.limits.needs_cgroup()


@pytest.mark.parametrize(
    "limits",
    [Limits(memory=1), Limits(pids=1), Limits(cpus=0.1), Limits(cpuset_cpus="0"), Limits(cpu_shares=2)],
)
def test_bounds_that_need_a_group(limits: Limits) -> None:
    """Each bound of a control group is recognised as one."""
    assert limits.needs_cgroup()
