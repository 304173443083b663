"""A base image made of busybox, fresh overlays on it, and short ways to run something there."""

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

import pytest

from runtime.control import ExitStatus
from runtime.sandbox import Sandbox
from runtime.spec import DirectoryRoot, OverlayRoot, SandboxSpec

APPLETS = """
cat chown dd echo env false grep head hostname id ip kill ls mkdir mknod mount nc nslookup ping ps pwd rm sh
sleep stat stty tail test touch true tty umask wc yes
"""
BUSYBOX = "/bin/busybox"
# In CI a missing feature is a failure, not a reason to skip.
REPOSITORY = Path(__file__).parents[3]
REQUIRED = "userns" in os.environ.get("PYBUILD_REQUIRE", "").split(",")
ROOT = os.getuid() == 0


def need(ok: bool, reason: str) -> None:
    if not ok:
        if REQUIRED:
            pytest.fail(f"required here: {reason}")
        pytest.skip(reason)


def make_lower(path: Path) -> Path:
    (path / "bin").mkdir(parents=True)
    (path / "tmp").mkdir()
    (path / "tmp").chmod(0o1777)
    shutil.copy(BUSYBOX, path / "bin/busybox")
    for name in APPLETS.split():
        os.symlink("busybox", path / "bin" / name)
    (path / "etc").mkdir()
    (path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n")
    (path / "etc/group").write_text("root:x:0:\napp:x:1001:\nwheel:x:10:root,app\n")
    for directory in (path, path / "bin", path / "etc"):
        directory.chmod(0o755)
    return path


class Lab:
    """A base layer, and a fresh overlay on it for every specification."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.lower = make_lower(base / "lower")
        self.count = 0
        self.upper = base

    def overlay(self, *more: Path) -> OverlayRoot:
        self.count += 1
        self.upper = self.base / f"upper{self.count}"
        work = self.base / f"work{self.count}"
        self.upper.mkdir(mode=0o755)
        work.mkdir()
        return OverlayRoot(lowers=(str(self.lower), *map(str, more)), upper=str(self.upper), work=str(work))

    def spec(self, *argv: str, **changes: object) -> SandboxSpec:
        rootfs = changes.pop("rootfs", None) or self.overlay()
        return SandboxSpec(argv=argv, rootfs=rootfs, env=("PATH=/bin", "A=b"), **changes)


class Result:
    def __init__(self, status: ExitStatus, out: bytes, err: bytes) -> None:
        self.status = status
        self.out = out.decode()
        self.err = err.decode()


async def run(sandbox: Sandbox, spec: SandboxSpec, **options: object) -> Result:
    chunks: dict[int, bytes] = {1: b"", 2: b""}

    def on_output(stream: int, data: bytes) -> None:
        chunks[stream] += data

    status = await asyncio.wait_for(sandbox.run(spec, on_output=on_output, **options), 60)
    return Result(status, chunks[1], chunks[2])


async def shell(sandbox: Sandbox, lab: Lab, script: str, **changes: object) -> Result:
    return await run(sandbox, lab.spec("sh", "-c", script, **changes))


def directory_spec(lab: Lab, *argv: str, **changes: object) -> SandboxSpec:
    path = "/bin" if changes.pop("bare", False) else f"/bin:{lab.lower}/bin"
    return SandboxSpec(argv=argv, rootfs=DirectoryRoot(str(lab.lower)), env=(f"PATH={path}",), **changes)


def own_groups() -> set[Path]:
    """The control groups of sandboxes of this process."""
    groups = Path("/sys/fs/cgroup").glob("*/pybuild/*/")
    return {path for path in groups if path.name.startswith(f"{os.getpid()}-")}


def sleeping_processes() -> str:
    lines = []
    for pid in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            lines.append(
                Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
    return "\n".join(line for line in lines if "sleep" in line)
