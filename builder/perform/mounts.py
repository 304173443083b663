"""
The mounts of a RUN: what each ``--mount`` is for the sandbox, and what has to be there for it.

Whatever a command writes to a bind mount is thrown away; only cache mounts keep what is written, under
``state/mounts``. Values of secrets go to the sandbox alone. Governing text: "RUN --mount" in the Dockerfile
reference.
"""

from __future__ import annotations

import json
import os
import posixpath
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from oci_image.digest import Digest
from oci_image.layer.apply import apply_layer, remove_tree
from oci_image.layer.entry import Entry, Kind
from oci_image.layer.tree import LayerTree
from oci_image.layer.write import LayerWriter
from runtime.mounts import Bind, FileContent, Mount, Overlay, Tmpfs

from ..caching.cache import CacheRecord, is_complete
from ..errors import BuildError, Unsupported
from ..events import Notice
from ..graph import Origin, Step
from ..locks import exclusive, try_exclusive
from ..ops import ContextSource, CopyFiles, Exec, ExecMount, Scratch
from ..scratch import Scratch as ScratchDirectory
from ..snapshots import Snapshot
from .agents import forwarded
from .base import Mounted, Supplies, checkpoint, in_thread
from .draft import Draft
from .files import copy_files
from .stepfiles import StepFiles

_SECRET_MODE = 0o400
_AGENT_MODE = 0o600
_MOST_PRIVATE = 64


@dataclass(frozen=True, slots=True)
class _Run:
    """What all mounts of one RUN share."""

    op: Exec
    inputs: Sequence[Snapshot]
    supplies: Supplies
    made: Mounted
    scratch: ScratchDirectory


@asynccontextmanager
async def mounted(
    op: Exec, inputs: Sequence[Snapshot], supplies: Supplies, scratch: ScratchDirectory
) -> AsyncIterator[Mounted]:
    """
    Everything that the mounts and files of a RUN need, kept (and locked) for as long as the block runs.

    Raises:
        BuildError: a secret or device that is required is missing, or a source is not there.
    """
    async with AsyncExitStack() as stack:
        made = Mounted()
        variables = await _devices(op, supplies, made) if op.devices else []
        await _lock_caches(op.mounts, supplies, stack)
        for number, mount in enumerate(op.mounts):
            await _add(mount, number, _Run(op, inputs, supplies, made, scratch), stack)
        for file in op.files:
            made.mounts.append(await in_thread(_script, file.path, file.content, file.mode, scratch))
        made.env += variables  # those of devices beat all others
        yield made


async def _devices(op: Exec, supplies: Supplies, made: Mounted) -> list[str]:
    """What devices bring with them, below all other mounts; returned are their variables."""
    from ..devices.injecting import injected
    from ..devices.registry import read_registry

    host = supplies.host
    registry = await in_thread(read_registry, host.cdi_directories)
    given = await in_thread(injected, op.devices, registry, user_namespace=host.user_namespace)
    for notice in given.notices:
        if notice not in supplies.said:
            supplies.said.add(notice)
            supplies.sink(Notice("warning", notice))
    made.mounts += given.mounts
    made.groups += given.groups
    return given.env


async def _add(mount: ExecMount, number: int, run: _Run, stack: AsyncExitStack) -> None:
    made, supplies = run.made, run.supplies
    if mount.type == "bind":
        made.mounts.append(await _bind(mount, run.op.epoch, run.inputs, supplies))
    elif mount.type == "tmpfs":
        made.mounts.append(Tmpfs(target=mount.target, size=mount.size))
    elif mount.type == "cache":
        made.mounts.append(await stack.enter_async_context(_cache(mount, run.inputs, supplies)))
    elif mount.type == "secret":
        _secret(mount, supplies, made)
    elif mount.type == "ssh":
        await _ssh(mount, number, run, stack)
    else:
        raise Unsupported(f"RUN --mount=type={mount.type} is not supported")


