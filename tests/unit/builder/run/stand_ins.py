"""Peers and builders of values for the tests of running builds."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.caching.cache import MemoryCacheIndex
from builder.contexts.context import BuildContext
from builder.contexts.statcache import StatCache
from builder.events import Event, discard
from builder.graph import BuildGraph, Origin, Step, Target
from builder.host import Host
from builder.layersource import StoreLayers
from builder.ops import ContextSource, CopyFiles, canonical
from builder.perform.base import Supplies, perform
from builder.perform.files import copy_files
from builder.perform.layers import write_layer
from builder.perform.stepfiles import tree_of
from builder.snapshots import Snapshot
from oci_image.config import ImageConfig
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.image import Layer
from oci_image.layer.entry import Entry, Kind
from oci_image.layer.read import LayerReader
from oci_image.layer.tree import LayerTree
from oci_image.layer.write import LayerWriter
from oci_image.platform import Platform
from oci_image.store.layout import LayoutBlobStore
from oci_image.store.memory import MemoryBlobStore, MemoryTagStore

PLATFORM = Platform(os="linux", architecture="amd64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fake:
    """An op for tests: its result is a layer that contains `output`; only the name is in its key."""

    name: str
    output: str = ""
    delay: float = 0.0
    error: Any = None
    behaviour: Any = None


@dataclass(slots=True)
class Journal:
    """What happened to the fake ops of one test."""

    ran: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    running: int = 0
    most: int = 0


journal = Journal()


@canonical.register
def _(op: Fake) -> dict[str, Any]:
    return {"fake": op.name}


@perform.register
async def _(op: Fake, inputs: Any, step: Step, supplies: Supplies) -> Snapshot:
    del step
    journal.ran.append(op.name)
    journal.running += 1
    journal.most = max(journal.most, journal.running)
    try:
        if op.behaviour is not None:
            await op.behaviour()
        await asyncio.sleep(op.delay)
    except asyncio.CancelledError:
        await asyncio.sleep(0.01)  # a real one kills a process and waits for its end
        journal.cancelled.append(op.name)
        raise
    finally:
        journal.running -= 1
    if op.error is not None:
        raise op.error
    below = inputs[0] if inputs else Snapshot()
    journal.ended.append(op.name)
    return below.with_layer(text_layer(supplies.host.blobs, op.output or op.name))


def text_layer(blobs: Any, text: str) -> Layer:
    with blobs.writer() as writer:
        writer.write(text.encode())
        digest = writer.commit()
    return Layer(digest, Descriptor(media_type="test", digest=digest, size=len(text)))


def step(name: str, *inputs: Step, no_cache: bool = False, **options: Any) -> Step:
    return Step(Fake(name=name, **options), tuple(inputs), Origin(name=name, no_cache=no_cache))


def graph(*heads: Step) -> BuildGraph:
    config = ImageConfig(platform=PLATFORM)
    return BuildGraph(
        targets=tuple(
            Target(name=head.origin.name, head=head, config=config, platform=PLATFORM) for head in heads
        )
    )


class Absent:
    """Stands where nothing may be asked."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked of something that is not needed")


def host(state: Any, **parts: Any) -> Host:
    defaults: dict[str, Any] = {
        "blobs": MemoryBlobStore(),
        "tags": MemoryTagStore(),
        "layers": Absent(),
        "resolver": Absent(),
        "cache": MemoryCacheIndex(),
        "stats": Absent(),
        "rootfs": Absent(),
        "sandbox": Absent(),
        "state": str(state),
        "clock": time.monotonic,
    }
    return Host(**{**defaults, **parts})


@dataclass(slots=True)
class Recorder:
    """A sink that keeps the events."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def told(self, kind: type) -> list[str]:
        return [event.step.origin.name for event in self.events if isinstance(event, kind)]


def digest(text: str) -> Digest:
    return Digest.of(text.encode())


class Bench:
    """A store on disk, a build context in a directory, and short ways to make layers and to copy."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.context_root = root / "context"
        self.context_root.mkdir()
        self.blobs = LayoutBlobStore(root / "store", durable=False)
        self.state = str(root / "store" / "pybuild")
        self.layers = StoreLayers(self.blobs, None, self.state)
        self.host = host(self.state, blobs=self.blobs, layers=self.layers)
        self.context = BuildContext(str(self.context_root), None, StatCache(str(root / "stats")))

    def supplies(self, sink: Any = discard) -> Supplies:
        return Supplies(host=self.host, sink=sink, contexts={"": self.context})

    def layer(self, *entries: Any) -> Layer:
        """A layer of entries, or of (entry, content) pairs."""

        def fill(writer: LayerWriter) -> None:
            for item in entries:
                entry, content = item if type(item) is tuple else (item, None)
                if content is not None:
                    entry = entry._replace(size=len(content))
                writer.add(entry, content)

        return write_layer(self.blobs, self.layers, fill)

    def base(self, *entries: Any) -> Snapshot:
        return Snapshot((self.layer(*entries),))

    def selected(
        self, pattern: str, exclude: tuple[str, ...] = (), *, parents: bool = False
    ) -> ContextSource:
        selection = self.context.select(pattern, exclude=exclude, parents=parents)
        return ContextSource(pattern=pattern, digest=selection.digest)

    def copy(self, base: Snapshot, sources: Any, dest: str, *others: Snapshot, **options: Any) -> Snapshot:
        if isinstance(sources, str):
            sources = (sources,)
        exclude, parents = options.get("exclude", ()), options.get("parents", False)
        made = tuple(
            self.selected(source, exclude, parents=parents) if isinstance(source, str) else source
            for source in sources
        )
        op = CopyFiles(sources=made, dest=dest, epoch=EPOCH, **options)
        return copy_files(op, (base, *others), self.supplies())

    def tree(self, snapshot: Snapshot) -> LayerTree:
        return tree_of(snapshot, self.layers)

    def listing(self, snapshot: Snapshot) -> dict[str, str]:
        """What is where, in a form that reads well in an assertion."""
        tree = self.tree(snapshot)
        return {entry.path: _shown(entry, tree) for entry in tree.walk() if entry.path}

    def written(self, snapshot: Snapshot) -> list[str]:
        """The names of the uppermost layer in their order, whiteouts included."""
        with self.layers.open_tar(snapshot.layers[-1]) as stream:
            return [entry.path for entry, _ in LayerReader(stream)]

    def close(self) -> None:
        self.context.close()
        self.layers.close()


EPOCH = 315_532_800


def _shown(entry: Entry, tree: LayerTree) -> str:
    if entry.kind is Kind.DIRECTORY:
        text = "dir"
    elif entry.kind is Kind.SYMLINK:
        return f"-> {entry.link}"
    elif entry.kind is Kind.FILE:
        text = tree.read(entry.path, 1 << 20).decode()
    else:
        text = entry.kind.name.lower()
    owner = f" {entry.uid}:{entry.gid}" if (entry.uid, entry.gid) != (0, 0) else ""
    return f"{text} {entry.mode:o}{owner}"


def directory(path: str, mode: int = 0o755, uid: int = 0, gid: int = 0, mtime: int = 1) -> Entry:
    return Entry(path, Kind.DIRECTORY, mode, uid, gid, mtime)


def file(path: str, content: str = "", mode: int = 0o644, **more: Any) -> tuple[Entry, bytes]:
    return Entry(path, Kind.FILE, mode, **more), content.encode()


def symlink(path: str, target: str) -> Entry:
    return Entry(path, Kind.SYMLINK, 0o777, link=target)
