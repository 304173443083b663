"""RUN --device through the command line: devices of this machine under other names, in real sandboxes."""

import json
import re
import time

import pytest

from tests.e2e.traces import temporary

pytestmark = pytest.mark.userns
KIND = "vendor.example/class"
FREE = {"org.mobyproject.buildkit.device.autoallow": "true"}
ZERO = {"path": "/dev/made-up", "hostPath": "/dev/zero"}
READ = "head -c 5 /dev/made-up | wc -c"


class Machine:
    """The command line on a machine with CDI specifications of the test's own."""

    def __init__(self, pybuild, tmp_path):
        self.pybuild = pybuild
        self.folder = tmp_path / "cdi"
        self.folder.mkdir()
        self.context = tmp_path / "context"
        self.context.mkdir()

    def device(self, name="one", annotations=FREE, spec="one", **edits):
        """Register one device, in a document of its own."""
        device = {"name": name, "annotations": annotations, "containerEdits": edits}
        value = {"cdiVersion": "1.1.0", "kind": KIND, "devices": [device]}
        path = self.folder / f"{spec}.json"
        path.write_text(json.dumps(value))
        return path

    def build(self, text, *flags, **options):
        """Build a Dockerfile over busybox."""
        (self.context / "Dockerfile").write_text(f"FROM busybox\n{text}\n")
        env = {"PYBUILD_CDI_SPEC_DIRS": f"/not/there:{self.folder}"}
        return self.pybuild.build(self.context, *flags, env=env, **options)

    def refused(self, text, *flags):
        """What is said where a build fails."""
        done = self.build(text, *flags, check=False)
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr


@pytest.fixture
def machine(busybox, tmp_path, as_root):
    return Machine(busybox, tmp_path)


def test_a_device_is_there_for_one_command(machine, tmp_path):
    """Node, variables, mounts and groups reach the command, not the ones after it, and not the image."""
    (tmp_path / "driver").mkdir()
    (tmp_path / "driver" / "lib.so").write_text("library\n")
    machine.device(
        env=["GPU=first", "PLACE=cdi"],
        deviceNodes=[ZERO],
        mounts=[
            {"hostPath": str(tmp_path / "driver"), "containerPath": "/usr/driver", "options": ["ro", "bind"]}
        ],
        additionalGids=[4444],
    )
    after = "! test -e /dev/made-up && ! test -e /usr/driver && test -z $GPU && echo gone"
    done = machine.build(
        f"ENV PLACE=image\nRUN --device={KIND}=one {READ}; echo $GPU $PLACE; cat /usr/driver/lib.so; id -G;"
        f" touch /usr/driver/x || touch /made\nRUN {after}",
        *("-t", "app"),
    )
    told = done.stderr
    assert re.search(r" 5\n.* first cdi\n.* library\n.* 0( \d+)* 4444\n", told, re.DOTALL)
    assert "Read-only file system" in told
    assert " gone\n" in told
    config = machine.pybuild.image("app")["Config"]
    assert "GPU" not in str(config)
    files = machine.pybuild("run", "app", "find", "/dev", "/usr", "/made", "-name", "m*", check=False).stdout
    assert files.split() == ["/dev/mqueue", "/made"]
    assert temporary(machine.pybuild.root) == []


@pytest.mark.parametrize("user", ["0", "1000", "1000:1000"])
def test_whoever_runs_the_command_can_open_it(machine, user):
    """A node without an owner belongs to the USER; its mode is that of the machine's."""
    machine.device(deviceNodes=[{**ZERO, "fileMode": 0o600}])
    done = machine.build(f"USER {user}\nRUN --device={KIND} {READ}; stat -c %a:%u /dev/made-up")
    assert re.search(rf" 5\n.* 600:{user.partition(':')[0]}\n", done.stderr)


def test_without_the_flag(machine):
    """The error shows the line, and names the device and the flag; --allow by any of its names helps."""
    machine.device(annotations={"org.mobyproject.buildkit.device.class": "gpu"}, env=["GPU=one"])
    text = f"RUN true\nRUN --device={KIND}=one echo got $GPU"
    told = machine.refused(text)
    assert "Dockerfile:3\n" in told
    assert f"error: device {KIND}=one is requested by the build but not allowed" in told
    assert f"--allow device={KIND}=one" in told
    for allow in ("device", f"device={KIND}=one", f"device={KIND}", f"device={KIND}=*", "device=gpu"):
        assert "got one\n" in machine.build(text, "--allow", allow, "--no-cache").stderr
    other = "RUN --device=vendor.example/alias,required echo got $GPU"
    assert "is not registered" in machine.refused(other)
    done = machine.build(other, "--allow", f"device={KIND}=one,alias=vendor.example/alias")
    assert "got one\n" in done.stderr


