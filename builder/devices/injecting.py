"""
Devices as parts of a sandbox: their edits as mounts, device nodes, variables and groups.

What holds for all devices of a document comes first, once. A device node is made anew where this process may
do that, with the numbers of the machine's own unless the specification gives them; an ordinary user gets the
machine's own, as it is. Nothing that is asked for is left out: what a sandbox cannot do is an error that
names the document and the device. Governing text: SPEC.md of the Container Device Interface.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field

from runtime.mounts import Bind, DeviceNode, Mount

from ..errors import MissingDevice, Unsupported
from ..ops import ExecDevice
from .edits import Edits, MountEdit, NodeEdit
from .registry import Registry
from .specs import Device

_BIND, _RECURSIVE = "bind", "rbind"
_WITHOUT_EFFECT = frozenset(
    (
        *(_BIND, _RECURSIVE, "defaults", "rw", "suid", "exec", "async", "relatime"),
        # No device below a mount can be opened, whatever it says: devices come by deviceNodes.
        *("dev", "nodev"),
        # Nothing that is mounted in a sandbox reaches the machine.
        *("private", "rprivate", "slave", "rslave"),
    )
)
_DEFAULT_MODE = 0o666
_TYPES = {stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p"}


@dataclass(slots=True)
class Injected:
    """What a sandbox gets for devices; `notices` are what a person should know."""

    mounts: list[Mount] = field(default_factory=list)
    env: list[str] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def injected(devices: Sequence[ExecDevice], registry: Registry, *, user_namespace: bool) -> Injected:
    """
    What the devices that a command may have ask for.

    Raises:
        MissingDevice: one that is required is not registered, or a file that it consists of is not there.
        Unsupported: a device needs what sandboxes cannot do, or not in a user namespace.
    """
    found = registry.find(devices)
    injected = Injected(notices=[*registry.told(found.missing)])
    documents = set()
    for name in found.names:
        device = registry.devices[name]
        if device.spec.path not in documents:
            documents.add(device.spec.path)
            _Injection(device, injected, user_namespace=user_namespace).add(device.spec.edits)
        _Injection(device, injected, user_namespace=user_namespace).add(device.edits)
    return injected


class _Injection:
    """Adds edits for one device."""

    def __init__(self, device: Device, injected: Injected, *, user_namespace: bool) -> None:
        self._device = device
        self._injected = injected
        self._user_namespace = user_namespace

    def add(self, edits: Edits) -> None:
        if edits.beyond:
            raise self._unsupported(f"it asks for {' and '.join(edits.beyond)}")
        injected = self._injected
        injected.env += edits.env
        injected.mounts += map(self._node, edits.nodes)
        injected.mounts += map(self._mount, edits.mounts)
        injected.groups += [group for group in edits.groups if group and group not in injected.groups]

    def _unsupported(self, reason: str, hint: str = "") -> Unsupported:
        path = self._device.spec.path
        return Unsupported(
            f"device {self._device.name} cannot be given to a command: {reason}, says {path}",
            hint=hint or f"a sandbox cannot do that: leave it out of {path}",
        )

    def _missing(self, path: str, problem: str) -> MissingDevice:
        return MissingDevice(
            f"device {self._device.name}: {path} cannot be used: {problem}",
            hint=f"{self._device.spec.path} names it",
        )

    def _node(self, edit: NodeEdit) -> DeviceNode:
        self._check_absolute(edit.path)
        if edit.permissions and not {"r", "w"} <= set(edit.permissions):
            raise self._unsupported(
                f"{edit.path} is to have the permissions {edit.permissions!r}",
                "a sandbox cannot let a device be only read or only written: give it rw",
            )
        source = edit.host_path or edit.path
        found = self._status(source, is_needed=not _is_complete(edit))
        node = _node_of(edit, source, found)
        if found is not None and not _is_complete(edit) and edit.type and node.type != _type_of(found):
            raise self._missing(source, f"it is of type {_type_of(found)}, not {node.type}")
        if self._user_namespace and node.type != "p":
            self._check_shown(edit, node, found)
        return node

    def _check_absolute(self, path: str) -> None:
        if not path.startswith("/"):
            raise self._unsupported(f"{path} is no absolute path", "give paths from the root")

    def _status(self, path: str, *, is_needed: bool) -> os.stat_result | None:
        """What the machine has there, links not followed; None if it is no device or not there."""
        try:
            found = os.lstat(path)
        except OSError as problem:
            if is_needed:
                raise self._missing(path, problem.strerror or str(problem)) from problem
            return None
        if _type_of(found):
            return found
        if is_needed:
            raise self._missing(path, "it is no device node")
        return None

    def _check_shown(self, edit: NodeEdit, node: DeviceNode, found: os.stat_result | None) -> None:
        """An ordinary user cannot make a node, so the machine must have the very same one."""
        numbers = None if found is None else (_type_of(found), found.st_rdev)
        if found is None or numbers != (node.type, os.makedev(node.major, node.minor)):
            raise self._unsupported(
                f"{node.source} is not {node.type} {node.major}:{node.minor} on this machine",
                "only root can make device nodes: build as root",
            )
        if os.statvfs(node.source).f_flag & os.ST_NODEV:
            raise self._missing(node.source, "it lies on a filesystem that is mounted with nodev")
        wanted = (edit.mode, edit.uid, edit.gid)
        has = (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)
        if any(one not in (None, other) for one, other in zip(wanted, has, strict=True)):
            self._injected.notices.append(
                f"device {self._device.name}: {edit.path} keeps the mode and owner of {node.source}, "
                f"whatever {self._device.spec.path} says: only root can make device nodes"
            )

    def _mount(self, edit: MountEdit) -> Bind:
        self._check_absolute(edit.host_path)
        self._check_absolute(edit.container_path)
        if edit.type not in ("", "none", _BIND):
            raise self._unsupported(f"{edit.container_path} is to be a mount of type {edit.type}")
        readonly, others = "ro" in edit.options, set(edit.options) - {"ro", "nosuid", "noexec"}
        if unknown := sorted(others - _WITHOUT_EFFECT):
            raise self._unsupported(f"{edit.container_path} is to be mounted with {', '.join(unknown)}")
        if not os.path.exists(edit.host_path):
            raise self._missing(edit.host_path, "it is not there")
        return Bind(
            source=edit.host_path,
            target=edit.container_path,
            readonly=readonly,
            recursive=_RECURSIVE in edit.options,
            nosuid="nosuid" in edit.options,
            noexec="noexec" in edit.options,
        )


def _is_complete(edit: NodeEdit) -> bool:
    """Whether the specification says enough for a node that the machine does not have."""
    return bool(edit.type and (edit.major or edit.type == "p"))


def _node_of(edit: NodeEdit, source: str, found: os.stat_result | None) -> DeviceNode:
    kind = "c" if edit.type == "u" else edit.type or _type_of(found)
    major, minor = edit.major, edit.minor
    if found is not None and not _is_complete(edit) and not major:
        major, minor = os.major(found.st_rdev), os.minor(found.st_rdev)
    mode = edit.mode
    if mode is None:
        mode = _DEFAULT_MODE if found is None else stat.S_IMODE(found.st_mode)
    return DeviceNode(
        target=edit.path,
        source=source,
        type=kind,
        major=0 if kind == "p" else major,
        minor=0 if kind == "p" else minor,
        mode=stat.S_IMODE(mode),
        uid=edit.uid,
        gid=edit.gid,
    )


def _type_of(found: os.stat_result | None) -> str:
    return "" if found is None else _TYPES.get(stat.S_IFMT(found.st_mode), "")
