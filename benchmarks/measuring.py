"""
Measuring a command: seconds, processor seconds and peak memory, with the daemons and sandboxes behind it.

Processor time is that of a control group that holds this program (which sleeps meanwhile), the clients, the
daemons and their sandboxes; without permission to make one, of the client's children and the daemons. Memory
is the peak of the largest single process, clients' and daemons' alike.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import machine

TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1024.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: wall seconds, processor seconds, peak memory in MiB."""

    wall: float
    cpu: float
    peak: float


class Account:
    """A control group that processor time is charged to, or a stand-in where none can be made."""

    def __init__(self) -> None:
        self.parent = ""
        self._folder: Path | None = None
        self._home: Path | None = None

    def open(self) -> None:
        """Make the group and move this process into it."""
        for top, own in _groups():
            folder = top / f"pybuild-bench-{os.getpid()}"
            try:
                (folder / "work").mkdir(parents=True)
                (folder / "run").mkdir()
                (folder / "work" / "cgroup.procs").write_text(str(os.getpid()))
            except OSError:
                _remove(folder)
                continue
            self._folder, self._home = folder, top / own
            self.parent = f"/{folder.name}/run"
            return

    def close(self) -> None:
        """Leave the group and remove it."""
        if self._folder is not None and self._home is not None:
            self.release(os.getpid())
            _remove(self._folder)
            # With --cgroup-parent dockerd makes the same directory in every hierarchy.
            for twin in Path("/sys/fs/cgroup").glob(f"*/{self._folder.name}"):
                _remove(twin)

    def release(self, pid: int) -> None:
        """Charge a process, as a server that all contenders share, to nobody."""
        if self._home is not None:
            (self._home / "cgroup.procs").write_text(str(pid))

    def seconds(self) -> float | None:
        """Processor seconds charged so far."""
        if self._folder is None:
            return None
        with contextlib.suppress(FileNotFoundError):
            return int((self._folder / "cpuacct.usage").read_text()) / 1e9
        fields = (self._folder / "cpu.stat").read_text().split()
        return int(fields[fields.index("usage_usec") + 1]) / 1e6


def _groups() -> Iterator[tuple[Path, str]]:
    """Roots of hierarchies that count processor time, and our own group in each."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, own = line.split(":", 2)
        if "cpuacct" in controllers.split(","):
            yield Path("/sys/fs/cgroup/cpuacct"), own.lstrip("/")
        elif number == "0" and Path("/sys/fs/cgroup/cpu.stat").exists():
            yield Path("/sys/fs/cgroup"), own.lstrip("/")


def _remove(folder: Path) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(path)


@contextlib.contextmanager
def account() -> Iterator[Account]:
    """An account that is open within the block."""
    made = Account()
    made.open()
    try:
        yield made
    finally:
        made.close()


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
                found.extend(family(int(child)))
    except OSError:
        pass
    return found


def cpu_of(pids: Sequence[int]) -> float:
    """Processor seconds of processes and of the children that they waited for."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) / TICKS
    return total


def memory_of(pids: Sequence[int], field: str = "VmHWM") -> float:
    """The largest figure of any of the processes in MiB: VmHWM is the peak, VmRSS the present one."""
    sizes = [0.0]
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            sizes.extend(int(line.split()[1]) / MIB for line in lines if line.startswith(f"{field}:"))
    return max(sizes)


def reset_peaks(pids: Sequence[int]) -> None:
    """Let VmHWM start again from the present size."""
    for pid in pids:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


class Failed(RuntimeError):
    """A measured command failed."""


class Quiet:
    """
    What is done before each measurement, so that nobody pays for what others left or took.

    A virtual machine may give its free memory back to the host (free page reporting), page by page and
    whenever it likes. Whoever uses such a page next waits for the host, for a second or more in each GiB,
    so with `touched_gib` memory is used and freed first, by another process.
    """

    touched_gib: float = 0.0

    def settle(self) -> None:
        """Write out what earlier work left, and touch memory."""
        os.sync()
        if self.touched_gib:
            size = int(self.touched_gib * 1024**3)
            subprocess.run([sys.executable, "-c", _TOUCH, str(size)], check=True)


_TOUCH = """
import mmap, sys
mmap.mmap(-1, int(sys.argv[1]), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)
"""

quiet = Quiet()


def measure(
    command: Sequence[str | Path],
    env: Mapping[str, str],
    *,
    charged: Account,
    daemons: Sequence[int] = (),
) -> Sample:
    """Run a command to its end and measure it."""
    quiet.settle()
    reset_peaks(daemons)
    before = charged.seconds()
    daemons_before = cpu_of(daemons)
    start = time.monotonic()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        text = errors.decode(errors="replace")[-3000:]
        raise Failed(f"failed ({process.returncode}): {' '.join(map(str, command))}\n{text}")
    cpu = used.ru_utime + used.ru_stime + cpu_of(daemons) - daemons_before
    after = charged.seconds()
    if before is not None and after is not None:
        cpu = max(cpu, after - before)
    return Sample(wall, cpu, max(used.ru_maxrss / MIB, memory_of(daemons)))


def take_turns(
    names: Sequence[str], runs: int, once: Callable[[str, int], Sample]
) -> dict[str, list[Sample]]:
    """
    Measure contenders in turn (A B A B), each `runs` times.

    One that fails has no samples after that and is tried no more: the other figures are worth keeping.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    failed: set[str] = set()
    for number in range(runs):
        for name in names:
            if name in failed:
                continue
            try:
                samples[name].append(once(name, number))
            except Failed as problem:
                machine.progress(f"{name} {problem}")
                samples[name].clear()
                failed.add(name)
    return samples


def median(samples: Sequence[Sample], attribute: str) -> float:
    """The median of one figure."""
    return statistics.median(getattr(sample, attribute) for sample in samples)


def number(value: float) -> str:
    """A figure with about three digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(samples: Sequence[Sample]) -> str:
    """The medians of wall, processor seconds and memory, with the spread of the first when there is one."""
    if not samples:
        return "failed"
    walls = [sample.wall for sample in samples]
    spread = f" [{number(min(walls))}-{number(max(walls))}]" if len(walls) > 1 else ""
    wall, cpu = number(median(samples, "wall")), number(median(samples, "cpu"))
    return f"{wall}{spread} / {cpu} / {median(samples, 'peak'):.0f}"


def ratio(samples: Mapping[str, Sequence[Sample]], name: str = "pybuild", *, own: Sequence[str] = ()) -> str:
    """Wall and processor seconds of `name` over those of the fastest of all that are not our own."""
    peers = {
        one: median(them, "wall") for one, them in samples.items() if them and one != name and one not in own
    }
    ours = samples.get(name)
    if not peers or not ours:
        return "-"
    best = min(peers, key=lambda one: peers[one])
    wall = median(ours, "wall") / peers[best]
    cpu = median(ours, "cpu") / max(median(samples[best], "cpu"), 0.01)
    return f"**{wall:.2f}** / {cpu:.2f} ({best})"