def test_missing_devices(machine):
    """A required one is an error with its line, also where all are allowed; others are warned of."""
    for flags in ((), ("--allow", "device")):
        told = machine.refused("RUN --device=vendor.example/no,required true", *flags)
        assert "Dockerfile:2\n" in told
        assert 'error: required device "vendor.example/no" is not registered' in told
        done = machine.build("RUN --device=vendor.example/no echo without", *flags, "--no-cache")
        assert " without\n" in done.stderr
        assert 'WARN: optional device "vendor.example/no" is not registered' in done.stderr


def test_yaml(machine):
    """A device that only a YAML document can have is an error that names the file."""
    path = machine.folder / "gpu.yaml"
    path.write_text(f"cdiVersion: 0.6.0\nkind: {KIND}\ndevices: []\n")
    told = machine.refused(f"RUN --device={KIND}=one,required true")
    assert f"hint: {path} has it, but it is YAML, and only JSON is read" in told
    assert f"{path} has it" in machine.build(f"RUN --device={KIND}=one true").stderr


def test_reuse(machine):
    """A step counts by the names of its devices: what they do may change, which they are may not."""
    machine.device(env=["GPU=a"])
    text = f"RUN --device={KIND} date; echo got $GPU"

    def cached():
        return machine.build(text).stderr.count("CACHED")

    assert cached() == 0
    assert cached() == 2
    machine.device(env=["GPU=b"])
    assert cached() == 2
    machine.device(name="another", env=["GPU=c"])
    assert cached() == 0
    (machine.folder / "one.json").unlink()
    assert cached() == 0
    assert cached() == 2
    machine.device(env=["GPU=d"])
    assert cached() == 2
    machine.device(annotations={}, env=["GPU=e"])
    assert "not allowed" in machine.refused(text)


def test_a_recorded_build_sees_what_changed(machine):
    """A build that is all cached is planned again, since devices may have come and gone."""
    machine.device(env=["GPU=a"])
    text = f"RUN --device={KIND}=one,required true"
    for _ in range(3):
        machine.build(text, "-t", "x")
        time.sleep(1.1)
    (machine.folder / "one.json").unlink()
    assert "is not registered" in machine.refused(text, "-t", "x")


HOOK = {"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook", "args": ["nvidia-cdi-hook"]}


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"hooks": [HOOK]}, "it asks for hooks (createContainer)"),
        ({"intelRdt": {"closID": "a"}}, "it asks for intelRdt"),
        ({"netDevices": [{"hostInterfaceName": "eth0", "name": "eth0"}]}, "it asks for netDevices (eth0)"),
        ({"deviceNodes": [{**ZERO, "permissions": "r"}]}, "/dev/made-up is to have the permissions 'r'"),
        (
            {"deviceNodes": [{"path": "/dev/no-such-device"}]},
            "/dev/no-such-device cannot be used: No such file",
        ),
        ({"mounts": [{"hostPath": "/not/there", "containerPath": "/x"}]}, "/not/there cannot be used"),
        ({"deviceNodes": [{**ZERO, "path": "/proc/zero"}]}, "lies inside /proc"),
    ],
    ids=["hooks", "rdt", "interfaces", "permissions", "no-node", "no-file", "proc"],
)
def test_what_cannot_be_given(machine, edits, message):
    """The error has the line, and names the device and the document where they are to blame."""
    path = machine.device(**edits)
    told = machine.refused(f"RUN true\nRUN --device={KIND}=one true")
    assert "Dockerfile:3\n" in told
    assert message in told.replace("\n", " ")
    assert message == "lies inside /proc" or (f"{KIND}=one" in told and str(path) in told)


def test_damaged_documents_are_told_of(machine):
    """The devices of others can be used; whoever looks first, it is told once."""
    (machine.folder / "bad.json").write_text("{")
    machine.device(env=["GPU=a"])
    told = f"WARN: CDI specification {machine.folder}/bad.json is not used: it is not valid JSON"
    for flags in ((), ("--allow", "device")):
        done = machine.build(f"RUN --device={KIND} echo got $GPU", *flags, "--no-cache")
        assert "got a\n" in done.stderr
        assert done.stderr.count(told) == 1


def test_calls_that_build_nothing(machine):
    """Checks and outlines need no device; a plan shows what would be given."""
    text = f"RUN --device={KIND}=one,required true"
    for flags in (("--check",), ("--call", "outline")):
        assert machine.build(text, *flags).returncode == 0
    machine.device(env=["GPU=a"])
    assert f"    device {KIND}=one\n" in machine.build(text, "--plan").stdout
