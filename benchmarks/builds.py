"""
Measure builds: ``python benchmarks/builds.py --loop-image 60G [--cases a,c,...] [--runs N] [--scale F]``.

The contenders take turns (A B C A B C ...), so that a slow moment of the machine hits all of them. Printed
for each row: seconds (median and range), processor seconds (client, daemons and sandboxes), peak memory of
the largest process in MiB, and our ratio to the best peer of the row. Needs root and, at scale 1, about
40 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import cases
import contenders
import machine
import measuring
import workspace
from contenders import Contender

FIELD = "pybuild,buildkit,classic,buildah"


@dataclass
class Row:
    """What a row measures: a case, whether caches are emptied first, what is changed first, the network."""

    name: str
    case: str
    cold: bool
    change: bool = False
    network: str | None = None


def rows(sizes: cases.Sizes) -> list[Row]:
    """All rows, named after what they measure at this scale."""
    files, ignored = f"{sizes.of(cases.FILES):,}", f"{sizes.of(cases.FILES) * 4 // 5:,}"
    steps = sizes.of(20)
    return [
        Row(f"a: {steps} RUN steps, private network", "a", cold=True),
        Row(f"a: {steps} RUN steps, no network", "a", cold=True, network="none"),
        Row("b: cached build", "a", cold=False, network="none"),
        Row(f"c: COPY {files} files, cold", "c", cold=True),
        Row("c0: unchanged", "c", cold=False),
        Row("c1: one file changed", "c", cold=False, change=True),
        Row(f"ci: COPY {files} files, {ignored} of them ignored, cold", "ci", cold=True),
        Row("ci0: unchanged", "ci", cold=False),
        Row(f"d: COPY one file of {sizes.of(cases.LARGE_MIB):,} MiB, cold", "d", cold=True),
        Row("d0: unchanged", "d", cold=False),
        Row(f"e: RUN writes {sizes.of(cases.WRITTEN_FOLDERS) * 3.413:,.0f} MiB", "e", cold=True),
        Row("f: four stages of 2 s", "f", cold=True),
    ]


def run_row(
    row: Row, field: list[Contender], folder: Path, runs: int, charged: measuring.Account
) -> dict[str, list[measuring.Sample]]:
    """Measure one row, the contenders in turn."""
    context = folder / "contexts" / row.case
    by_name = {one.name: one for one in field}
    changed: set[int] = set()

    def once(name: str, number: int) -> measuring.Sample:
        if row.change and number not in changed:
            changed.add(number)
            target = min((context / "src").rglob("*.js"))
            target.write_bytes(target.read_bytes() + b"// %d\n" % number)
        contender = by_name[name]
        if row.cold:
            contender.forget()
        command = contender.build(context, network=row.network)
        sample = measuring.measure(command, contender.environment, charged=charged, daemons=contender.daemons)
        machine.progress(f"{row.name}: {name} {sample.wall:.2f} s")
        return sample

    return measuring.take_turns(list(by_name), runs, once)


def assemble(
    args: argparse.Namespace, folder: Path, archive: Path, daemons: list[contenders.Dockerd]
) -> list[Contender]:
    """The contenders that are wanted and installed."""
    wanted = args.contenders.split(",")
    field = []
    if "pybuild" in wanted:
        field.append(contenders.pybuild(folder, args.python, archive))
    # A daemon for each: emptying the cache of one builder would empty the other one's.
    for daemon, name in zip(daemons, ("buildkit", "classic"), strict=True):
        if name in wanted and machine.installed("dockerd"):
            daemon.start()
            field.append(contenders.docker(daemon, archive, buildkit=name == "buildkit"))
    if machine.installed("buildah") and "buildah" in wanted:
        field.append(contenders.buildah(folder, archive))
    return field


def compete(
    args: argparse.Namespace, field: list[Contender], folder: Path, charged: measuring.Account
) -> None:
    """Make the contexts, then measure row by row."""
    sizes = cases.Sizes(args.scale)
    chosen = args.cases.split(",")
    machine.progress("making the build contexts")
    cases.make(folder / "contexts", chosen, contenders.BASE, sizes)
    names = [one.name for one in field]
    machine.emit("## Builds\n", args.output)
    machine.emit(
        "Wall seconds [range] / processor seconds / peak MiB of the largest process; the last column is "
        f"wall / processor relative to the fastest peer. {args.runs} runs each.\n",
        args.output,
    )
    machine.emit(f"| | {' | '.join(names)} | ratio |\n|{'---|' * (len(names) + 2)}", args.output)
    for row in rows(sizes):
        if row.case not in chosen:
            continue
        samples = run_row(row, field, folder, args.runs, charged)
        cells = [measuring.cell(samples[name]) for name in names]
        machine.emit(f"| {row.name} | {' | '.join(cells)} | {measuring.ratio(samples)} |", args.output)
        if args.json:
            with open(args.json, "a", encoding="utf-8") as out:
                raw = {
                    name: [[one.wall, one.cpu, one.peak] for one in them] for name, them in samples.items()
                }
                out.write(json.dumps({"row": row.name, "samples": raw}) + "\n")
    machine.emit(f"\nAt the end: {machine.busy()}.\n", args.output)


def main() -> None:
    """Read the arguments, make everything, measure, clean up."""
    parser = workspace.arguments(__doc__)
    parser.add_argument("--cases", default="a,c,ci,d,e,f", help="which cases")
    parser.add_argument("--contenders", default=FIELD, help=f"which builders (default {FIELD})")
    args = parser.parse_args()
    measuring.quiet.touched_gib = args.touch_memory
    workspace.go_apart()
    with workspace.workspace(args.folder, args.loop_image) as folder, measuring.account() as charged:
        source = Path(args.source).resolve()
        if not args.no_header:
            machine.emit(machine.describe(folder, source), args.output)
        daemons = [contenders.Dockerd(folder, charged.parent, number) for number in range(2)]
        try:
            archive = contenders.base_archive(folder, source)
            contenders.install(folder, source, args.python)
            compete(args, assemble(args, folder, archive, daemons), folder, charged)
        finally:
            for daemon in daemons:
                daemon.stop()


if __name__ == "__main__":
    main()
