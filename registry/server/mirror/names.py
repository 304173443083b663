"""
Which mirror a request means, and what its repository is called here and there.

Invariants: pure functions; one repository of an upstream has one name here, however clients ask for it, so it
is kept once and one set of rules holds for it. Governing sources: containerd, "hosts.toml" (``ns=``);
distribution's pull-through cache (``registry-mirrors`` of dockerd).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .settings import Mirror


@dataclass(frozen=True, slots=True)
class Place:
    """
    A repository of an upstream.

    Attributes:
        mirror: which.
        repository: its name here.
        remote: its name there.
    """

    mirror: Mirror
    repository: str
    remote: str


class Names:
    """The names of several mirrors."""

    def __init__(self, mirrors: Iterable[Mirror]) -> None:
        self._mirrors = tuple(mirrors)
        self._spaces = {space: mirror for mirror in self._mirrors for space in mirror.spaces}
        self.default = next((mirror for mirror in self._mirrors if mirror.default), None)

    def of_space(self, space: str) -> Mirror | None:
        """The mirror that ``ns=`` means."""
        return self._spaces.get(space)

    def of_prefix(self, repository: str) -> tuple[Mirror, str] | None:
        """The mirror whose prefix begins a name, and the rest of the name."""
        for mirror in self._mirrors:
            if repository.startswith(f"{mirror.prefix}/"):
                return mirror, repository[len(mirror.prefix) + 1 :]
        return None


def place_of(mirror: Mirror, name: str) -> Place:
    """The repository that somebody calls `name` at the mirror."""
    if mirror.is_hub and "/" not in name:
        name = f"library/{name}"
    return Place(mirror, f"{mirror.prefix}/{name}", mirror.remote(name))


def is_allowed(place: Place) -> bool:
    """Whether the repository may be had here."""
    return place.mirror.allows(place.repository[len(place.mirror.prefix) + 1 :])
