"""
Announcing changes to others, by CloudEvents over HTTP.

Invariants: an event is durable before the change is answered, and is sent until it is accepted, so it arrives
at least once, also after a restart; the events of one repository arrive at one receiver in their order, and a
receiver that does not answer holds up nobody else. Governing source: CloudEvents 1.0, JSON format and HTTP
binding (structured mode).
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import random
import sqlite3
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
from aiohttp import web

from ..errors import InvalidConfiguration, StorageProblem
from .config import RegistryConfig, Webhook
from .events import Change
from .rights import matches
from .store.database import index_errors

_LOG = logging.getLogger(__name__)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, repository TEXT NOT NULL,
  created REAL NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS lanes ON outbox (target, repository, id);
CREATE TABLE IF NOT EXISTS told (place INTEGER PRIMARY KEY CHECK (place = 0), number INTEGER NOT NULL);
"""
_PARALLEL = 16
_SEND_SECONDS = 10.0
_LONGEST_PAUSE = 600.0
_TROUBLE_SECONDS = 5.0
_KEEP_SECONDS = 7 * 24 * 3600.0

EVENTS = ("push", "delete")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    identifier: int
    target: str
    repository: str
    created: float
    body: bytes


class Outbox:
    """
    The events that wait for their delivery, in SQLite.

    Args:
        path: the database; ``:memory:`` for one that ends with the process.
        webhooks: the receivers.
        first_pause: seconds until a failed delivery is tried again; they double with each failure.
    """

    def __init__(self, path: str, webhooks: Sequence[Webhook], *, first_pause: float = 1.0) -> None:
        self._webhooks = {webhook.url: webhook for webhook in webhooks}
        self._secrets = {webhook.url: read_secret(webhook) for webhook in webhooks}
        self._first_pause = first_pause
        self._lock = threading.Lock()
        self._paused: dict[tuple[str, str], tuple[int, float]] = {}
        self._news = asyncio.Event()
        try:
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as problem:
            raise InvalidConfiguration(f"the outbox of webhooks cannot be used: {problem}") from problem

    def wants(self, kind: str, repository: str) -> bool:
        """Whether anybody asked for such an event."""
        return any(_wants(webhook, kind, repository) for webhook in self._webhooks.values())

    def add(self, change: Change) -> None:
        """Keep an event for everybody who asked for it. Durable when it returns; may block."""
        self.add_all([change])

    def add_all(self, changes: Sequence[Change], told: int | None = None) -> None:
        """Keep these events, and the number of the record that is the last one now, or neither. May block."""
        now = time.time()
        rows = []
        for change in changes:
            body = json.dumps(_cloud_event(change, now)).encode()
            rows += [
                (webhook.url, change.repository, now, body)
                for webhook in self._webhooks.values()
                if _wants(webhook, change.kind, change.repository)
            ]
        with self._lock, index_errors(), self._database:  # a transaction that ends in any case
            self._database.execute("BEGIN")
            self._database.executemany(
                "INSERT INTO outbox (target, repository, created, body) VALUES (?, ?, ?, ?)", rows
            )
            if told is not None:
                self._database.execute("INSERT OR REPLACE INTO told VALUES (0, ?)", (told,))

    def told(self) -> int | None:
        """The number of the last record that it was told of; None when it is new. May block."""
        with self._lock, index_errors():
            found = self._database.execute("SELECT number FROM told").fetchone()
        return None if found is None else int(found[0])

    def announce(self) -> None:
        """Let the delivery look for new events now."""
        self._news.set()

    def pending(self) -> int:
        """How many events wait."""
        with self._lock, index_errors():
            return int(self._database.execute("SELECT count(*) FROM outbox").fetchone()[0])

    def close(self) -> None:
        """Release the database; what waits stays in it."""
        with self._lock:
            self._database.close()

    async def delivering(self, _app: web.Application) -> AsyncIterator[None]:
        """The cleanup context that delivers while an application runs."""
        task = asyncio.create_task(self.deliver())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        self.close()

    def _heads(self) -> list[_Waiting]:
        """The oldest event of each receiver and repository."""
        with self._lock, index_errors():
            found = self._database.execute(
                "SELECT id, target, repository, created, body FROM outbox WHERE id IN "
                "(SELECT min(id) FROM outbox GROUP BY target, repository) ORDER BY id"
            ).fetchall()
        return [
            _Waiting(identifier=row[0], target=row[1], repository=row[2], created=row[3], body=row[4])
            for row in found
        ]

    def _remove(self, identifier: int) -> None:
        with self._lock, index_errors():
            self._database.execute("DELETE FROM outbox WHERE id = ?", (identifier,))

    async def deliver(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Send what waits, for as long as the server runs."""
        timeout = aiohttp.ClientTimeout(total=_SEND_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                self._news.clear()
                try:
                    pause = await self._deliver_due(session, clock)
                except StorageProblem as problem:  # a full disk, perhaps; an event may be sent twice
                    _LOG.warning("events cannot be delivered: %s", problem.message)
                    pause = _TROUBLE_SECONDS
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(pause, 0.01)):
                        await self._news.wait()

    async def _deliver_due(self, session: aiohttp.ClientSession, clock: Callable[[], float]) -> float:
        """Send what is due; the seconds until more is."""
        while True:
            heads = await asyncio.to_thread(self._heads)
            due = [head for head in heads if self._due_at(head) <= clock()]
            if not due:
                return min((self._due_at(head) - clock() for head in heads), default=60.0)
            await asyncio.gather(*(self._send(session, head, clock) for head in due[:_PARALLEL]))

    def _due_at(self, waiting: _Waiting) -> float:
        return self._paused.get((waiting.target, waiting.repository), (0, 0.0))[1]

    async def _send(
        self, session: aiohttp.ClientSession, waiting: _Waiting, clock: Callable[[], float]
    ) -> None:
        lane = (waiting.target, waiting.repository)
        webhook = self._webhooks.get(waiting.target)
        if webhook is None or time.time() - waiting.created > _KEEP_SECONDS:
            _LOG.error("an event of %s was given up: its receiver is gone or silent", waiting.repository)
            problem = ""
        else:
            problem = await self._post(session, webhook, waiting.body)
        if not problem:
            self._paused.pop(lane, None)
            await asyncio.to_thread(self._remove, waiting.identifier)
            return
        failures = self._paused.get(lane, (0, 0.0))[0] + 1
        pause = min(self._first_pause * 2 ** min(failures - 1, 20), _LONGEST_PAUSE)
        self._paused[lane] = (failures, clock() + pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load
        _LOG.warning("an event of %s was not accepted (%s), try %d", waiting.repository, problem, failures)

    async def _post(self, session: aiohttp.ClientSession, webhook: Webhook, body: bytes) -> str:
        headers = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
        secret = self._secrets[webhook.url]
        if secret:
            headers["X-Pybuild-Signature"] = "sha256=" + hmac.digest(secret, body, "sha256").hex()
        try:
            async with session.post(webhook.url, data=body, headers=headers, allow_redirects=False) as answer:
                return "" if 200 <= answer.status < 300 else f"status {answer.status}"
        except (aiohttp.ClientError, OSError) as problem:  # a time-out is an OSError
            return type(problem).__name__


def _wants(webhook: Webhook, kind: str, repository: str) -> bool:
    return kind in webhook.events and matches(webhook.repositories, repository)


def _cloud_event(change: Change, now: float) -> dict[str, Any]:
    reference = change.data.get("tag") or change.data.get("digest", "")
    separator = "@" if ":" in reference else ":" if reference else ""
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": f"/v2/{change.repository}",
        "type": f"io.pybuild.registry.{change.kind}",
        "subject": f"{change.repository}{separator}{reference}",
        "time": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        "datacontenttype": "application/json",
        "data": {"repository": change.repository, **change.data},
    }


def read_secret(webhook: Webhook) -> bytes:
    """
    The key of its signatures; empty for none.

    Raises:
        InvalidConfiguration: the file cannot be read.
    """
    if not webhook.secret:
        return b""
    try:
        with open(webhook.secret, "rb") as file:
            return file.read().strip()
    except OSError as problem:
        raise InvalidConfiguration(f"cannot read {webhook.secret}: {problem.strerror}") from problem


def open_outbox(config: RegistryConfig) -> Outbox:
    """
    The outbox of a server: beside its content, or in memory where the content is there too.

    Raises:
        InvalidConfiguration: the database or the file of a key cannot be used.
    """
    return Outbox(f"{config.directory}/outbox.db" if config.directory else ":memory:", config.webhooks)
