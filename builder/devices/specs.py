"""
One CDI specification: a JSON document that describes the devices of one kind, checked as a whole.

A kind is ``vendor/class``, a device is called ``vendor/class=name``. A document counts completely or not at
all. Governing text: SPEC.md of the Container Device Interface, version 1.1.0; what is accepted exactly
is what its reference implementation accepts, which BuildKit uses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dockerfile_grammar.golang import parse_bool

from .edits import Edits, Version, read_edits
from .fields import items, members, text

CLASS = "org.mobyproject.buildkit.device.class"
"""The annotation by which several devices are asked for with one word."""
AUTO_ALLOW = "org.mobyproject.buildkit.device.autoallow"
"""The annotation with which a device needs no ``--allow``."""

_VERSIONS: tuple[Version, ...] = (
    *((0, minor, 0) for minor in range(1, 9)),
    (1, 0, 0),
    (1, 1, 0),
)
_KIND_PART = re.compile(r"[A-Za-z](?:[\w.-]*[A-Za-z0-9])?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9](?:[\w.:-]*[A-Za-z0-9])?", re.ASCII)
_SPEC = frozenset(("cdiVersion", "kind", "annotations", "devices", "containerEdits"))
_DEVICE = frozenset(("name", "annotations", "containerEdits"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What all devices of one document share; `priority` is the number of its directory, the last highest."""

    path: str
    priority: int
    kind: str
    edits: Edits


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device: `name` is ``vendor/class=name``; `annotations` hold those of its document, too."""

    name: str
    spec: Spec
    edits: Edits
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def is_allowed(self) -> bool:
        """Whether its annotations give it to every build that asks."""
        try:
            return parse_bool(self.annotations.get(AUTO_ALLOW, ""))
        except ValueError:
            return False


def split_kind(text: str) -> tuple[str, str]:
    """Vendor and class of ``vendor/class``; two empty texts where it is none."""
    vendor, _, class_ = text.partition("/")
    return (vendor, class_) if vendor and class_ else ("", "")


def read_spec(data: bytes, path: str, priority: int) -> tuple[Device, ...]:
    """
    Read one document.

    Args:
        data: its bytes.
        path: where it lies, for messages.
        priority: of its directory.

    Raises:
        ValueError: it is no valid specification; the message says why.
    """
    found = members(_decoded(data), "", _SPEC)
    version, kind = text(found.get("cdiVersion"), "cdiVersion"), text(found.get("kind"), "kind")
    number = _version(version)
    for what, part in zip(("vendor", "class"), split_kind(kind), strict=True):
        if not _KIND_PART.fullmatch(part):
            raise ValueError(f"kind is {kind!r}, with an invalid {what}; expected vendor.com/class")
    edits = read_edits(found.get("containerEdits"), "containerEdits")
    spec = Spec(path=path, priority=priority, kind=kind, edits=edits)
    shared = _annotations(found, "")
    devices = {}
    least = max(edits.version, (0, 6, 0) if shared or "." in split_kind(kind)[1] else edits.version)
    for value, place in items(found.get("devices"), "devices"):
        device, needed = _device(value, place, spec, shared)
        if device.name in devices:
            raise ValueError(f"{place}.name: there are two devices {device.name}")
        devices[device.name] = device
        least = max(least, needed)
    if not devices:
        raise ValueError("devices is empty")
    if number < least:
        raise ValueError(f"cdiVersion is {version}, but what it says needs {'.'.join(map(str, least))}")
    return tuple(devices.values())


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except json.JSONDecodeError as problem:
        raise ValueError(f"it is not valid JSON: {problem}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return value


def _refuse(name: str) -> Any:
    raise ValueError(f"it is not valid JSON: {name}")


def _version(text: str) -> Version:
    for version in _VERSIONS:
        if text.removeprefix("v") == ".".join(map(str, version)):
            return version
    raise ValueError(f"cdiVersion is {text!r}, which is not known")


def _device(value: object, place: str, spec: Spec, shared: Mapping[str, str]) -> tuple[Device, Version]:
    """A device, and the version of the specification that it needs."""
    found = members(value, place, _DEVICE)
    name = text(found.get("name"), f"{place}.name")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{place}.name is {name!r}, expected letters and digits, inside also _ - . and :")
    edits = read_edits(found.get("containerEdits"), f"{place}.containerEdits")
    if edits.is_empty:
        raise ValueError(f"{place}.containerEdits is empty")
    own = _annotations(found, place)
    device = Device(name=f"{spec.kind}={name}", spec=spec, edits=edits, annotations={**shared, **own})
    return device, max(_needs(name, own), edits.version)


def _needs(name: str, annotations: Mapping[str, str]) -> Version:
    if annotations:
        return (0, 6, 0)
    return (0, 5, 0) if name[0].isdigit() else (0, 3, 0)


def _annotations(found: Mapping[str, Any], place: str) -> dict[str, str]:
    where = f"{place}.annotations".lstrip(".")
    value = found.get("annotations")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{where} is not an object")  # noqa: TRY004
    return {name: text(member, f"{where}.{name}") for name, member in value.items()}


def describes(data: bytes, name: str) -> bool:
    """Whether a document that is not read might be about a device: it has the kind, or the class."""
    kind = name.partition("=")[0]
    return bool(kind) and kind.encode("utf-8", "surrogateescape") in data
