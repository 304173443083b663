"""
A server of several processes, as the one that leads sees it: it owns the directory and looks after it.

Invariants: it alone changes the directory, so whatever holds for a server of one process holds here; it
answers no clients; it ends after all workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from aiohttp import web

from ...errors import InvalidConfiguration, RegistryError
from ..admin import Administration, answering
from ..config import RegistryConfig, TokenAuth
from ..control import Message
from ..housekeeping.lifecycle import looking_after, make_upkeep
from ..listening import url_of, verify
from ..opening import open_store
from ..quota import check_store
from ..stopping import stop_signals
from ..store.filesystem import FilesystemStore
from .crew import Crew, Spec
from .operations import OtherWorkers, StoreOperations, Workers
from .region import SLOTS, Region
from .sharing import SharedRateLimit, SharedSwitches
from .uploads import Claims, SharedUploads

if TYPE_CHECKING:
    from ..webhooks import Outbox as Delivery

_EXPIRY_PERIOD = 600.0
_RELEASE_SECONDS = 0.1
_FIGURES_SECONDS = 5.0


def check_workers(config: RegistryConfig) -> None:
    """
    Look at what several processes need.

    Raises:
        InvalidConfiguration: there can be one only.
    """
    if not 1 <= config.workers < SLOTS:
        raise InvalidConfiguration(f"there can be 1 to {SLOTS - 1} workers, not {config.workers}")
    if config.mirrors:
        raise InvalidConfiguration(
            "mirrors need a server of one process",
            hint="several would each ask the upstream for the same content",
        )
    if not config.root:
        raise InvalidConfiguration(
            "several workers need content in a directory", hint="choose a root, or one worker"
        )


async def serve_workers(config: RegistryConfig, *, ready: Callable[[str], None]) -> None:
    """
    Serve with several processes until SIGTERM or SIGINT.

    Args:
        config: the settings; `workers` says how many.
        ready: called with the URL of the server once all of them accept connections.

    Raises:
        InvalidConfiguration: the server cannot start with these settings.
    """
    check_workers(config)
    verify(config)
    store = open_store(config)
    if not isinstance(store, FilesystemStore):
        store.close()
        raise InvalidConfiguration(
            "several workers need content in a directory", hint="choose a root, or one worker"
        )
    check_store(store, config.policies)
    with contextlib.closing(store), stop_signals() as stop:
        async with _leading(config, store) as url:
            ready(url)
            await stop.wait()


@contextlib.asynccontextmanager
async def _leading(config: RegistryConfig, store: FilesystemStore) -> AsyncIterator[str]:
    region = Region.create()
    region.set_read_only(config.read_only)
    store.leases.others = OtherWorkers(region)
    claims = Claims(store.layout.root)
    store.uploads = SharedUploads(
        store.layout.uploads, store.blobs.adopt, time.monotonic, region=region, slot=0, claims=claims
    )
    workers = Workers(region, store)
    allowances = SharedRateLimit.create() if config.requests_per_second else -1
    with _reserved_port(config) as port, _shared_key(config) as (chosen, key):
        shared = replace(chosen, port=port)
        specs = [
            Spec(
                config=shared,
                slot=slot,
                region=region.descriptor,
                allowances=allowances,
                clock=store.clock.save(),
            )
            for slot in range(1, config.workers + 1)
        ]
        crew = Crew(specs, [region.descriptor, allowances, key])
        started = time.monotonic()

        def status() -> Message:
            own = {"read_only": region.is_read_only, "uptime": round(time.monotonic() - started, 1)}
            return crew.status() | own

        switches = SharedSwitches(region)
        async with _delivering(config) as (outbox, announce):
            upkeep = make_upkeep(config, store, workers, bulletin=outbox, announce=announce)
            administration = Administration(upkeep=upkeep, switches=switches, status=status)
            changes = StoreOperations(store, workers, config.policies, outbox, announce)
            operations = {**administration.operations, **changes.operations, **crew.operations}
            async with (
                answering(store.layout.root, operations),
                looking_after(upkeep, config, _in_thread, switches),
            ):
                chores = _chores(config, store, workers, crew)
                try:
                    await crew.start()
                    yield url_of(config, port)
                finally:
                    await crew.stop(config.drain_seconds)
                    for chore in chores:
                        chore.cancel()
        if crew.has_lost:
            # Its last uses were only in the shared memory: whatever is here counts as used now.
            store.index.set_meta("born", repr(store.clock()))


async def _in_thread(function: Callable[[], object]) -> object:
    return await asyncio.to_thread(function)


def _chores(
    config: RegistryConfig, store: FilesystemStore, workers: Workers, crew: Crew
) -> list[asyncio.Task[None]]:
    idle = config.upload_idle_seconds
    period = max(0.05, min(_EXPIRY_PERIOD, idle / 4))
    wanted: list[tuple[float, Callable[[], object]]] = [
        (period, lambda: store.uploads.expire(idle)),
        (_RELEASE_SECONDS, workers.release_settled),
    ]
    if config.metrics:
        wanted.append((_FIGURES_SECONDS, crew.collect_figures))
    return [asyncio.create_task(_repeat(seconds, function)) for seconds, function in wanted]


async def _repeat(seconds: float, function: Callable[[], object]) -> None:
    while True:
        await asyncio.sleep(seconds)
        with contextlib.suppress(RegistryError):  # the next time, perhaps
            await asyncio.to_thread(function)


@contextlib.contextmanager
def _reserved_port(config: RegistryConfig) -> Iterator[int]:
    """The port, which only processes of this user can listen at until the end of the block."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as reservation:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            reservation.bind((config.host, config.port))
        except OSError as problem:
            raise InvalidConfiguration(
                f"cannot listen on {config.host} port {config.port}: {problem.strerror or problem}",
                hint="choose another port, or 0 for any free one",
            ) from problem
        yield int(reservation.getsockname()[1])


@contextlib.contextmanager
def _shared_key(config: RegistryConfig) -> Iterator[tuple[RegistryConfig, int]]:
    """The settings with a key that signs the tokens of all workers, and the descriptor that holds it."""
    if not isinstance(config.auth, TokenAuth) or config.auth.key:
        yield config, -1
        return
    from ...protocol import tokens  # loads cryptography

    descriptor = os.memfd_create("pybuild-key", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, tokens.key_pem(tokens.generate_key()))
        yield replace(config, auth=replace(config.auth, key=f"/proc/self/fd/{descriptor}")), descriptor
    finally:
        os.close(descriptor)


@contextlib.asynccontextmanager
async def _delivering(config: RegistryConfig) -> AsyncIterator[tuple[Delivery | None, Callable[[], None]]]:
    """The outbox, and what to call when something new is in it; deliver within the block."""
    if not config.webhooks:
        yield None, lambda: None
        return
    from ..webhooks import open_outbox

    outbox = open_outbox(config)
    loop = asyncio.get_running_loop()

    def announce() -> None:
        with contextlib.suppress(RuntimeError):  # the server stops
            loop.call_soon_threadsafe(outbox.announce)

    async with contextlib.asynccontextmanager(outbox.delivering)(web.Application()):
        yield outbox, announce
