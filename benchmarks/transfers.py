"""
Measure image transfers: ``python benchmarks/transfers.py --loop-image 60G [--runs N] [--scale F]``.

An image of four layers, 1 GB before compression, is pushed to a registry that holds nothing, and again under
another name. Then everybody pulls one and the same image into a store that holds nothing but the base image,
and builds upon it with one RUN, which makes every builder pull and unpack it. One registry server serves all;
it is not charged.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import cases
import contenders
import machine
import measuring
import workspace
from contenders import Contender
from servers import Server, available

FORMS = ("gzip", "gzip-fast", "zstd", "zstd:1")
FIELD = "pybuild,docker,buildah,skopeo"
Once = Callable[[str, int], measuring.Sample]


@dataclass
class Transfers:
    """The rows over one field of contenders and one registry server."""

    pushing: list[Contender]
    pulling: list[Contender]
    server: Server
    contexts: Path
    charged: measuring.Account

    def run(self, contender: Contender, command: list[str]) -> measuring.Sample:
        """Measure one command."""
        environment, daemons = contender.environment, contender.daemons
        return measuring.measure(command, environment, charged=self.charged, daemons=daemons)

    def fresh_server(self) -> None:
        """Start the registry server with nothing; its work is charged to nobody."""
        self.server.restart()
        for pid in self.server.family():
            self.charged.release(pid)

    def prepare(self) -> None:
        """Let everybody who pushes build the image."""
        for contender in self.pushing:
            machine.progress(f"{contender.name} builds the image")
            self.run(contender, contender.build(self.contexts / "t"))
            for name in ("first", "second"):
                self.run(contender, [*contender.tag_command, contenders.IMAGE, self.name(name)])

    def name(self, repository: str) -> str:
        """The reference of an image in the registry."""
        return f"{self.server.host}/bench/{repository}:1"

    def rows(self, runs: int) -> Iterator[tuple[str, dict[str, list[measuring.Sample]]]]:
        """Measure row by row."""
        again: dict[str, list[measuring.Sample]] = {one.name: [] for one in self.pushing}
        by_name = {one.name: one for one in [*self.pushing, *self.pulling]}

        def push(name: str, number: int) -> measuring.Sample:
            del number
            self.fresh_server()
            sample = self.run(by_name[name], by_name[name].push_command(self.name("first")))
            again[name].append(self.run(by_name[name], by_name[name].push_command(self.name("second"))))
            return sample

        yield "push to an empty registry", self._turns("push", self.pushing, runs, push)
        yield "push again under another name", again
        self.fresh_server()
        for form in ("gzip", "zstd"):
            yield from self._pulls(form, runs)

    def _pulls(self, form: str, runs: int) -> Iterator[tuple[str, dict[str, list[measuring.Sample]]]]:
        """Pull the same image, whose layers are compressed in this form."""
        origin = next((one for one in self.pushing if one.name in (f"pybuild {form}", "docker")), None)
        origin = origin or self.pushing[0]
        if form == "zstd" and origin.name != "pybuild zstd":
            return
        target = self.name(f"from-{form}")
        self.run(origin, [*origin.tag_command, self.name("first"), target])
        self.run(origin, origin.push_command(target))
        # Docker before version 23 does not know zstd layers.
        field = [one for one in self.pulling if form == "gzip" or one.name != "docker"]
        by_name = {one.name: one for one in field}
        upon = self.contexts / f"upon-{form}"
        cases.write(upon / "Dockerfile", f"FROM {target}\nRUN true\n")

        def pull(name: str, number: int) -> measuring.Sample:
            del number
            by_name[name].forget()
            return self.run(by_name[name], by_name[name].pull_command(target))

        def build_upon(name: str, number: int) -> measuring.Sample:
            del number
            by_name[name].forget()
            return self.run(by_name[name], by_name[name].build(upon, network="none"))

        yield f"pull ({form}) into an empty store", self._turns("pull", field, runs, pull)
        builders = [one for one in field if one.build_command]
        yield f"build upon it ({form}) with one RUN", self._turns("build", builders, runs, build_upon)

    def _turns(
        self, what: str, field: Sequence[Contender], runs: int, once: Once
    ) -> dict[str, list[measuring.Sample]]:
        def told(name: str, number: int) -> measuring.Sample:
            sample = once(name, number)
            machine.progress(f"{what}: {name} {sample.wall:.2f} s")
            return sample

        return measuring.take_turns([one.name for one in field], runs, told)


def skopeo(folder: Path) -> Contender:
    """Skopeo, which only pulls: it verifies layers and keeps them compressed, as we do."""
    target = folder / "skopeo"
    command = ["skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"]
    return Contender(
        "skopeo",
        [],
        lambda _: [],
        lambda name: [*command, f"docker://{name}", f"oci:{target}:image"],
        [],
        lambda: shutil.rmtree(target, ignore_errors=True),
    )


def assemble(
    args: argparse.Namespace, folder: Path, archive: Path, daemon: contenders.Dockerd
) -> tuple[list[Contender], list[Contender]]:
    """Who pushes and who pulls, of those that are wanted and installed."""
    wanted = args.contenders.split(",")
    pushing, pulling = [], []
    if "pybuild" in wanted:
        pushing += [contenders.pybuild(folder, args.python, archive, compression=form) for form in FORMS]
        pulling.append(contenders.pybuild(folder, args.python, archive))
    if "docker" in wanted and machine.installed("dockerd"):
        daemon.start()
        docker = contenders.docker(daemon, archive, buildkit=True)
        pushing.append(dataclasses.replace(docker, name="docker"))
        pulling.append(pushing[-1])
    if "buildah" in wanted and machine.installed("buildah"):
        pushing.append(contenders.buildah(folder, archive))
        pulling.append(pushing[-1])
    if "skopeo" in wanted and machine.installed("skopeo"):
        pulling.append(skopeo(folder))
    return pushing, pulling


def compete(args: argparse.Namespace, transfers: Transfers) -> None:
    """Measure and print row by row."""
    own = [one.name for one in [*transfers.pulling, *transfers.pushing] if one.name.startswith("pybuild")]
    names = list(dict.fromkeys(one.name for one in [*transfers.pushing, *transfers.pulling]))
    machine.emit("## Image transfers\n", args.output)
    machine.emit(
        "Wall seconds [range] / processor seconds without the registry server / peak MiB of the largest "
        "process; the last column is ours relative to the fastest peer, wall / processor. "
        f"{args.runs} runs each; the registry server is {transfers.server.name}.\n",
        args.output,
    )
    machine.emit(f"| | {' | '.join(names)} | ratio |\n|{'---|' * (len(names) + 2)}", args.output)
    for name, samples in transfers.rows(args.runs):
        cells = [measuring.cell(samples[one]) if one in samples else "" for one in names]
        ratio = "; ".join(
            f"{one.removeprefix('pybuild ')} {measuring.ratio(samples, one, own=own)}"
            for one in own
            if samples.get(one)
        )
        machine.emit(f"| {name} | {' | '.join(cells)} | {ratio or '-'} |", args.output)
        if args.json:
            with open(args.json, "a", encoding="utf-8") as out:
                raw = {who: [dataclasses.astuple(one) for one in them] for who, them in samples.items()}
                out.write(json.dumps({"row": name, "samples": raw}) + "\n")
    machine.emit(f"\nAt the end: {machine.busy()}.\n", args.output)


def main() -> None:
    """Read the arguments, make everything, measure, clean up."""
    parser = workspace.arguments(__doc__)
    parser.add_argument("--contenders", default=FIELD, help=f"which clients (default {FIELD})")
    parser.add_argument("--server", help="distribution or pybuild (default: distribution if installed)")
    args = parser.parse_args()
    measuring.quiet.touched_gib = args.touch_memory
    workspace.go_apart()
    with workspace.workspace(args.folder, args.loop_image) as folder, measuring.account() as charged:
        source = Path(args.source).resolve()
        if not args.no_header:
            machine.emit(machine.describe(folder, source), args.output)
        daemon = contenders.Dockerd(folder, charged.parent)
        wanted = [args.server] if args.server else ["distribution", "pybuild"]
        installed = contenders.install(folder, source, args.python)
        server = available(wanted, folder / "servers", installed, args.python)[0]
        try:
            archive = contenders.base_archive(folder, source)
            cases.make(folder / "contexts", ["t"], contenders.BASE, cases.Sizes(args.scale))
            pushing, pulling = assemble(args, folder, archive, daemon)
            transfers = Transfers(pushing, pulling, server, folder / "contexts", charged)
            transfers.prepare()
            compete(args, transfers)
        finally:
            server.stop()
            daemon.stop()


if __name__ == "__main__":
    main()
