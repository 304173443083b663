"""
What a device changes about the sandbox that gets it: ``containerEdits`` of a CDI specification, as values.

Read and checked here, carried out in `injecting`. What sandboxes here cannot do is kept by name in `beyond`,
so that a document with it is read, and only the devices that need it are refused. Governing text: SPEC.md of
the Container Device Interface, version 1.1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .fields import UINT32, items, joined, members, number, optional_number, text, texts, truth, variables

NODE_TYPES = ("", "b", "c", "u", "p")
_PERMISSIONS = frozenset("rwm")
_LARGEST_MAJOR, _LARGEST_MINOR = (1 << 12) - 1, (1 << 20) - 1  # what the kernel packs into a device number
_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_LONGEST_CLASS = 4095
_EDITS = frozenset(("env", "deviceNodes", "netDevices", "hooks", "mounts", "intelRdt", "additionalGids"))
_NODE = frozenset(("path", "hostPath", "type", "major", "minor", "fileMode", "permissions", "uid", "gid"))
_MOUNT = frozenset(("hostPath", "containerPath", "options", "type"))
_HOOK = frozenset(("hookName", "path", "args", "env", "timeout"))
_RDT = frozenset(("closID", "l3CacheSchema", "memBwSchema", "schemata", "enableMonitoring"))
_NET = frozenset(("hostInterfaceName", "name"))

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEdit:
    """
    A device node at `path`, as the one of the machine at `host_path` ("" for the same path).

    A `type` of "" and a `major` of 0 are those of the machine's; None is no statement about mode or owner.
    """

    path: str
    host_path: str = ""
    type: str = ""
    major: int = 0
    minor: int = 0
    mode: int | None = None
    permissions: str = ""
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MountEdit:
    """A file or directory of the machine at a place of the sandbox, with the options of mount(8)."""

    host_path: str
    container_path: str
    options: tuple[str, ...] = ()
    type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    """
    Variables, device nodes, mounts and group ids.

    `beyond` names what else is asked for; `version` is the first one of the specification that has all of it.
    """

    env: tuple[str, ...] = ()
    nodes: tuple[NodeEdit, ...] = ()
    mounts: tuple[MountEdit, ...] = ()
    groups: tuple[int, ...] = ()
    beyond: tuple[str, ...] = ()
    version: Version = (0, 3, 0)

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all is asked for, which no device may say."""
        return not (self.env or self.nodes or self.mounts or self.groups or self.beyond)


def read_edits(value: object, place: str) -> Edits:
    """
    Check the member ``containerEdits`` at a place of a document.

    Raises:
        ValueError: something in it is wrong; the message says where.
    """
    found = members(value, place, _EDITS)
    nodes = _each(found, "deviceNodes", place, _node)
    mounts = _each(found, "mounts", place, _mount)
    where = joined(place, "additionalGids")
    groups = tuple(number(one, at, UINT32) for one, at in items(found.get("additionalGids"), where))
    names = _each(found, "hooks", place, _hook)
    beyond = [f"hooks ({', '.join(dict.fromkeys(names))})"] if names else []
    interfaces = _interfaces(found, place)
    beyond += [f"netDevices ({', '.join(interfaces)})"] if interfaces else []
    version: Version = (0, 3, 0)
    if any(mount.type for mount in mounts):
        version = (0, 4, 0)
    if any(node.host_path for node in nodes):
        version = (0, 5, 0)
    if groups or "intelRdt" in found:
        version = (0, 7, 0)
    if "intelRdt" in found:
        beyond.append("intelRdt")
        version = max(version, _rdt(found["intelRdt"], joined(place, "intelRdt")))
    if interfaces:
        version = (1, 1, 0)
    return Edits(
        env=variables(found.get("env"), joined(place, "env")),
        nodes=nodes,
        mounts=mounts,
        groups=groups,
        beyond=tuple(beyond),
        version=version,
    )


def _each(found: Mapping[str, Any], name: str, place: str, read: Any) -> tuple[Any, ...]:
    return tuple(read(element, where) for element, where in items(found.get(name), joined(place, name)))


def _node(value: object, place: str) -> NodeEdit:
    found = members(value, place, _NODE)
    path, kind = text(found.get("path"), f"{place}.path"), text(found.get("type"), f"{place}.type")
    permissions = text(found.get("permissions"), f"{place}.permissions")
    if not path:
        raise ValueError(f"{place}.path is empty")
    if kind not in NODE_TYPES:
        raise ValueError(f"{place}.type is {kind!r}, expected b, c, u or p")
    if not _PERMISSIONS.issuperset(permissions):
        raise ValueError(f"{place}.permissions is {permissions!r}, expected letters of rwm")
    return NodeEdit(
        path=path,
        host_path=text(found.get("hostPath"), f"{place}.hostPath"),
        type=kind,
        major=number(found.get("major", 0), f"{place}.major", _LARGEST_MAJOR),
        minor=number(found.get("minor", 0), f"{place}.minor", _LARGEST_MINOR),
        mode=optional_number(found.get("fileMode"), f"{place}.fileMode", UINT32),
        permissions=permissions,
        uid=optional_number(found.get("uid"), f"{place}.uid", UINT32),
        gid=optional_number(found.get("gid"), f"{place}.gid", UINT32),
    )


def _mount(value: object, place: str) -> MountEdit:
    found = members(value, place, _MOUNT)
    mount = MountEdit(
        host_path=text(found.get("hostPath"), f"{place}.hostPath"),
        container_path=text(found.get("containerPath"), f"{place}.containerPath"),
        options=texts(found.get("options"), f"{place}.options"),
        type=text(found.get("type"), f"{place}.type"),
    )
    for name, path in (("hostPath", mount.host_path), ("containerPath", mount.container_path)):
        if not path:
            raise ValueError(f"{place}.{name} is empty")
    return mount


def _hook(value: object, place: str) -> str:
    found = members(value, place, _HOOK)
    name = text(found.get("hookName"), f"{place}.hookName")
    if name not in _HOOKS:
        raise ValueError(f"{place}.hookName is {name!r}, expected one of {', '.join(_HOOKS)}")
    if not text(found.get("path"), f"{place}.path"):
        raise ValueError(f"{place}.path is empty")
    texts(found.get("args"), f"{place}.args")
    variables(found.get("env"), f"{place}.env")
    optional_number(found.get("timeout"), f"{place}.timeout", UINT32)
    return name


def _interfaces(found: Mapping[str, Any], place: str) -> list[str]:
    """The names of network interfaces, each once, on the machine as in the sandbox."""
    seen: dict[str, list[str]] = {"hostInterfaceName": [], "name": []}
    for element, where in items(found.get("netDevices"), joined(place, "netDevices")):
        device = members(element, where, _NET)
        for key, names in seen.items():
            name = text(device.get(key), f"{where}.{key}")
            if not name or name in names:
                raise ValueError(f"{where}.{key} is {'there twice' if name else 'empty'}")
            names.append(name)
    return seen["hostInterfaceName"]


def _rdt(value: object, place: str) -> Version:
    found = members(value, place, _RDT)
    name = text(found.get("closID"), f"{place}.closID")
    if name != "/" and (len(name) > _LONGEST_CLASS or name in (".", "..") or "/" in name or "\n" in name):
        raise ValueError(f"{place}.closID is no file name")
    for key in ("l3CacheSchema", "memBwSchema"):
        text(found.get(key), f"{place}.{key}")
    texts(found.get("schemata"), f"{place}.schemata")
    is_new = truth(found.get("enableMonitoring"), f"{place}.enableMonitoring") or "schemata" in found
    return (1, 1, 0) if is_new else (0, 7, 0)
