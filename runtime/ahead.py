"""
The next sandbox of a kind, begun while another one runs: its control group, and a child that waits in it.

The parent's end. What can be begun is what depends on the kind alone (see `runtime.ground`); where the helper
finds that its child cannot be used, it makes another one as if nothing had been prepared.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import cgroups, plan, surroundings
from .errors import SandboxError

if TYPE_CHECKING:
    from .launcher import Launcher
    from .spec import Limits, NetworkMode, SandboxSpec


@dataclass(frozen=True, slots=True)
class Kind:
    """What sandboxes have in common that can follow one another."""

    limits: Limits
    network: NetworkMode
    privileged: bool

    @classmethod
    def of(cls, spec: SandboxSpec) -> Kind:
        """The kind of a specification."""
        return cls(spec.limits, spec.network, spec.privileged)


@dataclass(frozen=True, slots=True)
class Begun:
    """A sandbox that was begun: the name under which the helper knows its child, and its group."""

    name: str
    kind: Kind
    group: cgroups.ControlGroup


class Ahead:
    """At most one sandbox that was begun; whoever takes it closes its group."""

    def __init__(self) -> None:
        self._begun: Begun | None = None

    def take(self, spec: SandboxSpec) -> Begun | None:
        """Return what was begun for such a specification, and forget it."""
        begun = self._begun
        if begun is None or begun.kind != Kind.of(spec):
            return None
        self._begun = None
        return begun

    def begin(self, launcher: Launcher, spec: SandboxSpec, made: dict[str, Any]) -> None:
        """
        Begin another sandbox like the one of this specification, whose plan is `made`.

        Nothing happens while one waits that nobody took, or where no group can be made for it.
        """
        if self._begun is not None:
            if self._begun.kind == Kind.of(spec):
                return
            launcher.dismiss()
            self.close()
        name = new_name()
        try:
            group = cgroups.make(name, surroundings.hierarchies(), spec.limits)
        except SandboxError:
            return
        self._begun = Begun(name, Kind.of(spec), group)
        launcher.begin(
            name,
            plan.ground_of(made, group.procs(), surroundings.cgroup_view(group)),
            flags=surroundings.flags_of(spec, group),
            link=made["link"] is not None,
            group=group.unified,
        )

    def close(self) -> None:
        """Remove the group of what was begun; its child is gone already."""
        if self._begun is not None:
            self._begun.group.close()
            self._begun = None


def new_name() -> str:
    """Return a name for a sandbox that nobody else has."""
    return f"{os.getpid()}-{os.urandom(6).hex()}"
