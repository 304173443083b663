"""
Measure registry servers: ``python benchmarks/registry.py --loop-image 60G [--rows push,...] [--scale F]``.

Ours and docker-registry run at the same time, but only one has work at a time (A B A B). Printed for each
row: the rate or the latencies, processor time of the server alone, and its peak memory. The load comes from
`load.py` on the same machine.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import cases
import contenders
import crowds
import load
import machine
import measuring
import streams
import workspace
from servers import Server, available

MIB = 1 << 20
ALL = "start,push,pull,verified,tls,requests,catalog,crowd,uploads"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
CONNECTIONS = 32
TAGS = 100
PAGE = 100


@dataclass(frozen=True)
class Figures:
    """One measurement: what to compare (`value`), what to print, processor seconds, peak memory in MiB."""

    value: float
    text: str
    cpu: float
    peak: float


Rows = Iterator[tuple[str, bool, Callable[[Server, int], Figures]]]
Push = Callable[[load.Address, str, load.Blob], object]


class Payload:
    """A large file and blobs made of its parts; every blob is new, so that no server has it already."""

    def __init__(self, file: Path, mib: int) -> None:
        self.file = file
        self.size = mib * MIB
        cases.write_large(file, mib, seed=7)
        self._states: dict[int, hashlib._Hash] = {}

    def blob(self, size: int, name: str) -> load.Blob:
        """A blob of the first `size` bytes of the file and a name."""
        if size not in self._states:
            state = hashlib.sha256()
            with self.file.open("rb") as source:
                left = size
                while left:
                    data = source.read(min(left, MIB))
                    state.update(data)
                    left -= len(data)
            self._states[size] = state
        copy = self._states[size].copy()
        copy.update(name.encode())
        return load.Blob(f"sha256:{copy.hexdigest()}", self.file, size, name.encode())


@contextmanager
def figures(server: Server) -> Iterator[Callable[[float, str], Figures]]:
    """Measure the server within the block; call the value at its end."""
    measuring.quiet.settle()
    family = server.family()
    measuring.reset_peaks(family)
    before = measuring.cpu_of(family)

    def finish(value: float, text: str) -> Figures:
        cpu = measuring.cpu_of(server.family()) - before
        return Figures(value, text, cpu, measuring.memory_of(server.family()))

    yield finish


class Benchmark:
    """All rows over one set of servers."""

    def __init__(self, folder: Path, scale: float, seconds: float) -> None:
        self.sizes = cases.Sizes(scale)
        self.seconds = seconds
        self.payload = Payload(folder / "payload", self.sizes.of(1024))

    def starts(self) -> Rows:
        """From the start of the process to the first answer."""

        def start(server: Server, number: int) -> Figures:
            del number
            took = server.restart()
            time.sleep(0.3)
            idle = measuring.memory_of(server.family(), "VmRSS")
            return Figures(took, f"{took * 1000:.0f} ms", server.cpu(), idle)

        yield "start to first answer (memory: when idle)", False, start

    def pushes(self) -> Rows:
        """Whole blobs: in one request, without a length, and in pieces."""
        pushes: dict[str, Push] = {
            "one PUT": load.push_blob,
            "one PATCH in chunks (as docker)": streams.push_chunked,
            "PATCH of 64 MiB": partial(load.push_blob, chunk=64 * MIB),
            "PATCH of 8 MiB": partial(load.push_blob, chunk=8 * MIB),
        }
        for place, (form, send) in enumerate(pushes.items()):
            for connections in (1, 8):

                def push(
                    server: Server,
                    number: int,
                    place: int = place,
                    send: Push = send,
                    count: int = connections,
                ) -> Figures:
                    return self._push(server, f"{place}-{count}-{number}", count, send)

                yield f"push {self._amount()}, {form}, {_connections(connections)}", True, push

    def _amount(self) -> str:
        return f"{self.payload.size // MIB:,} MiB"

    def _push(self, server: Server, name: str, connections: int, send: Push) -> Figures:
        size = self.payload.size // connections
        names = [f"{name}-{number}" for number in range(connections)]
        blobs = {one: self.payload.blob(size, one) for one in names}
        pushes = [partial(send, server.address, f"push/{one}", blobs[one]) for one in names]
        with figures(server) as finish:
            started = time.perf_counter()
            load.together(pushes)
            rate = self.payload.size / 1e6 / (time.perf_counter() - started)
            return finish(rate, f"{rate:,.0f} MB/s")

    def pulls(self) -> Rows:
        """One blob, verified when it was pushed; each of one or several clients takes all of it."""
        yield from self._pulls("", {})

    def verified(self) -> Rows:
        """The same while ours verifies every byte that it sends; the peer never does."""
        yield from self._pulls(", verified while sent", {"PYBUILD_REGISTRY_STORAGE_VERIFY_WINDOW": "0"})

    def _pulls(self, how: str, settings: dict[str, str]) -> Rows:
        blob = self.payload.blob(self.payload.size, "pulled")
        for connections in (1, 8):

            def pull(server: Server, number: int, count: int = connections) -> Figures:
                if number == 0 and count == 1:
                    server.restart(settings=settings)
                    load.push_blob(server.address, "pulled", blob)
                with figures(server) as finish:
                    started = time.perf_counter()
                    load.together([partial(load.pull_blob, server.address, "pulled", blob.digest)] * count)
                    rate = count * blob.size / 1e6 / (time.perf_counter() - started)
                    return finish(rate, f"{rate:,.0f} MB/s")

            yield f"pull {self._amount()}{how}, {_connections(connections)}", True, pull

    def encrypted(self) -> Rows:
        """The same over TLS; the client, which decrypts, takes as much processor time as a server."""
        blob = self.payload.blob(self.payload.size, "encrypted")

        def pull(server: Server, number: int) -> Figures:
            if number == 0:
                server.restart(tls=True)
                crowds.push_encrypted(server.address, "pulled", blob)
            with figures(server) as finish:
                started = time.perf_counter()
                crowds.pull_encrypted(server.address, "pulled", blob.digest)
                rate = blob.size / 1e6 / (time.perf_counter() - started)
                return finish(rate, f"{rate:,.0f} MB/s")

        yield f"pull {self._amount()} over TLS, 1 connection", True, pull

    def crowd(self) -> Rows:
        """Pages of the lists of very many repositories and tags."""
        repositories, tags = self.sizes.of(100_000), self.sizes.of(1_000_000)

        def pages(server: Server, number: int) -> Figures:
            if server.name != "pybuild":
                return Figures(math.nan, "not measured", 0.0, 0.0)
            if number == 0:
                server.halt()
                crowds.fill(server, repositories, tags)
                server.start()
            with figures(server) as finish:
                times = crowds.page_times(server, repositories, tags)
                return finish(max(times), crowds.describe(times))

        yield f"pages of {repositories:,} repositories and {tags:,} tags", False, pages

    def uploads(self) -> Rows:
        """Memory while many uploads run; the figure is the peak."""
        for count in (20, 200):

            def push(server: Server, number: int, count: int = count) -> Figures:
                server.restart()
                idle = measuring.memory_of(server.family(), "VmRSS")
                size = min(8 * MIB, self.payload.size)
                blobs = [self.payload.blob(size, f"{count}-{number}-{each}") for each in range(count)]
                with figures(server) as finish:
                    crowds.push_together(server.address, blobs)
                    done = finish(0.0, "")
                return Figures(done.peak, f"{idle:.0f} MiB, then {done.peak:.0f} MiB", done.cpu, done.peak)

            yield f"memory: {count} uploads of 8 MiB at a time", False, push

    def requests(self) -> Rows:
        """Small requests over kept connections."""
        layer = _digest(b"layer")
        for method, path in (
            ("HEAD", f"/v2/small/blobs/{layer}"),
            ("GET", "/v2/small/manifests/tag-000"),
            ("GET", f"/v2/small/blobs/{_digest(b'config')}"),
            ("GET", "/v2/small/tags/list"),
        ):
            what = {"blobs": "blob", "manifests": "manifest", "tags": f"list of {TAGS} tags"}[
                path.split("/")[3]
            ]

            def hammer(server: Server, number: int, method: str = method, path: str = path) -> Figures:
                if number == 0 and method == "HEAD":
                    push_small(server.address, "small", [f"tag-{tag:03d}" for tag in range(TAGS)])
                request = load.head_of(method, path, server.address, {"Accept": MANIFEST})
                with figures(server) as finish:
                    found = load.hammer(
                        server.address, request, connections=CONNECTIONS, seconds=self.seconds
                    )
                    done = finish(found.per_second, "")
                each = done.cpu / found.requests * 1e6
                waits = f"p50 {found.p50:.1f} ms, p99 {found.p99:.1f} ms"
                text = f"{found.per_second:,.0f}/s, {waits}, {each:.0f} µs"
                return Figures(found.per_second, text, done.cpu, done.peak)

            yield f"{method} {what}", True, hammer

    def catalog(self) -> Rows:
        """Many repositories: making them, and listing them page by page."""
        count = self.sizes.of(5000)

        def create(server: Server, number: int) -> Figures:
            with figures(server) as finish:
                started = time.perf_counter()
                push_small(server.address, "origin", ["latest"])
                names = [f"many/r{number}-{each:05d}" for each in range(count)]
                load.together(
                    [partial(create_repositories, server.address, names[start::4]) for start in range(4)]
                )
                took = time.perf_counter() - started
                return finish(took, f"{took:.2f} s")

        def walk(server: Server, number: int) -> Figures:
            del number
            with figures(server) as finish:
                started = time.perf_counter()
                pages = walk_catalog(server.address)
                took = time.perf_counter() - started
                return finish(took, f"{took:.3f} s in {pages} pages")

        yield f"make {count:,} repositories (2 mounts and a manifest each)", False, _once(create)
        yield f"_catalog of them, {PAGE} a page", False, walk


def _connections(count: int) -> str:
    return "1 connection" if count == 1 else f"{count} connections"


def _once(call: Callable[[Server, int], Figures]) -> Callable[[Server, int], Figures]:
    """Measure only in the first run; later ones repeat its figures."""
    known: dict[str, Figures] = {}

    def wrapped(server: Server, number: int) -> Figures:
        if server.name not in known:
            known[server.name] = call(server, number)
        return known[server.name]

    return wrapped


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def small_manifest() -> bytes:
    """A manifest of two tiny blobs."""
    parts = {"config": (CONFIG, b"config"), "layer": (LAYER, b"layer")}
    described = {
        name: {"mediaType": media_type, "digest": _digest(data), "size": len(data)}
        for name, (media_type, data) in parts.items()
    }
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described["config"],
        "layers": [described["layer"]],
    }
    return json.dumps(document).encode()


def push_small(address: load.Address, repository: str, tags: list[str]) -> None:
    """Push an image of two tiny blobs under some tags."""
    with load.Connection(address) as connection:
        for data in (b"config", b"layer"):
            started = connection.request("POST", f"/v2/{repository}/blobs/uploads/", expect=202)
            place = load.local_path(started.headers["location"])
            closing = f"{place}{'&' if '?' in place else '?'}digest={_digest(data)}"
            octets = {"Content-Type": "application/octet-stream"}
            connection.request("PUT", closing, headers=octets, body=data, expect=201)
        for tag in tags:
            put_manifest(connection, repository, tag)


def put_manifest(connection: load.Connection, repository: str, tag: str) -> None:
    """PUT the small manifest."""
    kind = {"Content-Type": MANIFEST}
    path = f"/v2/{repository}/manifests/{tag}"
    connection.request("PUT", path, headers=kind, body=small_manifest(), expect=201)


def create_repositories(address: load.Address, names: list[str]) -> None:
    """Make repositories that share the blobs of `origin`."""
    with load.Connection(address) as connection:
        for name in names:
            for data in (b"config", b"layer"):
                query = f"mount={_digest(data)}&from=origin"
                connection.request("POST", f"/v2/{name}/blobs/uploads/?{query}", expect=201)
            put_manifest(connection, name, "latest")


def walk_catalog(address: load.Address) -> int:
    """Follow the pages of the catalog to the end; their number."""
    path: str | None = f"/v2/_catalog?n={PAGE}"
    pages = 0
    with load.Connection(address) as connection:
        while path:
            link = connection.request("GET", path, expect=200).headers.get("link", "")
            path = link.partition("<")[2].partition(">")[0] or None
            pages += 1
    return pages


def cell(measured: list[Figures]) -> str:
    """The measurement with the median value, as text, with processor seconds and memory."""
    ordered = sorted(measured, key=lambda one: one.value)
    middle = ordered[len(ordered) // 2]
    return f"{middle.text} / {measuring.number(middle.cpu)} / {middle.peak:.0f}"


def compare(measured: dict[str, list[Figures]], *, more_is_better: bool) -> str:
    """Our value over the peer's (more is better), or the peer's over ours in rows of seconds; and CPU."""
    if len(measured) < 2:
        return "-"
    ours, peer = measured["pybuild"], next(them for name, them in measured.items() if name != "pybuild")
    value = statistics.median(one.value for one in ours) / statistics.median(one.value for one in peer)
    if math.isnan(value):
        return "-"
    if not more_is_better:
        return f"**{value:.2f}**"
    each = [statistics.median(one.cpu / one.value for one in them) for them in (ours, peer)]
    return f"**{value:.2f}** / {each[0] / max(each[1], 1e-9):.2f}"


def main() -> None:
    """Read the arguments, start the servers, measure row by row."""
    parser = workspace.arguments(__doc__)
    parser.add_argument("--rows", default=ALL, help=f"which groups of rows (default {ALL})")
    parser.add_argument("--servers", default="pybuild,distribution")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each row of small requests")
    args = parser.parse_args()
    measuring.quiet.touched_gib = args.touch_memory
    workspace.go_apart()
    with workspace.workspace(args.folder, args.loop_image) as folder:
        source = Path(args.source).resolve()
        if not args.no_header:
            machine.emit(machine.describe(folder, source), args.output)
        installed = contenders.install(folder, source, args.python)
        field = available(args.servers.split(","), folder / "servers", installed, args.python)
        benchmark = Benchmark(folder, args.scale, args.seconds)
        groups = {
            "start": benchmark.starts,
            "push": benchmark.pushes,
            "pull": benchmark.pulls,
            "verified": benchmark.verified,
            "tls": benchmark.encrypted,
            "requests": benchmark.requests,
            "catalog": benchmark.catalog,
            "crowd": benchmark.crowd,
            "uploads": benchmark.uploads,
        }
        _heading(field, args.runs, args.output)
        for group in args.rows.split(","):
            _measure_group(groups[group](), field, args.runs, args.output, args.json)
        machine.emit(f"\nAt the end: {machine.busy()}.\n", args.output)


def _heading(field: list[Server], runs: int, output: str | None) -> None:
    names = [one.name for one in field]
    machine.emit("## Registry servers\n", output)
    machine.emit(
        f"Result / processor seconds of the server / its peak MiB, medians of {runs}. Small requests come "
        f"over {CONNECTIONS} connections; µs is processor time of the server for each. The last column is "
        "ours relative to the peer: rate (more is better) or seconds (less is better) / processor time for "
        "the same work. MB/s of several connections is their sum.\n",
        output,
    )
    machine.emit(f"| | {' | '.join(names)} | ratio |\n|{'---|' * (len(names) + 2)}", output)


def _measure_group(rows: Rows, field: list[Server], runs: int, output: str | None, raw: str | None) -> None:
    """Measure rows that belong together, on servers that start empty."""
    try:
        for server in field:
            server.restart()
        for name, more_is_better, call in rows:
            measured: dict[str, list[Figures]] = {server.name: [] for server in field}
            for number in range(runs):
                for server in field:
                    measured[server.name].append(call(server, number))
                    machine.progress(f"{name}: {server.name} {measured[server.name][-1].text}")
            cells = " | ".join(cell(them) for them in measured.values())
            machine.emit(f"| {name} | {cells} | {compare(measured, more_is_better=more_is_better)} |", output)
            if raw:
                with open(raw, "a", encoding="utf-8") as out:
                    values = {
                        who: [[one.value, one.cpu, one.peak] for one in them]
                        for who, them in measured.items()
                    }
                    out.write(json.dumps({"row": name, "samples": values}) + "\n")
    finally:
        for server in field:
            server.stop()


if __name__ == "__main__":
    main()
