"""
What clients show to their users beside an answer: the header ``Warning``.

Invariants: the values of one answer have at most 4096 bytes and no character that a header could end at.
Governing source: OCI distribution-spec, "Warnings"; RFC 7234 section 5.5 (code 299).
"""

from __future__ import annotations

from aiohttp import web

from ..protocol.routes import Resource
from .marks import ROUTE
from .policies import Policy, policy_of
from .state import STATE

HEADER = "Warning"
_UNITS = (("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1))


def add_warnings(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Say what the policy of the repository wants to be said."""
    route = request.get(ROUTE)
    if route is None or response.status >= 400 or not isinstance(request, web.Request):
        return
    policy = policy_of(request.app[STATE].config.policies, route.repository)
    if policy is None:
        return
    is_push = request.method == "PUT" and route.resource is Resource.MANIFEST
    for text in _texts(policy, is_push=is_push):
        response.headers.add(HEADER, f'299 - "{text}"')


def _texts(policy: Policy, *, is_push: bool) -> list[str]:
    texts = [policy.warning] if policy.warning else []
    if policy.ttl and is_push:
        texts.append(f"this goes away after {_duration(policy.ttl)}")
    return texts


def _duration(seconds: float) -> str:
    for name, size in _UNITS:
        if seconds >= size:
            count = round(seconds / size, 1)
            return f"{count:g} {name if count != 1 else name[:-1]}"
    return "less than a second"
