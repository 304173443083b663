"""What becomes known of a request while it is answered, for the log, the metrics and the announcements."""

from __future__ import annotations

from aiohttp import web

from ..protocol.routes import Route
from .auth import Caller

ROUTE: web.RequestKey[Route] = web.RequestKey("route", Route)
"""What was addressed, once the path was matched."""

CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
"""Who asked, once that was checked."""

TRACE: web.RequestKey[str] = web.RequestKey("trace", str)
"""Set for a request that is traced: the identifier of its trace."""

NAMESPACE: web.RequestKey[str] = web.RequestKey("namespace", str)
"""Set where ``ns=`` says whose content is meant."""
