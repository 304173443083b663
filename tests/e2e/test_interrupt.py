"""A build that is ended in the middle of a RUN leaves nothing behind, and nothing finished is lost."""

import contextlib
import os
import re
import secrets
import signal
import time

import pytest

from tests.e2e.support import wait_for
from tests.e2e.traces import broken_blobs, control_groups, interface, mounts, processes, temporary

pytestmark = [pytest.mark.userns, pytest.mark.usefixtures("as_root")]

STEPS = "FROM busybox\nENV NONCE={word}\nRUN echo finished > /finished\n"
ENDLESS = (
    'RUN echo "@@begun $(cat /sys/class/net/eth0/iflink 2>/dev/null)"; echo half > /half; '
    "(trap '' TERM INT HUP; sleep {word}1) & setsid sleep {word}2 & sleep {word}3\n"
)


class Endless:
    """A running build whose second RUN never ends."""

    def __init__(self, pybuild, folder):
        self.pybuild = pybuild
        self.word = str(secrets.randbelow(10**8) + 10**8)
        folder.mkdir()
        (folder / "Dockerfile").write_text((STEPS + ENDLESS).format(word=self.word))
        self.folder = folder
        self.options = ("--progress", "plain", "-t", "endless", "--iidfile", folder / "iid")
        self.process = pybuild.start(*self.options, folder, start_new_session=True)
        self.told = ""
        for line in self.process.stderr:
            self.told += line.decode()
            found = re.search(r"^#\d+ (?:[\d.]+ )?@@begun (\d*)$", line.decode())
            if found:
                self.link = found[1]
                break
        wait_for(lambda: len(self.sleepers()) == 3, "sleepers")
        assert control_groups(self.process.pid) or not os.path.exists("/sys/fs/cgroup/pybuild")

    def sleepers(self):
        """The processes of the command."""
        return [pid for number in "123" for pid in processes(f"\0{self.word}{number}\0")]

    def end(self):
        """Wait for the process and give its exit status and everything that it told."""
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out.decode(), self.told + err.decode()

    def build_the_rest(self):
        """Build what was finished, and one more command."""
        (self.folder / "Dockerfile").write_text(STEPS.format(word=self.word) + "RUN cat /finished\n")
        return self.pybuild.build(self.folder, "-t", "rest")


@pytest.fixture
def endless(busybox, tmp_path):
    """A build in the middle of a RUN."""
    running = Endless(busybox, tmp_path / "endless")
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.end()


def nothing_left(running):
    """Nothing of a build that ended in order is there any more."""
    assert running.sleepers() == []
    assert control_groups(running.process.pid) == []
    assert mounts(running.pybuild.root) == []
    # The kernel takes a network namespace, and with it the link, apart a little after its last process.
    wait_for(lambda: running.link == "" or interface(running.link) is None, "the link to be gone", 10)
    assert temporary(running.pybuild.root) == []
    assert broken_blobs(running.pybuild.root) == []
    assert not (running.folder / "iid").exists()
    assert running.pybuild("inspect", "endless", check=False).returncode == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ended_by_a_signal(endless, number):
    """Ctrl-C, kill and a closed terminal: one word, status 130, no trace; the finished step stays cached."""
    endless.process.send_signal(number)
    status, out, told = endless.end()

    assert status == 130
    assert out == ""
    assert told.rstrip().endswith("interrupted")
    assert "Traceback" not in told
    nothing_left(endless)
    rest = endless.build_the_rest()
    assert re.search(r"(#\d+) \[2/3\] RUN echo finished.*\n\1 CACHED", rest.stderr)


def test_ctrl_c_reaches_everybody(endless):
    """A terminal sends SIGINT to the whole group, helpers included; nobody but pybuild says a word."""
    os.killpg(endless.process.pid, signal.SIGINT)
    status, _, told = endless.end()

    assert status == 130
    assert told.count("interrupted") == 1
    assert "Traceback" not in told
    nothing_left(endless)


def test_impatience(endless):
    """Several Ctrl-C in a row are no reason for a traceback or leftovers."""
    for _ in range(3):
        endless.process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    status, _, told = endless.end()

    assert status == 130
    assert "Traceback" not in told
    endless.build_the_rest()
    nothing_left(endless)


def test_killed(endless):
    """SIGKILL cannot be answered: the kernel ends the command, the next start removes the rest."""
    endless.process.kill()
    assert endless.end()[0] == -signal.SIGKILL
    wait_for(lambda: endless.sleepers() == [], "the command to be gone", 10)

    rest = endless.build_the_rest()

    assert re.search(r"(#\d+) \[2/3\] RUN echo finished.*\n\1 CACHED", rest.stderr)
    nothing_left(endless)


def test_run_killed(busybox):
    """The same for pybuild run: what runs dies with it, the next start removes the rest."""
    word = str(secrets.randbelow(10**8) + 10**8)
    command = f"(setsid sleep {word}1 &); sleep {word}2"
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(busybox.start("run", "busybox", "sh", "-c", command))
        wait_for(lambda: len(processes(f"\0{word}")) == 2, "sleepers")
        process.kill()
    wait_for(lambda: processes(f"\0{word}") == [], "the command to be gone", 10)

    assert busybox("run", "busybox", "echo", "next").stdout == "next\n"
    assert control_groups(process.pid) == []
    assert temporary(busybox.root) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ended_while_copying(busybox, tmp_path, number):
    """A layer that is half written is no layer: not under a blob's name, and gone after the next start."""
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM busybox\nCOPY large /\n")
    with (folder / "large").open("wb") as stream:
        stream.truncate(1 << 30)
    with busybox.start("-t", "large", folder, "--progress", "plain") as process:
        for line in process.stderr:
            if b"COPY large" in line:
                break
        wait_for(lambda: temporary(busybox.root) or process.poll() is not None, "a layer to be begun")
        process.send_signal(number)
        status = process.wait(30)
        told = process.stderr.read().decode()

    assert status == (130 if number == signal.SIGTERM else -signal.SIGKILL)
    assert "Traceback" not in told
    assert broken_blobs(busybox.root) == []
    if number == signal.SIGTERM:
        assert temporary(busybox.root) == []
    (folder / "Dockerfile").write_text("FROM busybox\nCOPY Dockerfile /\n")
    busybox.build(folder, "-t", "small")
    assert temporary(busybox.root) == []
    assert busybox("inspect", "large", check=False).returncode == 1
