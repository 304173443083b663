"""
The operations of a build: what one step does, fully resolved (no variables, no relative paths).

A sealed union of frozen values. `canonical(op)` gives the JSON value that enters the step's digest; it holds
everything that can change the result and nothing else: no names, no spans, no resource limits, no secret
values, no proxy variables, no cache-mount contents, ids or sharing modes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import Any, TypeAlias

from oci_image.digest import Digest
from oci_image.image import Layer
from oci_image.platform import Platform


@dataclass(frozen=True, slots=True)
class Scratch:
    """The empty filesystem."""


@dataclass(frozen=True, slots=True)
class BaseImage:
    """The filesystem of a resolved image. Only the diff_ids count: the same layers, wherever they rest."""

    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSource:
    """
    What a COPY or ADD selects from a build context.

    `digest` covers names, kinds, modes, sizes, link targets, xattrs and bytes of everything selected, never
    mtimes or owners; `context` is "" for the main context, otherwise the name of a named one.
    """

    pattern: str
    digest: Digest
    context: str = ""


@dataclass(frozen=True, slots=True)
class StepSource:
    """A path (wildcards allowed, from the root) in the result of input number `input` of the step."""

    input: int
    pattern: str


@dataclass(frozen=True, slots=True)
class InlineSource:
    """A file whose content stands in the Dockerfile (heredoc), already expanded."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class FetchedSource:
    """
    A file that was fetched into the blob store at plan time, with the name it gets under a directory.

    With `unpack` it is unpacked if it is an archive.
    """

    name: str
    digest: Digest
    mtime: int | None = None
    unpack: bool = False


@dataclass(frozen=True, slots=True)
class UnfetchedSource:
    """
    Something on the network that was not fetched, because the plan is only looked at.

    A step with such a source has no final key, and cannot be performed.
    """

    shown: str


Source: TypeAlias = ContextSource | StepSource | InlineSource | FetchedSource | UnfetchedSource


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyFiles:
    """
    Copy files into the filesystem of input 0.

    `dest` is absolute, a trailing slash (kept) means directory; `owner` is "user[:group]" as written, looked
    up in the destination; `mode` as written (octal or symbolic); `unpack` lets local archives be unpacked.
    """

    sources: tuple[Source, ...]
    dest: str
    owner: str = ""
    mode: str = ""
    unpack: bool = False
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeDir:
    """Create a directory (with parents) unless it is there; `owner` is the USER in force."""

    path: str
    owner: str = ""
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecMount:
    """
    One ``RUN --mount`` with all variables expanded.

    `input` is the number of the step's input that `source` is a path of; `context_digest` replaces it when
    the source lies in the build context (`context` names it). The value of a secret is never here.
    """

    type: str
    target: str
    source: str = ""
    input: int | None = None
    context: str | None = None
    context_digest: Digest | None = None
    readonly: bool = True
    id: str = ""
    sharing: str = "shared"
    required: bool = False
    env: str = ""
    size: int = 0
    mode: int | None = None
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecDevice:
    """One ``RUN --device``: the name of a device, kind or class, which may be missing if not `required`."""

    name: str
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineFile:
    """A script of a heredoc that the command finds at `path` while it runs."""

    path: str
    content: bytes
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exec:
    """
    Run a command in the filesystem of input 0.

    `env` is what the image and ARGs give, in order; `hidden_env` (proxies) reaches the command, not the key;
    `hosts` are further names as "name:address"; `hostname` is that of the sandbox, "" for the usual one.
    """

    argv: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    user: str
    platform: Platform
    network: str = "default"
    security: str = "sandbox"
    hosts: tuple[str, ...] = ()
    hostname: str = ""
    devices: tuple[ExecDevice, ...] = ()
    mounts: tuple[ExecMount, ...] = ()
    files: tuple[InlineFile, ...] = ()
    hidden_env: tuple[str, ...] = ()
    epoch: int
    clamp: bool = False


Op: TypeAlias = Scratch | BaseImage | CopyFiles | MakeDir | Exec


@singledispatch
def canonical(op: object) -> dict[str, Any]:
    """The JSON value of an op (or a part of one) for the step's digest."""
    raise TypeError(f"no canonical form for {type(op).__name__}")


@canonical.register
def _(op: Scratch) -> dict[str, Any]:
    del op
    return {}


@canonical.register
def _(op: BaseImage) -> dict[str, Any]:
    return {"diff_ids": [str(layer.diff_id) for layer in op.layers]}


@canonical.register
def _(op: CopyFiles) -> dict[str, Any]:
    return {
        "sources": [canonical(source) for source in op.sources],
        "dest": op.dest,
        "owner": op.owner,
        "mode": op.mode,
        "unpack": op.unpack,
        "link": op.link,
        "parents": op.parents,
        "exclude": list(op.exclude),
        "epoch": op.epoch,
    }


@canonical.register
def _(source: ContextSource) -> dict[str, Any]:
    # Which context it came from does not matter, only what was selected; the pattern decides about names.
    return {"context": str(source.digest), "pattern": source.pattern}


@canonical.register
def _(source: StepSource) -> dict[str, Any]:
    return {"input": source.input, "pattern": source.pattern}


@canonical.register
def _(source: InlineSource) -> dict[str, Any]:
    return {"name": source.name, "content": str(Digest.of(source.content))}


@canonical.register
def _(source: FetchedSource) -> dict[str, Any]:
    value: dict[str, Any] = {"name": source.name, "fetched": str(source.digest), "mtime": source.mtime}
    return {**value, "unpack": True} if source.unpack else value


@canonical.register
def _(source: UnfetchedSource) -> dict[str, Any]:
    return {"unfetched": source.shown}


@canonical.register
def _(op: MakeDir) -> dict[str, Any]:
    return {"path": op.path, "owner": op.owner, "epoch": op.epoch}


@canonical.register
def _(mount: ExecMount) -> dict[str, Any]:
    value: dict[str, Any] = {"type": mount.type, "target": mount.target, "readonly": mount.readonly}
    if mount.type == "bind":
        value |= {"input": mount.input, "source": mount.source}
        if mount.context_digest is not None:
            value |= {"content": str(mount.context_digest)}
    elif mount.type == "tmpfs":
        value |= {"size": mount.size}
    elif mount.type in ("secret", "ssh"):
        value |= {"env": mount.env, "uid": mount.uid, "gid": mount.gid, "mode": mount.mode}
    return value


@canonical.register
def _(op: Exec) -> dict[str, Any]:
    return {
        "argv": list(op.argv),
        "env": list(op.env),
        "cwd": op.cwd,
        "user": op.user,
        "platform": str(op.platform),
        "network": op.network,
        "security": op.security,
        "mounts": [canonical(mount) for mount in op.mounts],
        "files": [[file.path, str(Digest.of(file.content)), file.mode] for file in op.files],
        "epoch": op.epoch,
        "clamp": op.clamp,
        # Names only: where they are is a matter of the machine that builds.
        **({"hosts": [host.partition(":")[0] for host in op.hosts]} if op.hosts else {}),
        **({"hostname": op.hostname} if op.hostname else {}),
        # Names only, too: what a device is may change with its driver.
        **({"devices": [[device.name, device.required] for device in op.devices]} if op.devices else {}),
    }
