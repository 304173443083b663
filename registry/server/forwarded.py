"""
What a reverse proxy says about the request that it passed on.

Invariants: nothing is believed unless the settings trust the proxy; only the last address of a chain is used,
which is the one that the proxy itself saw. Governing source: the de facto headers X-Forwarded-For, -Proto,
-Host and -Prefix.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web

_HOST = re.compile(r"[A-Za-z0-9._\[\]:-]{1,300}")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+){0,20}")


def address(request: web.Request, *, trusted: bool) -> str:
    """The address of the client."""
    if trusted:
        last = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
        if last:
            return last[:100]
    return request.remote or ""


def origin(request: web.Request, *, trusted: bool) -> str:
    """Scheme and host as clients see them, without a final slash."""
    scheme, host = request.scheme, request.host
    if trusted:
        stated = request.headers.get("X-Forwarded-Proto", "").strip().lower()
        scheme = stated if stated in ("http", "https") else scheme
        stated = request.headers.get("X-Forwarded-Host", "").rpartition(",")[2].strip()
        host = stated if _HOST.fullmatch(stated) else host
    return f"{scheme}://{host}"


def prefix(request: web.Request, *, trusted: bool) -> str:
    """The path under which the proxy shows the registry, without a final slash; often empty."""
    stated = request.headers.get("X-Forwarded-Prefix", "").strip().rstrip("/") if trusted else ""
    return stated if is_base_path(stated) else ""


def is_base_path(text: str) -> bool:
    """Whether a path can stand before ours: segments of plain letters, no slash at the end."""
    return _PREFIX.fullmatch(text) is not None
