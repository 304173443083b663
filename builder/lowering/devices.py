"""
Devices for the RUNs of one plan: what asks for them is looked up here, and noted.

Specifications are read when the first RUN asks, by modules that are loaded then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..ops import ExecDevice

if TYPE_CHECKING:
    from dockerfile_grammar.mounts import DeviceFlag

    from ..devices.allowing import AllowedDevices
    from ..devices.registry import Registry


class Devices:
    """
    What a build may use of the devices of this machine.

    Args:
        directories: with CDI specifications, the last comes first.
        allowed: which devices the build was given; None for those that every build may use.
    """

    def __init__(self, directories: tuple[str, ...] = (), allowed: AllowedDevices | None = None) -> None:
        self.notices: list[str] = []
        self._directories = directories
        self._allowed = allowed
        self._registry: Registry | None = None

    @property
    def were_looked_at(self) -> bool:
        """Whether the plan depends on the devices that there are now."""
        return self._registry is not None

    def granted(self, flags: Sequence[DeviceFlag]) -> tuple[ExecDevice, ...]:
        """
        The devices that a RUN gets; see `devices.granting`.

        Raises:
            MissingDevice: one that is required is not registered.
            InvalidOption: one is registered, but the build may not use it.
        """
        wanted = tuple(ExecDevice(name=flag.name, required=flag.required) for flag in flags)
        if not wanted or (self._allowed is not None and self._allowed.everything):
            return wanted  # they are looked up when the command runs
        from ..devices.granting import grant
        from ..devices.registry import read_registry

        if self._registry is None:
            self._registry = read_registry(self._directories)
        devices, missing = grant(wanted, self._allowed, self._registry)
        self.notices += self._registry.told(missing)
        return devices
