"""
Which devices a RUN gets: what it asks for, as far as the build may have it.

The rules, and what of it gets into the step's key, are those of BuildKit: where every device is allowed, the
key has the requests as they are written; elsewhere the names of the devices that answer them, and nothing for
one that is missing and not required.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..errors import InvalidOption, MissingDevice
from ..ops import ExecDevice
from .allowing import AllowedDevices
from .registry import Registry


def grant(
    wanted: Sequence[ExecDevice], allowed: AllowedDevices | None, registry: Registry
) -> tuple[tuple[ExecDevice, ...], tuple[str, ...]]:
    """
    What a command may have of what it wants, and the requests that nothing answers.

    Not asked where every device is allowed: then it is what is wanted.

    Raises:
        MissingDevice: a device that is required, or named by ``--allow``, is not registered.
        InvalidOption: a device is registered, but not allowed.
    """
    names = frozenset() if allowed is None else allowed.names
    aliases = {} if allowed is None else allowed.aliases
    renamed = [replace(device, name=aliases[device.name]) for device in wanted if device.name in aliases]
    found = registry.find(device for device in wanted if device.name not in aliases)
    if found.names:
        _check(found.names, names, registry)
    granted = (ExecDevice(name=name, required=True) for name in found.names)
    return (*renamed, *granted), found.missing


def _check(names: Sequence[str], allowed: frozenset[str], registry: Registry) -> None:
    given = registry.find(ExecDevice(name=name) for name in sorted(allowed))
    for name in given.missing:
        raise MissingDevice(f"--allow device={name}: it is not registered", hint=registry.reason(name))
    forbidden = [name for name in names if name not in given.names and not registry.devices[name].is_allowed]
    if not forbidden:
        return
    what = f"device {forbidden[0]} is" if len(forbidden) == 1 else f"devices {', '.join(forbidden)} are"
    flags = " ".join(f"--allow device={name}" for name in forbidden)
    raise InvalidOption(
        f"{what} requested by the build but not allowed",
        hint=f"build with {flags}, or with --allow device for all, if you trust the Dockerfile with it",
    )
