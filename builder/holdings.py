"""
Holdings: who holds what in the local store, as values.

A cached step counts its own layer, not those below it; it was last used when it, or a step that continues it,
was. Types are called as docker buildx du calls them, where it has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from oci_image.digest import Digest
from oci_image.image import Layer

IMAGE, STEP, UNPACKED, MOUNT, GIT, LISTS = (
    *("image", "regular", "unpacked", "exec.cachemount"),
    *("source.git.checkout", "internal"),
)
TYPES = (IMAGE, STEP, UNPACKED, MOUNT, GIT, LISTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """
    One thing that takes space; sizes in bytes, times in Unix seconds.

    `exclusive` is what would be free if it alone went; `keys` are those of a cached step, `blobs` what it
    needs in the blob store, `paths` what it has beside it. `layers` are those of a step's result.
    """

    id: str
    type: str
    description: str = ""
    size: int = 0
    exclusive: int = 0
    in_use: bool = False
    created: float = 0.0
    last_used: float = 0.0
    layers: tuple[Layer, ...] = ()
    keys: tuple[Digest, ...] = ()
    blobs: frozenset[Digest] = field(default_factory=frozenset, repr=False)
    paths: tuple[str, ...] = ()

    @property
    def is_shared(self) -> bool:
        """Whether something else needs a part of it."""
        return self.exclusive < self.size

    @property
    def is_reclaimable(self) -> bool:
        """Whether a clean-up may take it."""
        return self.type != IMAGE and not self.in_use


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """
    Everything in a store that somebody holds.

    `sizes` are those of the blobs that images and cached steps need; `leases` what each running build needs.
    """

    holdings: tuple[Holding, ...]
    sizes: Mapping[Digest, int] = field(repr=False)
    leases: tuple[frozenset[str], ...] = ()

    def of(self, *types: str) -> list[Holding]:
        """The holdings of some types."""
        return [one for one in self.holdings if one.type in types]

    @property
    def named(self) -> set[Digest]:
        """The blobs that images need."""
        return {digest for image in self.of(IMAGE) for digest in image.blobs}

    @property
    def cache_size(self) -> int:
        """What cached steps hold and no image needs, with all that was made beside the blobs."""
        cached = {digest for step in self.of(STEP) for digest in step.blobs} - self.named
        others = self.of(UNPACKED, MOUNT, GIT, LISTS)
        return sum(self.sizes[digest] for digest in cached) + sum(one.size for one in others)
