"""Peers and builders of values for the tests of running builds."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from builder.cache import MemoryCacheIndex
from builder.events import Event
from builder.graph import BuildGraph, Origin, Step, Target
from builder.host import Host
from builder.ops import canonical
from builder.perform.base import Supplies, perform
from builder.snapshots import Snapshot
from oci_image.config import ImageConfig
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.image import Layer
from oci_image.platform import Platform
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
        targets=tuple(Target(name=head.origin.name, head=head, config=config) for head in heads)
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
