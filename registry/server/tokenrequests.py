"""
What a request to the token endpoint asks for, in each of its forms.

Invariant: a request is read completely and refused by name before any credential in it is looked at.
Governing sources: distribution's token authentication specification; RFC 6749 sections 4.3 and 6.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from aiohttp import web

from ..errors import ApiError
from ..protocol.challenges import Scope, basic, parse_scopes
from ..protocol.errors import ErrorCode
from .auth import read_basic, unauthorized

_SCOPES_LIMIT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """
    One request for a token.

    Attributes:
        credentials: user name and password; None for an anonymous caller, and with a refresh token.
        refresh_token: what an earlier answer gave in place of them; empty for none.
        scopes: what the token shall allow.
        is_offline: whether the client wants a refresh token as well.
    """

    credentials: tuple[str, str] | None = field(default=None, repr=False)
    refresh_token: str = field(default="", repr=False)
    scopes: tuple[Scope, ...] = ()
    is_offline: bool = False


async def read_token_request(request: web.Request, service: str) -> TokenRequest:
    """
    Read a GET with Basic credentials or none, or a POST as OAuth2 has it.

    Raises:
        ApiError: another method or grant.
        Unauthorized: credentials of another kind.
    """
    if request.method == "POST":
        return await _read_form(request)
    if request.method != "GET":
        raise ApiError(ErrorCode.UNSUPPORTED, headers={"Allow": "GET, POST"})
    header = request.headers.get("Authorization", "")
    credentials = read_basic(header)
    if header and credentials is None:
        raise unauthorized(basic(service), "only Basic credentials are accepted here")
    return TokenRequest(
        credentials=credentials,
        scopes=_scopes(request.query.getall("scope", [])),
        is_offline=request.query.get("offline_token", "").lower() in ("true", "1"),
    )


async def _read_form(request: web.Request) -> TokenRequest:
    form = {key: [str(value) for value in values] for key, values in await _values(request)}

    def first(key: str) -> str:
        return form.get(key, [""])[0]

    scopes = _scopes(form.get("scope", []))
    is_offline = first("access_type") == "offline"
    match first("grant_type"):
        case "password":
            credentials = first("username"), first("password")
            return TokenRequest(credentials=credentials, scopes=scopes, is_offline=is_offline)
        case "refresh_token":
            token = first("refresh_token")
            return TokenRequest(refresh_token=token or "-", scopes=scopes, is_offline=is_offline)
    raise ApiError(ErrorCode.UNSUPPORTED, message="grant_type must be password or refresh_token", status=400)


async def _values(request: web.Request) -> list[tuple[str, list[object]]]:
    form = await request.post()
    return [(key, list(form.getall(key))) for key in dict.fromkeys(form)]


def _scopes(texts: list[str]) -> tuple[Scope, ...]:
    return parse_scopes(" ".join(texts))[:_SCOPES_LIMIT]