async def _bind(mount: ExecMount, epoch: int, inputs: Sequence[Snapshot], supplies: Supplies) -> Mount:
    driver = supplies.host.rootfs()
    if mount.input is not None:
        snapshot, subpath = inputs[mount.input], mount.source.strip("/")
    else:
        snapshot, subpath = await in_thread(_context_snapshot, mount, epoch, supplies)
    lowers = await in_thread(driver.unpacked, snapshot)
    if not lowers:
        return Tmpfs(target=mount.target, mode=0o755, readonly=mount.readonly)
    return Overlay(lowers=lowers, target=mount.target, subpath=subpath, readonly=mount.readonly)


def _context_snapshot(mount: ExecMount, epoch: int, supplies: Supplies) -> tuple[Snapshot, str]:
    """The selected part of a build context as a layer, made once for equal content, and the path in it."""
    context = supplies.contexts.get(mount.context or "")
    if context is None or mount.context_digest is None:
        raise BuildError("a bind mount needs a build context")
    chosen = context.select(mount.source)
    name = "" if chosen.sources and chosen.sources[0].is_dir else "file"
    source = ContextSource(pattern=mount.source, digest=chosen.digest, context=mount.context or "")
    op = CopyFiles(sources=(source,), dest=f"/{name}", link=True, epoch=epoch)
    step = Step(op, (Step(Scratch(), (), Origin(name="")),), Origin(name=f"bind {mount.source}"))
    host = supplies.host
    record = host.cache.lookup(step.digest)
    if record is None or not is_complete(record, host.blobs, 0):
        started = host.clock()
        snapshot = copy_files(op, (Snapshot(),), supplies)
        size = snapshot.layers[-1].descriptor.size
        record = CacheRecord.of(snapshot, step.digest, size=size, seconds=host.clock() - started)
        host.cache.store([(step.digest, step.preimage)], record)
    return record.snapshot, name


async def _lock_caches(mounts: Sequence[ExecMount], supplies: Supplies, stack: AsyncExitStack) -> None:
    """
    Take the locks of all caches that are not private: together with others that share, or alone.

    In one order for everybody and each once, so that no two commands can wait for one another.
    """
    wanted: dict[str, bool] = {}
    for mount in mounts:
        if mount.type == "cache" and mount.sharing != "private":
            path = os.path.join(_caches(supplies), f"{cache_key(mount)}.lock")
            wanted[path] = wanted.get(path, True) and mount.sharing == "shared"
    for path, shared in sorted(wanted.items()):
        await stack.enter_async_context(exclusive(path, shared=shared))


def _caches(supplies: Supplies) -> str:
    return os.path.join(supplies.host.state, "mounts")


def cache_key(mount: ExecMount) -> str:
    """The name of a cache mount in the store; a private one has a number behind it."""
    # Another owner or mode means another directory: the first user's choice cannot be changed later.
    return Digest.of(json.dumps([mount.id, mount.mode, mount.uid, mount.gid]).encode()).hex[:32]


@asynccontextmanager
async def _cache(mount: ExecMount, inputs: Sequence[Snapshot], supplies: Supplies) -> AsyncIterator[Mount]:
    key, parent = cache_key(mount), _caches(supplies)
    async with AsyncExitStack() as stack:
        name = key
        if mount.sharing == "private":
            name = await _own_copy(parent, key, stack)
        directory = os.path.join(parent, name)
        async with exclusive(os.path.join(parent, f"{key}.new")):
            await _prepare(directory, mount, inputs, supplies)
            with suppress(OSError):
                os.utime(directory)  # when it was last used, for cleaning up
        yield Bind(source=os.path.join(directory, "data"), target=mount.target, readonly=mount.readonly)


async def _own_copy(parent: str, key: str, stack: AsyncExitStack) -> str:
    """The name of a copy of a private cache that nobody else uses now."""
    for number in range(_MOST_PRIVATE):
        name = f"{key}-{number}"
        lock = try_exclusive(os.path.join(parent, f"{name}.lock"))
        if lock is not None:
            stack.callback(lock.close)
            return name
    raise BuildError(f"more than {_MOST_PRIVATE} users of one private cache mount at once")


