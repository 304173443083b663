"""
Steps and the build graph.

A step's digest covers its op and its inputs, so it is known before anything runs and equal steps are the same
step. What people see of a step (`origin`) is not part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dockerfile_grammar.spans import Span
from oci_image import jsonbytes
from oci_image.config import ImageConfig
from oci_image.digest import Digest
from oci_image.platform import Platform

from .ops import BaseImage, Op, canonical

KEY_VERSION = 2
"""Raise it when the meaning of an op changes, so that older results are not reused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a step comes from: display name, place, stage, and "[stage n/m]" numbering."""

    name: str
    span: Span | None = None
    stage: str = ""
    number: int = 0
    total: int = 0
    no_cache: bool = False

    @property
    def title(self) -> str:
        """How progress shows the step, as in ``[build 2/5] RUN make``."""
        if not self.number:
            return self.name
        stage = f"{self.stage} " if self.stage else ""
        return f"[{stage}{self.number}/{self.total}] {self.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One vertex of the build: an op over the results of other steps. Equality is that of digests."""

    op: Op
    inputs: tuple[Step, ...]
    origin: Origin
    digest: Digest = field(init=False)
    preimage: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        preimage = key_preimage(self.op, tuple(str(step.digest) for step in self.inputs))
        object.__setattr__(self, "preimage", preimage)
        object.__setattr__(self, "digest", Digest.of(preimage))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def key_preimage(op: Op, inputs: tuple[str, ...]) -> bytes:
    """The framed bytes whose digest is a key: version, kind, canonical parameters, identities of inputs."""
    return jsonbytes.encode_sorted([KEY_VERSION, type(op).__name__, canonical(op), list(inputs)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """
    What a build produces: the filesystem of a step, and the configuration that goes with it.

    `config.history` is complete, `config.diff_ids` is filled when the image is assembled. `platform` is what
    was asked for; the base may be for another one.
    """

    name: str
    head: Step
    config: ImageConfig
    platform: Platform

    @property
    def base_layers(self) -> int:
        """How many layers of the result are those of a base image."""
        step = self.head
        while step.inputs:
            step = step.inputs[0]
        return len(step.op.layers) if isinstance(step.op, BaseImage) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildGraph:
    """
    The plan: targets, and for people the steps in the order of the Dockerfile.

    `epoch` is the time of files and images, if somebody asked for one.
    """

    targets: tuple[Target, ...]
    warnings: tuple[str, ...] = ()
    epoch: int | None = None

    def steps(self) -> Iterator[Step]:
        """Every step that the targets need, inputs before the steps that use them, each once."""
        seen: set[Digest] = set()
        for target in self.targets:
            yield from _walk(target.head, seen)


def _walk(head: Step, seen: set[Digest]) -> Iterator[Step]:
    # Iterative: a Dockerfile may have more steps than Python's stack has frames.
    stack: list[tuple[Step, bool]] = [(head, False)]
    while stack:
        step, expanded = stack.pop()
        if step.digest in seen:
            continue
        if expanded:
            seen.add(step.digest)
            yield step
            continue
        stack.append((step, True))
        stack.extend((inner, False) for inner in reversed(step.inputs) if inner.digest not in seen)


def joined(graphs: Sequence[BuildGraph]) -> BuildGraph:
    """The plans of several platforms as one; what is the same step in several is run once."""
    return BuildGraph(
        targets=tuple(target for graph in graphs for target in graph.targets),
        warnings=tuple(dict.fromkeys(warning for graph in graphs for warning in graph.warnings)),
        epoch=graphs[0].epoch,
    )


def platforms_of(graph: BuildGraph) -> tuple[Platform, ...]:
    """What the targets are for, in their order."""
    return tuple(target.platform for target in graph.targets)
