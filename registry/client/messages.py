"""
Requests and answers as values, and what an answer that is no success means.

Invariants: nothing here does I/O; text that came from the other end is bounded and printable before it gets
into a message. Governing source: OCI distribution-spec, "Error Codes".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

from ..errors import ApiError, Denied, Unauthorized
from ..protocol.challenges import Scope
from ..protocol.errors import ErrorCode, decode
from .endpoints import printable

BodySource = Callable[[], AsyncIterator[bytes]]
"""Starts a body from its beginning; called again when the request has to be repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """
    One request to a registry.

    Attributes:
        method: the HTTP method.
        target: a path on the registry, or an absolute URL that one of its answers named.
        what: what it is about, as error messages begin: ``host/app: manifest 1``.
        headers: without Authorization, which the transport adds.
        body: bytes, or what starts a stream of them; None for no body.
        scopes: what a bearer token must grant.
        accepted: statuses that are handed to the caller; every other one becomes an error.
        repeatable: whether the transport may send it again after a failure.
    """

    method: str
    target: str
    what: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | BodySource | None = None
    scopes: tuple[Scope, ...] = ()
    accepted: tuple[int, ...] = (200,)
    repeatable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The head of an answer; header names are compared without case."""

    status: int
    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched(Answer):
    """An answer together with its whole, bounded body."""

    body: bytes


def error_of(status: int, body: bytes, *, what: str, known_caller: bool = False) -> ApiError:
    """
    The error that an answer stands for.

    Args:
        status: HTTP status.
        body: at most the decoder's limit of it.
        what: what the request was about.
        known_caller: whether credentials were sent that the registry knows.
    """
    entries = decode(body)
    told = "; ".join(_sentence(item.code, item.message, item.detail) for item in entries[:5])
    code = ErrorCode.of(entries[0].code) if entries else _code_of(status)
    message = f"{what}: {printable(told) if told else code.message} (HTTP {status})"
    if status == 401 and not known_caller:
        return Unauthorized(
            entries[0].detail if entries else None, message=message, entries=entries, hint=_LOGIN
        )
    if status in (401, 403):
        detail = entries[0].detail if entries else None
        return Denied(detail, message=message, entries=entries, hint=None if known_caller else _LOGIN)
    detail = entries[0].detail if entries else None
    hint = "the registry limits how often it may be asked; log in or wait" if status == 429 else None
    return ApiError(code, detail, message=message, status=status, entries=entries, hint=hint)


_LOGIN = "log in to the registry, or check the name and your rights there"


def _sentence(code: str, message: str, detail: object) -> str:
    text = message or code.lower().replace("_", " ")
    if detail and isinstance(detail, str | dict | list):
        return f"{text}: {str(detail)[:300]}"
    return text


def _code_of(status: int) -> ErrorCode:
    known = {
        401: ErrorCode.UNAUTHORIZED,
        403: ErrorCode.DENIED,
        405: ErrorCode.UNSUPPORTED,
        416: ErrorCode.RANGE_INVALID,
        429: ErrorCode.TOOMANYREQUESTS,
        503: ErrorCode.UNAVAILABLE,
    }
    return known.get(status, ErrorCode.UNKNOWN)