async def _prepare(directory: str, mount: ExecMount, inputs: Sequence[Snapshot], supplies: Supplies) -> None:
    """Make a cache mount that is not there yet: as an imported cache has it, or as it is to begin."""
    temporary = f"{directory}.making"
    place = os.path.join(temporary, "data")
    if not await in_thread(_begin, directory, temporary):
        return
    name = os.path.basename(directory)
    restored = supplies.mounts is not None and await supplies.mounts.restore(name, mount, place)
    if mount.input is not None and not restored:
        files = StepFiles(inputs[mount.input], supplies.host.layers)
        await in_thread(_fill, place, files, mount.source, supplies)
    await in_thread(_finish, directory, temporary, mount)


def _begin(directory: str, temporary: str) -> bool:
    if os.path.isdir(os.path.join(directory, "data")):
        return False
    remove_tree(temporary)
    os.makedirs(os.path.join(temporary, "data"))
    return True


def _finish(directory: str, temporary: str, mount: ExecMount) -> None:
    place = os.path.join(temporary, "data")
    os.chown(place, mount.uid, mount.gid)
    os.chmod(place, 0o755 if mount.mode is None else mount.mode)
    with open(os.path.join(temporary, "id"), "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(mount.id)
    remove_tree(directory)
    os.rename(temporary, directory)


def _fill(place: str, files: StepFiles, source: str, supplies: Supplies) -> None:
    """What a cache begins with: the content of a directory of a stage or image."""
    draft = Draft(LayerTree([]), lambda path: Entry(path, Kind.DIRECTORY, 0o755))
    for item in files.items(source):
        for entry, contents, key in item.each():
            if entry.path:
                draft.put(entry, contents, key)
    with tempfile.TemporaryFile(dir=_caches(supplies)) as archive:
        writer = LayerWriter(archive.write, record=False)
        draft.write(writer, checkpoint)
        writer.finish()
        archive.seek(0)
        apply_layer(archive, place, whiteouts="merge", user_namespace=supplies.host.user_namespace)


def _secret(mount: ExecMount, supplies: Supplies, made: Mounted) -> None:
    value = supplies.secrets.get(mount.id)
    if value is None:
        if mount.required:
            raise BuildError(
                f"secret {mount.id} was not given to this build", hint=f"add --secret id={mount.id},src=FILE"
            )
        return
    if mount.env:
        if b"\0" in value:
            raise BuildError(f"secret {mount.id} holds a zero byte, which no environment variable can")
        made.env.append(f"{mount.env}={value.decode('utf-8', 'surrogateescape')}")
    if mount.target:
        mode = _SECRET_MODE if mount.mode is None else mount.mode
        made.mounts.append(
            FileContent(target=mount.target, content=value, mode=mode, uid=mount.uid, gid=mount.gid)
        )


async def _ssh(mount: ExecMount, number: int, run: _Run, stack: AsyncExitStack) -> None:
    source = run.supplies.ssh.get(mount.id or "default")
    if source is None:
        if mount.required:
            name = mount.id or "default"
            raise BuildError(f"no ssh agent {name!r} was given to this build", hint=f"add --ssh {name}")
        return
    target = mount.target or f"/run/buildkit/ssh_agent.{number}"
    mode = _AGENT_MODE if mount.mode is None else mount.mode
    agent = forwarded(source, run.scratch, mode=mode, uid=mount.uid, gid=mount.gid)
    socket = await stack.enter_async_context(agent)
    run.made.mounts.append(Bind(source=socket, target=target, readonly=True))
    if not any(variable.startswith("SSH_AUTH_SOCK=") for variable in run.made.env):
        run.made.env.append(f"SSH_AUTH_SOCK={target}")  # of several agents the first one is the usual one


def _script(path: str, content: bytes, mode: int, scratch: ScratchDirectory) -> Mount:
    """A file for one command; a bind of a real one, since it may be executed."""
    place = scratch.new_path("script")
    with open(place, "xb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
    return Bind(source=place, target=posixpath.normpath(path), readonly=True)
