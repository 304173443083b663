"""A plan is complete and pure: every decision is in it before anything happens."""

import json
from dataclasses import replace

import pytest

from runtime import capabilities, plan
from runtime import syscalls as sc
from runtime.errors import NotPermitted, SandboxError
from runtime.mounts import Tmpfs
from runtime.namespaces import IdMap
from runtime.spec import DirectoryRoot, Limits, NetworkMode, OverlayRoot, Place, SandboxSpec, Ulimit
from runtime.values import encode

EVERYTHING = (1 << 41) - 1
AROUND = plan.Surroundings(
    id_map=IdMap(kind="root", size=4294967295, groups=4294967295, setgroups=True),
    bounding=EVERYTHING,
    last_capability=40,
    resolv_conf="nameserver 192.0.2.1\n",
    hosts="127.0.0.1\tlocalhost\n",
    seccomp="QUJD",
)
SPEC = SandboxSpec(argv=("true",), rootfs=DirectoryRoot("/root"))


def test_plan_is_json() -> None:
    """It passes through JSON unchanged, which is how it travels."""
    made = plan.make(replace(SPEC, limits=Limits(ulimits=(Ulimit("nofile", 10, 20),))), AROUND)
    assert json.loads(json.dumps(made))["rlimits"] == [["nofile", 7, 10, 20]]


def test_privileged_switches_the_walls_off() -> None:
    """No filter, no masks, every capability held here and not one more."""
    made = plan.make(replace(SPEC, privileged=True), replace(AROUND, bounding=EVERYTHING & ~(1 << 24)))
    assert made["seccomp"] == ""
    assert made["masked"] == made["readonly"] == []
    assert made["capabilities"] == EVERYTHING & ~(1 << 24)


def test_default_plan_keeps_them() -> None:
    """The default has Docker's mask and paths, and the filter."""
    made = plan.make(SPEC, AROUND)
    assert made["capabilities"] == 0xA80425FB
    assert made["seccomp"] == "QUJD"
    assert "/proc/kcore" in made["masked"]
    assert "/proc/sys" in made["readonly"]


def test_defaults_shrink_silently_but_requests_do_not() -> None:
    """Inside a narrower set the default narrows; a capability asked for by name is an error."""
    narrow = replace(AROUND, bounding=capabilities.mask_of(["CHOWN", "SETUID"]))
    assert plan.make(SPEC, narrow)["capabilities"] == narrow.bounding
    with pytest.raises(NotPermitted, match="SYS_ADMIN"):
        plan.make(replace(SPEC, capabilities=("CHOWN", "SYS_ADMIN")), narrow)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"argv": ()}, "no program"),
        ({"cwd": "relative"}, "not absolute"),
        ({"env": ("NOVALUE",)}, "not NAME=value"),
        ({"env": ("=x",)}, "not NAME=value"),
        ({"argv": ("a\0b",)}, "NUL"),
        ({"hostname": "x" * 65}, "longer than 64"),
        ({"mounts": (Tmpfs(target="/proc/1"),)}, "inside /proc"),
        ({"limits": Limits(ulimits=(Ulimit("wishes", 3, 3),))}, "unknown ulimit"),
    ],
)
def test_bad_specifications(change: dict[str, object], message: str) -> None:
    """What cannot be kept is refused in words before anything is made."""
    with pytest.raises(SandboxError, match=message):
        plan.make(replace(SPEC, **change), AROUND)


def test_environment_last_wins() -> None:
    """Of a name given twice the last value counts; values may hold equals signs and be empty."""
    made = plan.make(replace(SPEC, env=("A=1", "B=x=y", "A=2", "C=")), AROUND)
    assert made["env"] == ["A=2", "B=x=y", "C="]


def test_etc_files_can_be_replaced() -> None:
    """A mount of the user on /etc/hosts takes the place of ours."""
    made = plan.make(replace(SPEC, mounts=(Tmpfs(target="/etc/hosts"),)), AROUND)
    kinds = {mount["target"]: mount["kind"] for mount in made["mounts"]}
    assert kinds["/etc/hosts"] == "Tmpfs"
    assert kinds["/etc/resolv.conf"] == "FileContent"


def test_ping_range_fits_the_namespace() -> None:
    """The kernel refuses a range with groups that are not mapped."""
    single = replace(AROUND, id_map=IdMap(kind="single", size=1, groups=1, setgroups=False))
    assert dict(plan.make(SPEC, single)["sysctls"])["net/ipv4/ping_group_range"] == "0 0"
    assert dict(plan.make(SPEC, AROUND)["sysctls"])["net/ipv4/ping_group_range"] == "0 2147483647"
    assert plan.make(replace(SPEC, network=NetworkMode.HOST), single)["sysctls"] == []


def test_flags() -> None:
    """The machine's network means no network namespace; everything else is always new."""
    assert plan.flags_of(SPEC, cgroup_namespace=False) & sc.CLONE_NEWNET
    host = plan.flags_of(replace(SPEC, network=NetworkMode.HOST), cgroup_namespace=True)
    assert not host & sc.CLONE_NEWNET
    for flag in (sc.CLONE_NEWNS, sc.CLONE_NEWPID, sc.CLONE_NEWIPC, sc.CLONE_NEWUTS, sc.CLONE_NEWCGROUP):
        assert host & flag


def test_description() -> None:
    """People can read what will happen, in order."""
    lines = plan.describe(replace(SPEC, mounts=(Tmpfs(target="/cache"),)), AROUND)
    assert lines[0] == "proc on /proc"
    assert "tmpfs on /cache (mode 1777)" in lines
    assert lines[-1] == "run true as root in /"


def test_what_a_root_lacks_is_for_sandboxes_without_mounts() -> None:
    """Who asks for mounts may need more places than the caller knew of; the sandbox looks for itself then."""
    place = Place("/proc", directory=True, mode=0o755)
    root = OverlayRoot(lowers=("/l",), upper="/u", work="/w", lacks=(place,))
    told = SandboxSpec(argv=("true",), rootfs=root)
    asked = replace(told, mounts=(Tmpfs(target="/data"),))
    assert plan.make(told, AROUND)["root"]["lacks"] == [encode(place)]
    assert plan.make(asked, AROUND)["root"]["lacks"] is None
