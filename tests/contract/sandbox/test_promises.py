"""What every sandbox promises, tested on each of them."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from runtime.control import Control, ExitStatus
from runtime.errors import ProgramNotFound
from runtime.sandbox import Sandbox
from tests.contract.sandbox.lab import (
    Lab,
    directory_spec,
    run,
    sleeping_processes,
)

pytestmark = pytest.mark.userns


@pytest.mark.parametrize("code", [0, 1, 7, 255])
async def test_exit_code_is_passed_on(sandbox: Sandbox, lab: Lab, code: int) -> None:
    """The program's own code comes back, whatever it is."""
    result = await run(sandbox, directory_spec(lab, "/bin/sh", "-c", f"exit {code}"))
    assert result.status == ExitStatus(code=code)
    assert result.status.ok is (code == 0)


async def test_streams_are_kept_apart(sandbox: Sandbox, lab: Lab) -> None:
    """Standard output and standard error arrive complete, each under its own number."""
    result = await run(sandbox, directory_spec(lab, "/bin/sh", "-c", "echo out; echo err >&2; echo again"))
    assert (result.out, result.err) == ("out\nagain\n", "err\n")


async def test_output_arrives_while_running(sandbox: Sandbox, lab: Lab) -> None:
    """The first line is delivered long before the program ends."""
    seen: list[float] = []
    begin = time.monotonic()
    spec = directory_spec(lab, "/bin/sh", "-c", "echo first; sleep 1")
    await sandbox.run(spec, on_output=lambda _stream, _data: seen.append(time.monotonic() - begin))
    assert seen[0] < 0.8 < time.monotonic() - begin


async def test_much_output_is_complete(sandbox: Sandbox, lab: Lab) -> None:
    """Several pipe capacities arrive without loss."""
    result = await run(sandbox, directory_spec(lab, "/bin/sh", "-c", "yes | head -c 3000000"))
    assert len(result.out) == 3_000_000


async def test_standard_input(sandbox: Sandbox, lab: Lab, tmp_path: Path) -> None:
    """A descriptor given as stdin is read by the program and stays open for the caller."""
    (tmp_path / "input").write_text("hello")
    fd = os.open(tmp_path / "input", os.O_RDONLY)
    result = await run(sandbox, directory_spec(lab, "/bin/sh", "-c", "cat"), stdin=fd)
    assert result.out == "hello"
    os.close(fd)


async def test_no_standard_input_is_end_of_file(sandbox: Sandbox, lab: Lab) -> None:
    """Without stdin the program sees the end at once instead of waiting."""
    assert (await run(sandbox, directory_spec(lab, "/bin/sh", "-c", "cat; echo done"))).out == "done\n"


async def test_missing_program(sandbox: Sandbox, lab: Lab) -> None:
    """A program that is not there is 127, in the words Docker uses."""
    with pytest.raises(
        ProgramNotFound, match=r'exec: "nosuch": executable file not found in \$PATH'
    ) as caught:
        await run(sandbox, directory_spec(lab, "nosuch"))
    assert caught.value.exit_code == 127


async def test_signal_from_outside(sandbox: Sandbox, lab: Lab) -> None:
    """A signal sent through the control reaches the program."""
    control = Control()

    def on_output(_stream: int, _data: bytes) -> None:
        control.send_signal(signal.SIGTERM)

    spec = directory_spec(
        lab, "/bin/sh", "-c", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done"
    )
    status = await asyncio.wait_for(sandbox.run(spec, on_output=on_output, control=control), 30)
    assert status == ExitStatus(code=42)
    assert control.pidfd == -1


async def test_cancelling_ends_the_program(sandbox: Sandbox, lab: Lab) -> None:
    """Cancellation waits for the death of the program and then propagates."""
    started = asyncio.Event()
    argv = ("/bin/sh", "-c", "echo $$; sleep 4321 & sleep 4321")
    task = asyncio.create_task(sandbox.run(directory_spec(lab, *argv), on_output=lambda *_: started.set()))
    await asyncio.wait_for(started.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "4321" not in sleeping_processes()


async def test_callback_that_raises_ends_the_program(sandbox: Sandbox, lab: Lab) -> None:
    """An exception of the caller's callback comes out of `run`, and nothing keeps running."""

    def on_output(_stream: int, _data: bytes) -> None:
        raise BrokenPipeError("reader gone")

    spec = directory_spec(lab, "/bin/sh", "-c", "echo x; sleep 4320")
    with pytest.raises(BrokenPipeError, match="reader gone"):
        await asyncio.wait_for(sandbox.run(spec, on_output=on_output), 20)
    assert "4320" not in sleeping_processes()
