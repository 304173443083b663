"""
Who asks for something outside the protocol: a browser, a monitoring system.

Invariant: such callers are known by password or certificate, and the same rules count for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from ..errors import Denied, Unauthorized
from . import forwarded
from .ratelimit import RateLimit
from .rights import Principal
from .state import STATE


async def visitor(request: web.Request) -> Principal:
    """
    The sender of a request; a rate limit counts it.

    Raises:
        Unauthorized: the credentials are wrong.
        ApiError: TOOMANYREQUESTS.
    """
    state = request.app[STATE]
    rate = state.rate
    if rate is None:
        return await state.access.visitor(request)
    address = forwarded.address(request, trusted=state.config.trust_proxy)
    with failures_counted(rate, request, address):
        who = await state.access.visitor(request)
    rate.spend(who.name, address)
    return who


@contextmanager
def failures_counted(
    rate: RateLimit, request: web.Request, address: str, *, in_body: bool = False
) -> Iterator[None]:
    """
    Surround the check of credentials, so that guessing is slow.

    Args:
        rate: the allowances.
        request: with or without credentials.
        address: where it comes from.
        in_body: whether credentials are in the body of the request.

    Raises:
        ApiError: TOOMANYREQUESTS.
    """
    has_credentials = in_body or "Authorization" in request.headers
    if has_credentials:
        rate.check_failures(address)
    try:
        yield
    except Unauthorized:
        if has_credentials:
            rate.spend_failure(address)
        raise


async def administrator(request: web.Request) -> Principal:
    """
    The sender of a request, who may do everything.

    Raises:
        Unauthorized: somebody unknown, who may know a password.
        Denied: a user without that right.
    """
    who = await visitor(request)
    access = request.app[STATE].access
    if access.rights.is_administrator(who):
        return who
    if who.name or access.identify is None:
        raise Denied
    raise access.challenge()
