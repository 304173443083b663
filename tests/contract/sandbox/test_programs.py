"""Programs: what can be executed, and how ends and descriptors are passed on."""

# The event loop has nothing else to do while a test looks at files.
# ruff: noqa: ASYNC230

import asyncio
import os
import signal
from pathlib import Path

import pytest

from runtime.control import Control, ExitStatus
from runtime.errors import ProgramNotFound
from runtime.sandbox import LinuxSandbox
from tests.contract.sandbox.lab import (
    Lab,
    run,
)

pytestmark = pytest.mark.userns


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (("/nosuch",), 127, "no such file or directory"),
        (("/etc/passwd",), 126, "permission denied"),
        (("/etc",), 126, "is a directory"),
        (("/etc/nointerpreter",), 127, "no such file or directory"),
        (("/etc/garbage",), 126, "exec format error"),
    ],
)
async def test_programs_that_cannot_run(
    linux: LinuxSandbox, lab: Lab, argv: tuple[str], code: int, message: str
) -> None:
    """127 says nothing was found, 126 says that it may not be run, and the sentence says why."""
    for name, text in (("nointerpreter", "#!/nosuch\n"), ("garbage", "\x01\x02")):
        (lab.lower / "etc" / name).write_text(text)
        (lab.lower / "etc" / name).chmod(0o755)
    with pytest.raises(ProgramNotFound, match=message) as caught:
        await run(linux, lab.spec(*argv))
    assert caught.value.exit_code == code


async def test_own_interpreter_is_not_executed(linux: LinuxSandbox, lab: Lab) -> None:
    """An image cannot have the interpreter of the host executed through /proc/self/exe (CVE-2019-5736)."""
    os.symlink("/proc/self/exe", lab.lower / "bin/trap")
    with pytest.raises(ProgramNotFound, match="refers to the program that starts the sandbox"):
        await run(linux, lab.spec("trap", "-c", "print(1)"))


async def test_killed_by_signal(linux: LinuxSandbox, lab: Lab) -> None:
    """A death by signal is told as one, and as 128 plus its number for a shell."""
    control = Control()
    spec = lab.spec("sh", "-c", "echo x; sleep 100")
    status = await linux.run(spec, on_output=lambda *_: control.send_signal(signal.SIGKILL), control=control)
    assert status == ExitStatus(signal=9)
    assert status.shell_code == 137


async def test_foreground_uses_the_callers_descriptors(linux: LinuxSandbox, lab: Lab, tmp_path: Path) -> None:
    """With stdio the program writes straight to what the caller has open."""
    with open(tmp_path / "out", "w+b") as out, open("/dev/null", "rb") as null:
        stdio = (null.fileno(), out.fileno(), out.fileno())
        status = await linux.run(lab.spec("sh", "-c", "echo direct; exit 3"), stdio=stdio)
        out.seek(0)
        assert (status.code, out.read()) == (3, b"direct\n")


async def test_many_at_once(linux: LinuxSandbox, lab: Lab) -> None:
    """Concurrent sandboxes do not disturb each other."""
    specs = [lab.spec("sh", "-c", f"sleep 0.1; echo {number}; exit {number}") for number in range(12)]
    results = await asyncio.gather(*(run(linux, spec) for spec in specs))
    assert [(result.out, result.status.code) for result in results] == [(f"{n}\n", n) for n in range(12)]


async def test_large_argument(linux: LinuxSandbox, lab: Lab) -> None:
    """An argument as long as the kernel allows passes through."""
    result = await run(linux, lab.spec("sh", "-c", 'echo ${#0}; echo "$A"', "x" * 130_000))
    assert result.out == "130000\nb\n"
