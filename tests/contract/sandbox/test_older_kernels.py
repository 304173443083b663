"""The ways taken where the newest system calls are missing."""

import subprocess
import sys
from pathlib import Path

import pytest

from runtime.spec import Limits
from tests.contract.sandbox.lab import REPOSITORY, Lab

pytestmark = pytest.mark.userns


WITHOUT_CLONE3 = """
import asyncio, ctypes, os, struct, sys
sys.path.insert(0, sys.argv[1])
from runtime import syscalls as sc
from runtime.sandbox import LinuxSandbox
from runtime.spec import SandboxSpec
# Answer clone3 with ENOSYS, as container runtimes do, for this process and all it starts.
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, 435), (0x06, 0, 0, 0x50026), (0x06, 0, 0, 0x7FFF0000)]
sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)
sc.seccomp_filter(b"".join(struct.pack("=HBBI", *rule) for rule in rules))
async def main():
    with LinuxSandbox() as sandbox:
        for _ in range(2):
            spec = SandboxSpec.from_json(sys.argv[2])
            status = await sandbox.run(spec, on_output=lambda s, d: os.write(s, d))
            print(status.code, flush=True)
asyncio.run(main())
"""


def test_without_clone3(lab: Lab) -> None:
    """Where clone3 is refused, fork and unshare make the same sandbox, more than once."""
    script = "echo pid $$; ip -o link | wc -l; grep -c pybuild/ /proc/self/cgroup; exit 4"
    spec = lab.spec("sh", "-c", script, limits=Limits(pids=20))
    command = [sys.executable, "-c", WITHOUT_CLONE3, str(REPOSITORY), spec.to_json()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    lines = done.stdout.split("\n")
    assert lines[0] == "pid 1"
    assert lines[1] == "1"
    assert int(lines[2]) >= 1
    assert done.stdout.count("pid 1\n") == 2
    assert lines[3] == "4"


OLD_OVERLAY = """
import os, sys
sys.path.insert(0, sys.argv[1])
from runtime import syscalls as sc
from runtime.rootmount import Scratch, overlay
known = sc.fsconfig_string
# What a kernel before 6.5 says to the option.
sc.fsconfig_string = lambda fd, key, value: known(fd, key.replace("lowerdir+", "lowerdir++"), value)
sc.unshare(sc.CLONE_NEWNS)
sc.mount("", "/", "", sc.MS_SLAVE | sc.MS_REC)
layers = [os.open(path, sc.O_PATH) for path in sys.argv[4:]]
upper, work = (os.open(path, sc.O_PATH) for path in sys.argv[2:4])
scratch = Scratch()
scratch.attach(os.open("/mnt", sc.O_PATH))
fd = overlay(scratch, layers, upper=upper, work=work, userns=False)
root = os.open(".", os.O_RDONLY, dir_fd=fd)
print(sorted(os.listdir(root)))
os.close(os.open("written", os.O_CREAT | os.O_WRONLY, dir_fd=root))
"""


@pytest.mark.usefixtures("machine")
def test_overlay_on_older_kernels(tmp_path: Path) -> None:
    """Without `lowerdir+` one option string does, even for a hundred layers with awkward names."""
    layers = []
    for number in range(100):
        layer = tmp_path / f"layer:{number},x"
        layer.mkdir()
        (layer / f"f{number:03}").touch()
        layers.append(str(layer))
    upper, work = tmp_path / "upper", tmp_path / "work"
    upper.mkdir()
    work.mkdir()
    command = [
        sys.executable,
        "-c",
        OLD_OVERLAY,
        str(REPOSITORY),
        str(upper),
        str(work),
        *layers,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == f"{[f'f{number:03}' for number in range(100)]}\n", done.stderr
    assert (upper / "written").exists()
