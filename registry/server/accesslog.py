"""
One record for each answered request, as text or as JSON.

Invariant: neither credentials nor query strings are part of a record, which may hold tokens.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from . import forwarded
from .marks import CALLER, ROUTE, TRACE

LOGGER = logging.getLogger("registry.access")


def write(request: web.Request, answer: web.StreamResponse, seconds: float, *, trusted: bool) -> None:
    """Log an answered request, if anybody listens."""
    if not LOGGER.isEnabledFor(logging.INFO):
        return
    route, caller = request.get(ROUTE), request.get(CALLER)
    fields: dict[str, Any] = {
        "client": forwarded.address(request, trusted=trusted),
        "user": caller.name if caller is not None else "",
        "method": request.method,
        "path": request.raw_path.partition("?")[0],
        "status": answer.status,
        "milliseconds": round(seconds * 1000, 1),
        "received": request.content.total_bytes,
        "sent": max(answer.body_length, 0) if answer.prepared else answer.content_length or 0,
        "agent": request.headers.get("User-Agent", "")[:200],
    }
    if route is not None:
        fields |= {"resource": route.resource.value, "repository": route.repository}
    if TRACE in request:
        fields["trace"] = request[TRACE]
    LOGGER.info(
        "%(client)s %(user)s %(method)s %(path)s %(status)d %(milliseconds).1fms" % fields  # noqa: UP031
        if caller is not None and caller.name
        else "%(client)s - %(method)s %(path)s %(status)d %(milliseconds).1fms" % fields,  # noqa: UP031
        extra={"fields": fields},
    )


class JsonFormatter(logging.Formatter):
    """One JSON object in each line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return json.dumps({"time": time, **getattr(record, "fields", {})})


def handler(kind: str) -> logging.Handler:
    """What writes records to standard error in one of the `config.LOG_FORMATS`."""
    found = logging.StreamHandler()
    found.setFormatter(JsonFormatter() if kind == "json" else logging.Formatter("%(asctime)s %(message)s"))
    return found
