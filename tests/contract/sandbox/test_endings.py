"""Terminals, and every way a sandbox ends."""

# The event loop has nothing else to do while a test looks at files.
# ruff: noqa: ASYNC240

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.control import Control
from runtime.errors import SandboxError
from runtime.sandbox import LinuxSandbox
from runtime.spec import Limits, NetworkMode
from tests.contract.sandbox.lab import (
    REPOSITORY,
    Lab,
    own_groups,
    run,
    sleeping_processes,
)

pytestmark = pytest.mark.userns


async def test_terminal(linux: LinuxSandbox, lab: Lab) -> None:
    """With a terminal the program has a controlling tty of its own devpts, of the asked-for size."""
    result = await run(
        linux,
        lab.spec(
            "sh",
            "-c",
            "tty; stty size; echo err >&2; ls -1 /dev/pts; test -c /dev/console && echo console",
            tty=True,
        ),
        control=Control(33, 101),
    )
    assert result.out.replace("\r\n", "\n") == "/dev/pts/0\n33 101\nerr\n0\nptmx\nconsole\n"


async def test_terminal_excludes_own_descriptors(linux: LinuxSandbox, lab: Lab) -> None:
    """A terminal and the caller's descriptors together are refused instead of one being ignored."""
    with pytest.raises(SandboxError, match="terminal"):
        await linux.run(lab.spec("true", tty=True), stdio=(0, 1, 2))


async def test_terminal_input_and_resize(linux: LinuxSandbox, lab: Lab) -> None:
    """What is typed arrives, Ctrl-C interrupts, and a new size is seen."""
    reader, writer = os.pipe()
    control = Control()
    seen = bytearray()

    def on_output(_stream: int, data: bytes) -> None:
        seen.extend(data)
        if b"ready" in data:
            control.resize(50, 60)
            os.write(writer, b"hello\n")
        if b"got hello" in data:
            os.write(writer, b"\x03")

    script = (
        "trap 'echo interrupted; stty size; exit 5' INT; echo ready; read x; echo got $x; "
        "while :; do sleep 0.05; done"
    )
    status = await asyncio.wait_for(
        linux.run(lab.spec("sh", "-c", script, tty=True), stdin=reader, on_output=on_output, control=control),
        30,
    )
    os.close(reader)
    os.close(writer)
    assert status.code == 5
    assert b"interrupted\r\n50 60\r\n" in seen


async def test_cancel_leaves_nothing(brief: Callable[[], LinuxSandbox], lab: Lab) -> None:
    """After cancellation no process, mount, group or link of the sandbox is left."""
    before = Path("/proc/self/mountinfo").read_text()
    groups = own_groups()
    started = asyncio.Event()
    spec = lab.spec(
        "sh", "-c", "(sleep 7654 &) ; echo x; sleep 7654", network=NetworkMode.PRIVATE, limits=Limits(pids=50)
    )
    with brief() as linux:
        task = asyncio.create_task(linux.run(spec, on_output=lambda *_: started.set()))
        await asyncio.wait_for(started.wait(), 30)
        assert "7654" in sleeping_processes()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert "7654" not in sleeping_processes()
    assert Path("/proc/self/mountinfo").read_text() == before
    assert own_groups() <= groups


async def test_nothing_is_begun_behind_the_last_one(machine: None, lab: Lab) -> None:
    """A group for the next sandbox is made only where the caller expects one."""
    before = own_groups()
    with LinuxSandbox(ahead=True) as linux:
        await linux.run(lab.spec("true"), more=False)
        assert own_groups() <= before
        await linux.run(lab.spec("true"))
        assert own_groups() - before


async def test_cancel_before_it_began(linux: LinuxSandbox, lab: Lab) -> None:
    """A run that is cancelled at once ends as cleanly as any other."""
    for _ in range(5):
        task = asyncio.create_task(linux.run(lab.spec("sleep", "8765")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert "8765" not in sleeping_processes()


async def test_closing_ends_what_runs(lab: Lab) -> None:
    """Leaving the context kills every sandbox, and the run says that it did not end by itself."""
    started = asyncio.Event()
    with LinuxSandbox() as own:
        task = asyncio.create_task(
            own.run(lab.spec("sh", "-c", "echo x; sleep 6543"), on_output=lambda *_: started.set())
        )
        await asyncio.wait_for(started.wait(), 30)
    assert "6543" not in sleeping_processes()
    assert (await task).signal == 9
    with pytest.raises(SandboxError, match="closed"):
        await own.run(lab.spec("true"))


ORPHAN = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from runtime.sandbox import LinuxSandbox
from runtime.spec import SandboxSpec
async def main():
    with LinuxSandbox(ahead=True) as sandbox:
        await sandbox.run(SandboxSpec.from_json(sys.argv[2]), on_output=lambda s, d: print("up", flush=True))
asyncio.run(main())
"""


@pytest.mark.parametrize("victim", ["parent", "helper"])
def test_killing_the_parent_kills_everything(lab: Lab, victim: str) -> None:
    """When pybuild or its helper is killed, no sandbox survives it, nor a child that waits."""
    spec = lab.spec("sh", "-c", "echo x; (sleep 5432 &); sleep 5432")
    command = [sys.executable, "-c", ORPHAN, str(REPOSITORY), spec.to_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout.readline() == "up\n"
        helper = int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()[0])
        os.kill(parent.pid if victim == "parent" else helper, signal.SIGKILL)
        parent.wait(20)
    deadline = time.monotonic() + 10
    while (found := _left_of(parent.pid)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not found


def _left_of(parent: int) -> list[str]:
    """What runs of a test: its program, the helper, and the children of the helper that wait."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes().decode(errors="replace")
            if line.startswith("sleep\x005432") or ("runtime.zygote" in line and f"\0{parent}\0" in line):
                found.append(line)
    return found


async def test_helper_holds_nothing(linux: LinuxSandbox, lab: Lab) -> None:
    """The helper has no environment, few descriptors, and a file nobody can write (CVE-2019-5736)."""
    await linux.run(lab.spec("true"))
    helper = linux._launcher.pid
    assert Path(f"/proc/{helper}/environ").read_bytes() == b""
    # Three standard ones, the socket, itself, the table of mounts, two for a child that waits; and for a
    # moment those of the sandbox that just ended.
    assert len(os.listdir(f"/proc/{helper}/fd")) <= 11
    assert os.statvfs(f"/proc/{helper}/exe").f_flag & os.ST_RDONLY
