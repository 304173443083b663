"""
The worker processes of a server: starting, asking, restarting and ending them.

Invariants: a worker that ends by itself is replaced, ever more slowly when it ends at once; a question to all
workers is answered in bounded time, by those that are there; when the leading process ends, however that
comes, its workers end.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import pickle
import queue
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...errors import InvalidConfiguration
from ..config import RegistryConfig
from ..control import Message, Operation
from .figures import Snapshot, add_up

_LOG = logging.getLogger(__name__)
_PROGRAM = "import sys; sys.path[:] = sys.argv[2:]; from registry.server.workers.worker import main; main()"
_START_SECONDS = 60.0
_ANSWER_SECONDS = 2.0
_POLL_SECONDS = 5.0
_LONGEST_PAUSE = 5.0
_STEADY_SECONDS = 10.0
_KILL_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """
    What a worker must know.

    Attributes:
        config: the settings, with the port that all listen at.
        slot: its number, from one.
        region: descriptor of the shared memory.
        allowances: descriptor of the shared table of allowances; -1 for none.
        clock: the state of the clock for grace periods.
    """

    config: RegistryConfig
    slot: int
    region: int
    allowances: int
    clock: str


@dataclass(slots=True)
class _Worker:
    slot: int
    process: asyncio.subprocess.Process
    started: asyncio.Event = field(default_factory=asyncio.Event)
    problem: str = ""
    questions: queue.Queue[Message] = field(default_factory=queue.Queue)
    figures: Snapshot = field(default_factory=list)


class Crew:
    """
    The workers of one server.

    Args:
        specs: one for each worker.
        descriptors: what they inherit.
    """

    def __init__(self, specs: Sequence[Spec], descriptors: Sequence[int]) -> None:
        self._specs = specs
        self._descriptors = [number for number in descriptors if number >= 0]
        self._workers: dict[int, _Worker] = {}
        self._chores: list[asyncio.Task[None]] = []
        self._stopping = False
        self._numbers = itertools.count()
        self._replies: dict[int, queue.Queue[Message]] = {}
        self._retired: Snapshot = []
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self.has_lost = False

    @property
    def operations(self) -> Mapping[str, Operation]:
        """What workers ask for besides changes."""
        return {
            "worker.started": self._note_start,
            "worker.next": self._next_question,
            "worker.reply": self._take_reply,
            "worker.figures": self._figures,
        }

    # Starting and ending.

    async def start(self) -> None:
        """
        Start every worker; all listen when this returns.

        Raises:
            InvalidConfiguration: a worker cannot start, for the reason that it gave.
        """
        first = [await self._spawn(spec) for spec in self._specs]
        for worker in first:
            await self._wait_for_start(worker)
        self._chores = [
            asyncio.create_task(self._keep(spec, worker))
            for spec, worker in zip(self._specs, first, strict=True)
        ]

    async def _spawn(self, spec: Spec) -> _Worker:
        descriptor = os.memfd_create("pybuild-worker", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, pickle.dumps(spec))
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                _PROGRAM,
                str(descriptor),
                *sys.path,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[descriptor, *self._descriptors],
            )
        finally:
            os.close(descriptor)
        worker = _Worker(spec.slot, process)
        with self._lock:
            self._workers[process.pid] = worker
        return worker

    async def _wait_for_start(self, worker: _Worker) -> None:
        ended = asyncio.create_task(worker.process.wait())
        started = asyncio.create_task(worker.started.wait())
        try:
            async with asyncio.timeout(_START_SECONDS):
                await asyncio.wait({ended, started}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError as problem:
            raise InvalidConfiguration("a worker did not start in time") from problem
        finally:
            ended.cancel()
            started.cancel()
        if worker.problem or not worker.started.is_set():
            raise InvalidConfiguration(worker.problem or "a worker ended while it started")

    async def _keep(self, spec: Spec, worker: _Worker) -> None:
        pause = 0.05
        while True:
            since = time.monotonic()
            status = await worker.process.wait()
            self._retire(worker)
            if self._stopping:
                return
            self.has_lost = True
            _LOG.error("worker %d ended with status %d; another one takes its place", spec.slot, status)
            pause = 0.05 if time.monotonic() - since > _STEADY_SECONDS else min(pause * 2, _LONGEST_PAUSE)
            await asyncio.sleep(pause)
            worker = await self._spawn(spec)

    def _retire(self, worker: _Worker) -> None:
        with self._lock:
            self._workers.pop(worker.process.pid, None)
            self._retired = add_up([self._retired, worker.figures])

    async def stop(self, drain_seconds: float) -> None:
        """Let every worker finish its requests; end those that take too long."""
        self._stopping = True
        with self._lock:
            workers = list(self._workers.values())
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                worker.process.terminate()
        try:
            async with asyncio.timeout(drain_seconds + _KILL_SECONDS):
                for worker in workers:
                    await worker.process.wait()
        except TimeoutError:
            self.has_lost = True
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):
                    worker.process.kill()
                await worker.process.wait()
        for chore in self._chores:
            chore.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await chore

    # What workers ask and answer, in threads of the control socket.

    def _note_start(self, asked: Message, _payload: bytes) -> Message:
        worker = self._worker(asked)
        worker.problem = str(asked.get("problem", ""))
        self._loop.call_soon_threadsafe(worker.started.set)
        return {}

    def _worker(self, asked: Message) -> _Worker:
        with self._lock:
            return self._workers[asked["pid"]]

    def _next_question(self, asked: Message, _payload: bytes) -> Message:
        try:
            return self._worker(asked).questions.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            return {}

    def _take_reply(self, asked: Message, _payload: bytes) -> Message:
        waiting = self._replies.get(asked["number"])
        if waiting is not None:
            waiting.put(asked)
        return {}

    def ask_all(self, what: str) -> list[Message]:
        """The answers of all workers that give one in time; blocks."""
        number = next(self._numbers)
        answers: queue.Queue[Message] = queue.Queue()
        self._replies[number] = answers
        with self._lock:
            workers = list(self._workers.values())
        for worker in workers:
            worker.questions.put({"number": number, "what": what})
        found: list[Message] = []
        deadline = time.monotonic() + _ANSWER_SECONDS
        try:
            while len(found) < len(workers):
                found.append(answers.get(timeout=max(0.001, deadline - time.monotonic())))
        except queue.Empty:
            _LOG.warning("%d of %d workers answered", len(found), len(workers))
        finally:
            del self._replies[number]
        return found

    # What the server says about itself.

    def collect_figures(self) -> Message:
        """What all processes counted, also those that ended; blocks."""
        answers = self.ask_all("figures")
        with self._lock:
            for answer in answers:
                if answer["pid"] in self._workers:
                    self._workers[answer["pid"]].figures = answer["families"]
            known = [self._retired, *(worker.figures for worker in self._workers.values())]
        return {"families": add_up(known), "running": sum(answer["running_requests"] for answer in answers)}

    def _figures(self, _asked: Message, _payload: bytes) -> Message:
        return self.collect_figures()

    def status(self) -> Message:
        """What each worker does."""
        answers = sorted(self.ask_all("status"), key=lambda answer: int(answer["slot"]))
        workers = [
            {name: answer[name] for name in ("pid", "slot", "state", "running_requests")}
            for answer in answers
        ]
        return {
            "state": "draining" if self._stopping else "serving",
            "pid": os.getpid(),
            "running_requests": sum(worker["running_requests"] for worker in workers),
            "workers": workers,
        }
