"""
One worker process: it listens at the port that all share, answers, and asks the leading process for changes.

Invariants: it owns nothing, so it may end at any moment; it ends when the leading process does; SIGTERM lets
its requests finish.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable

from ...errors import RegistryError
from .. import accesslog
from ..belongings import Belongings
from ..config import RegistryConfig
from ..control import Message
from ..listening import listening
from ..state import ServerState
from ..store.steady import SteadyClock, boot_identifier
from .crew import Spec
from .figures import WorkerMetrics
from .link import Link
from .region import Region
from .sharing import SharedMetadata, SharedRateLimit, SharedSwitches, WorkerOutbox
from .store import WorkerStore
from .uploads import Claims

_LOG = logging.getLogger(__name__)
_REPORT_SECONDS = 2.0


def main() -> None:
    """Work as the leading process said, in the file whose descriptor is the first argument."""
    with open(int(sys.argv[1]), "rb") as file:
        file.seek(0)
        spec: Spec = pickle.load(file)  # noqa: S301 - written by the process that started this one
    if spec.config.access_log != "off":
        accesslog.LOGGER.addHandler(accesslog.handler(spec.config.access_log))
        accesslog.LOGGER.setLevel(logging.INFO)
    asyncio.run(_work(spec))


async def _work(spec: Spec) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    # A terminal sends it to all processes; the leading one decides.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    link = Link(spec.config.root)
    claims, region = Claims(spec.config.root), Region(spec.region)
    clock = SteadyClock(time.monotonic, spec.clock, boot_identifier())
    store = WorkerStore(spec.config.root, clock, region=region, slot=spec.slot, claims=claims, link=link)
    belongings = _belongings(spec, region, claims, link)
    try:
        async with listening(
            spec.config,
            store,
            belongings=belongings,
            started=lambda state: _listen(spec, link, state, belongings.metrics),
        ):
            await asyncio.to_thread(link.ask, "worker.started", pid=os.getpid())
            reports = asyncio.create_task(_report(store))
            await stop.wait()
            reports.cancel()
    except RegistryError as problem:
        await asyncio.to_thread(link.ask, "worker.started", pid=os.getpid(), problem=problem.message)
    finally:
        store.close()


def _belongings(spec: Spec, region: Region, claims: Claims, link: Link) -> Belongings:
    config: RegistryConfig = spec.config
    return Belongings(
        metadata=SharedMetadata(region),
        switches=SharedSwitches(region),
        metrics=WorkerMetrics(link) if config.metrics else None,
        rate=SharedRateLimit(config.requests_per_second, config.burst, spec.allowances)
        if config.requests_per_second
        else None,
        outbox=WorkerOutbox(config.webhooks, link) if config.webhooks else None,
        claims=claims,
        owns_directory=False,
    )


async def _report(store: WorkerStore) -> None:
    while True:
        await asyncio.sleep(_REPORT_SECONDS)
        try:
            await asyncio.to_thread(store.worker_leases.report)
        except RegistryError as problem:
            _LOG.warning("uses cannot be reported: %s", problem.message)


def _listen(spec: Spec, link: Link, state: ServerState, metrics: object) -> None:
    """Answer the questions of the leading process, in a thread; end when it is gone."""

    def figures() -> Message:
        return {"families": metrics.snapshot() if isinstance(metrics, WorkerMetrics) else []}

    def status() -> Message:
        return {"slot": spec.slot, "state": "draining" if state.running.is_draining else "serving"}

    answers: dict[str, Callable[[], Message]] = {"figures": figures, "status": status}

    def listen() -> None:
        try:
            while True:
                question = link.ask("worker.next", pid=os.getpid())
                if question:
                    said = answers[question["what"]]()
                    said |= {"pid": os.getpid(), "running_requests": state.running.count}
                    link.ask("worker.reply", number=question["number"], **said)
        except RegistryError:
            os._exit(1)  # whatever is running here could change nothing any more

    threading.Thread(target=listen, name="leading-process", daemon=True).start()
