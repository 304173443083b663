"""Sandboxes of an ordinary user, who first becomes root of a user namespace."""

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.sandbox.lab import REPOSITORY, make_lower, need

pytestmark = pytest.mark.userns


ROOTLESS = """
import asyncio, json, os, sys
sys.path.insert(0, sys.argv[1])
from runtime import userns
from runtime.namespaces import current_id_map
from runtime.mounts import DeviceNode
from runtime.network import choose_network
from runtime.sandbox import LinuxSandbox
from runtime.spec import Limits, NetworkMode, OverlayRoot, SandboxSpec
base, want = sys.argv[2], sys.argv[3]
if userns.needs_reentry():
    if want == "single":
        userns.subordinate_ranges = lambda uid: None
    userns.reenter(sys.argv, dict(os.environ))
assert os.environ[userns.MARK] == want == current_id_map().kind
answers = {}
async def attempt(name, *argv, **changes):
    for part in ("upper", "work"):
        os.makedirs(f"{base}/{part}{name}")
    root = OverlayRoot(lowers=(f"{base}/lower",), upper=f"{base}/upper{name}", work=f"{base}/work{name}")
    out = []
    try:
        spec = SandboxSpec(argv=argv, rootfs=root, env=("PATH=/bin",), **changes)
        status = await sandbox.run(spec, on_output=lambda s, d: out.append(d.decode()))
        answers[name] = [status.code, "".join(out)]
    except Exception as problem:
        answers[name] = [type(problem).__name__, str(problem)]
async def main():
    script = "id -u; echo $$; grep CapEff /proc/self/status; echo x > /dev/null"
    await attempt("id", "sh", "-c", script)
    await attempt("chown", "sh", "-c", "touch /f; chown 5:6 /f && stat -c %u:%g /f")
    await attempt("user", "id", "-u", user="app")
    await attempt("host", "ls", "/sys/class/net", network=NetworkMode.HOST)
    await attempt("private", "true", network=NetworkMode.PRIVATE)
    await attempt("limit", "true", limits=Limits(pids=5))
    await attempt("tty", "tty", tty=True)
    await attempt("whiteout", "sh", "-c", "rm /etc/passwd; rm -r /tmp; mkdir /tmp; ls /etc")
    zero = dict(target="/dev/z", source="/dev/zero", major=1)
    node, other = DeviceNode(minor=5, mode=0o600, **zero), DeviceNode(minor=3, **zero)
    script, name = "head -c 3 /dev/z | wc -c; stat -c %a /dev/z", "app" if want == "subid" else ""
    await attempt("device", "sh", "-c", script, user=name, mounts=(node,))
    await attempt("other device", "true", mounts=(other,))
    fifo = DeviceNode(target="/dev/p", type="p")
    await attempt("fifo", "stat", "-c", "%F", "/dev/p", mounts=(fifo,))
    await attempt("groups", "id", "-G", groups=(44,))
    await attempt("far group", "true", groups=(1 << 30,))
    answers["network"] = list(choose_network(None))
with LinuxSandbox(state_directory=base + "/state") as sandbox:
    asyncio.run(main())
print(json.dumps(answers))
sys.exit(9)
"""


@pytest.fixture(scope="module")
def user(request: pytest.FixtureRequest) -> Iterator[pwd.struct_passwd]:
    """An ordinary user of this machine, made for these tests and removed after them."""
    request.getfixturevalue("machine")
    need(shutil.which("useradd") is not None, "no useradd to make an ordinary user with")
    name = f"pybuildtest{os.getpid()}"
    subprocess.run(["useradd", "--no-create-home", name], check=True, capture_output=True)
    yield pwd.getpwnam(name)
    subprocess.run(["userdel", name], check=True, capture_output=True)


@pytest.fixture
def shared_directory(user: pwd.struct_passwd) -> Iterator[Path]:
    """A directory of that user with the package, a base layer and the script, where every user may look."""
    base = Path(tempfile.mkdtemp(prefix="pybuild-test-", dir="/var/tmp"))
    shutil.copytree(
        REPOSITORY / "runtime", base / "code/runtime", ignore=shutil.ignore_patterns("__pycache__")
    )
    make_lower(base / "lower")
    (base / "script.py").write_text(ROOTLESS)
    subprocess.run(["chown", "-R", f"{user.pw_uid}:{user.pw_gid}", base], check=True)
    yield base
    shutil.rmtree(base)


def interpreter_for(user: pwd.struct_passwd) -> str:
    """An interpreter that another user may execute; the test's own may live in a private home."""
    for candidate in (sys.executable, "/usr/bin/python3"):
        check = [candidate, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        with contextlib.suppress(OSError):
            if (
                subprocess.run(
                    check,
                    user=user.pw_uid,
                    group=user.pw_gid,
                    extra_groups=[],
                    check=False,
                    capture_output=True,
                    cwd="/",
                ).returncode
                == 0
            ):
                return candidate
    pytest.skip("no Python 3.11 that another user may execute")


@pytest.mark.parametrize("kind", ["subid", "single"])
def test_ordinary_user(user: pwd.struct_passwd, shared_directory: Path, kind: str) -> None:
    """An ordinary user gets sandboxes in a user namespace, and hears what is not possible there."""
    if kind == "subid":
        need(shutil.which("newuidmap") is not None, "newuidmap is not installed")
    command = [
        interpreter_for(user),
        shared_directory / "script.py",
        shared_directory / "code",
        shared_directory,
        kind,
    ]
    done = subprocess.run(
        command,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        env={"PATH": os.environ["PATH"]},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 9, done.stderr
    answers = json.loads(done.stdout)
    assert answers["id"] == [0, "0\n1\nCapEff:\t00000000a80425fb\n"]
    assert answers["host"][0] == 0, answers["host"]
    assert "lo" in answers["host"][1]
    assert answers["private"][0] == "NotPermitted"
    assert answers["limit"][0] == "NotPermitted"
    assert answers["tty"] == [0, "/dev/pts/0\r\n"]
    assert answers["network"][0] == "host"
    assert answers["whiteout"][0] == 0
    assert answers["device"] == [0, "3\n666\n"]
    assert answers["other device"][0] == "SetupFailed"
    assert "not the expected device" in answers["other device"][1]
    assert answers["fifo"] == [0, "fifo\n"]
    assert answers["far group"][0] == "NotPermitted"
    if kind == "subid":
        assert answers["chown"] == [0, "5:6\n"]
        assert answers["user"] == [0, "1000\n"]
        assert answers["groups"][0] == 0
        assert "44" in answers["groups"][1].split()
    else:
        assert answers["chown"][0] == 1
        assert answers["groups"][0] == "NotPermitted"
        assert "group 44 cannot be joined" in answers["groups"][1]
        assert answers["user"][0] == "NotPermitted"


def test_reentry_passes_signals_on(user: pwd.struct_passwd, shared_directory: Path) -> None:
    """A signal to the first process reaches the second, whose end is the end of both."""
    code = (
        "import os,signal,sys,time\nsys.path.insert(0, sys.argv[1])\nfrom runtime import userns\n"
        "if userns.needs_reentry(): userns.reenter(sys.argv, dict(os.environ))\n"
        "def end(*_): os._exit(17)\nsignal.signal(signal.SIGTERM, end)\n"
        "print('up', flush=True)\ntime.sleep(60)\n"
    )
    (shared_directory / "wait.py").write_text(code)
    command = [interpreter_for(user), shared_directory / "wait.py", shared_directory / "code"]
    with subprocess.Popen(
        command,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        env={"PATH": os.environ["PATH"]},
        cwd="/",
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 17
