"""
Measure builds: ``python benchmarks/builds.py [--folder DIR] [--cases a,c,…] [--runs N]``.

The contenders take turns (A B C A B C …), so that a slow moment of the machine hits all of them. Printed for
each row: seconds (median), processor seconds (client, its children and its daemons), peak memory of the
largest process in MiB, and the ratio of our seconds to the best peer's. Needs root and about 20 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import cases
import contenders
from contenders import Contender

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Sample:
    """One build: wall seconds, processor seconds, peak memory in MiB."""

    wall: float
    cpu: float
    peak: float


def daemon_cpu(pids: list[int]) -> float:
    """Processor seconds of daemons and of the children that they waited for."""
    total = 0.0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        total += sum(map(int, fields[11:15])) / TICKS
    return total


def daemon_peak(pids: list[int]) -> float:
    """Peak memory of the largest daemon in MiB."""
    peaks = [0.0]
    for pid in pids:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        peaks.extend(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))
    return max(peaks)


def measure(contender: Contender, context: Path, network: str | None) -> Sample:
    """Run one build."""
    before = daemon_cpu(contender.daemons)
    start = time.monotonic()
    process = subprocess.Popen(
        contender.build(context, network=network),
        env={**os.environ, **contender.env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{contender.name} failed on {context}:\n{errors.decode()[-3000:]}")
    cpu = used.ru_utime + used.ru_stime + daemon_cpu(contender.daemons) - before
    return Sample(wall, cpu, max(used.ru_maxrss / 1024, daemon_peak(contender.daemons)))


@dataclass
class Row:
    """What a row measures: a case, whether caches are emptied first, what is changed first, the network."""

    name: str
    case: str
    cold: bool
    change: bool = False
    network: str | None = None


ROWS = [
    Row("a: 20 RUN steps, private network", "a", cold=True),
    Row("a: 20 RUN steps, no network", "a", cold=True, network="none"),
    Row("b: no-op cached build", "a", cold=False, network="none"),
    Row("c: COPY 50,000 files, cold", "c", cold=True),
    Row("c0: unchanged", "c", cold=False),
    Row("c1: one file changed", "c", cold=False, change=True),
    Row("ci: 40,000 of them ignored, cold", "ci", cold=True),
    Row("ci0: unchanged", "ci", cold=False),
    Row("d: COPY one file of 2 GiB, cold", "d", cold=True),
    Row("d0: unchanged", "d", cold=False),
    Row("e: RUN writes 1 GiB", "e", cold=True),
    Row("f: four stages of 2 s", "f", cold=True),
]


def run_row(row: Row, field: list[Contender], folder: Path, runs: int) -> dict[str, list[Sample]]:
    """Measure one row, the contenders in turn."""
    context = folder / "contexts" / row.case
    samples: dict[str, list[Sample]] = {one.name: [] for one in field}
    for number in range(runs):
        if row.change:
            target = next((context / "src").rglob("*.js"))
            target.write_bytes(target.read_bytes() + b"// %d\n" % number)
        for contender in field:
            if row.cold:
                contender.forget()
            samples[contender.name].append(measure(contender, context, row.network))
    return samples


def median(samples: list[Sample], attribute: str) -> float:
    """The median of one figure."""
    return statistics.median(getattr(sample, attribute) for sample in samples)


def show(row: Row, samples: dict[str, list[Sample]]) -> None:
    """Print a row as a Markdown table row."""
    ours = median(samples["pybuild"], "wall")
    peers = {name: median(them, "wall") for name, them in samples.items() if name != "pybuild"}
    cells = [
        f"{median(them, 'wall'):.2f} s / {median(them, 'cpu'):.2f} / {median(them, 'peak'):.0f}"
        for them in samples.values()
    ]
    best = min(peers, key=lambda name: peers[name], default=None)
    ratio = f"{ours / peers[best]:.2f} ({best})" if best else "-"
    print(f"| {row.name} | {' | '.join(cells)} | {ratio} |", flush=True)


def main() -> None:
    """Read the arguments, make everything, measure, clean up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--folder", default="", help="where everything goes (default: a temporary folder)")
    parser.add_argument("--cases", default="a,c,ci,d,e,f", help="which cases")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--contenders", default="pybuild,buildkit,classic,buildah")
    parser.add_argument("--json", help="also append raw samples to this file")
    args = parser.parse_args()
    wanted = args.contenders.split(",")
    with tempfile.TemporaryDirectory(prefix="pybuild-bench.") as temporary:
        folder = Path(args.folder or temporary)
        daemon = contenders.Dockerd(folder)
        try:
            field = assemble(folder, daemon, wanted)
            compete(field, folder, args)
        finally:
            daemon.stop()


def assemble(folder: Path, daemon: contenders.Dockerd, wanted: list[str]) -> list[Contender]:
    """The contenders that are wanted and installed."""
    field = [contenders.pybuild(folder)]
    if contenders.installed("dockerd") and {"buildkit", "classic"} & set(wanted):
        pids = daemon.start()
        for buildkit, name in ((True, "buildkit"), (False, "classic")):
            if name in wanted:
                field.append(contenders.docker(folder, daemon, pids, buildkit=buildkit))
    if contenders.installed("buildah") and "buildah" in wanted:
        field.append(contenders.buildah(folder))
    return field


def compete(field: list[Contender], folder: Path, args: argparse.Namespace) -> None:
    """Make contexts and bases, then measure row by row."""
    base = "localhost/busybox:bench"
    archive = folder / "bases" / "busybox.tar"
    script = contenders.REPOSITORY / "testdata" / "bases" / "make-base"
    made = {**os.environ, "BASES": str(archive.parent), "PYBUILD": "true"}
    subprocess.run([script, "busybox", base], env=made, check=True)
    for contender in field:
        load = [*contender.load_base, str(archive), base]
        env = {**os.environ, **contender.env}
        subprocess.run(load, env=env, check=True, stdout=subprocess.DEVNULL)
    chosen = args.cases.split(",")
    cases.make(folder / "contexts", chosen, base)
    names = " | ".join(one.name for one in field)
    print(f"| seconds / processor seconds / peak MiB | {names} | ratio to the best peer |")
    print("|" + "---|" * (len(field) + 2), flush=True)
    for row in ROWS:
        if row.case not in chosen:
            continue
        samples = run_row(row, field, folder, args.runs)
        show(row, samples)
        if args.json:
            with open(args.json, "a", encoding="utf-8") as out:
                raw = {name: [vars(one) for one in them] for name, them in samples.items()}
                out.write(json.dumps({"row": row.name, "samples": raw}) + "\n")


if __name__ == "__main__":
    main()
