"""
The server's own token endpoint, and the authenticator that accepts its tokens.

Invariants: a token grants the part of the request that the caller may have, which may be nothing, and that is
no error; wrong credentials are one; tokens are signed with the server's key and accepted from nobody else.
Governing source: distribution's token authentication specification ("How to authenticate", "OAuth2 token").
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from aiohttp import web

from ..errors import ApiError, InvalidConfiguration, MalformedMessage
from ..protocol import tokens
from ..protocol.challenges import Scope, basic, bearer, parse_scopes, repository_scope
from ..protocol.errors import ErrorCode
from .auth import Caller, read_basic, unauthorized
from .config import TokenAuth
from .htpasswd import PasswordFile

_PATH = "/token"
_SCOPES_LIMIT = 100
_REMEMBER_LIMIT = 4096


class TokenIssuer:
    """Issues tokens and checks them; an authenticator of the server."""

    def __init__(self, config: TokenAuth, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock
        self._key = _load_key(config.key)
        self._public = {tokens.key_id(self._key.public_key()): self._key.public_key()}
        self._passwords = PasswordFile(config.htpasswd) if config.htpasswd else None
        self._issuer = config.service
        self._known: dict[str, tokens.Claims] = {}

    async def __call__(self, request: web.Request, scopes: tuple[Scope, ...]) -> Caller:
        """The caller whose token covers the scopes."""
        scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise unauthorized(bearer(self._realm(request), self._config.service, scopes))
        try:
            claims = self._verify(token.strip())
        except tokens.InvalidToken as problem:
            challenge = bearer(self._realm(request), self._config.service, scopes, "invalid_token")
            raise unauthorized(challenge, problem.message) from problem
        user = claims.subject
        caller = Caller(
            user, claims.access, lambda name: self._grant(user, repository_scope(name, "pull")) is not None
        )
        if not all(caller.may(scope) for scope in scopes):
            challenge = bearer(self._realm(request), self._config.service, scopes, "insufficient_scope")
            raise unauthorized(challenge, "the token does not allow this")
        return caller

    def _verify(self, token: str) -> tokens.Claims:
        now = self._clock()
        known = self._known.get(token)
        if known is not None and now < known.expires_at:
            return known
        claims = tokens.verify(
            token, keys=self._public, issuer=self._issuer, audience=self._config.service, now=now
        )
        if len(self._known) >= _REMEMBER_LIMIT:
            self._known.clear()
        self._known[token] = claims
        return claims

    def _realm(self, request: web.Request) -> str:
        return self._config.realm or f"{request.scheme}://{request.host}{_PATH}"

    async def answer(self, request: web.Request) -> web.Response:
        """Handle a request to the token endpoint (GET, or POST with the OAuth2 password grant)."""
        if request.method == "POST":
            form = await request.post()
            if form.get("grant_type") != "password":
                raise ApiError(
                    ErrorCode.UNSUPPORTED, message="only the password grant is supported", status=400
                )
            credentials: tuple[str, str] | None = (
                str(form.get("username", "")),
                str(form.get("password", "")),
            )
            texts = [str(value) for value in form.getall("scope", [])]
        elif request.method == "GET":
            header = request.headers.get("Authorization", "")
            credentials = read_basic(header)
            if header and credentials is None:
                raise unauthorized(basic(self._config.service), "only Basic credentials are accepted here")
            texts = request.query.getall("scope", [])
        else:
            raise ApiError(ErrorCode.UNSUPPORTED, headers={"Allow": "GET, POST"})
        user = await self._check(credentials)
        return self._issue(user, parse_scopes(" ".join(texts))[:_SCOPES_LIMIT])

    async def _check(self, credentials: tuple[str, str] | None) -> str:
        if credentials is None:
            return ""
        if self._passwords is None or not await self._passwords.check(*credentials):
            raise unauthorized(basic(self._config.service), "invalid user name or password")
        return credentials[0]

    def _issue(self, user: str, wanted: Iterable[Scope]) -> web.Response:
        now = int(self._clock())
        claims = tokens.Claims(
            issuer=self._issuer,
            audience=self._config.service,
            subject=user,
            issued_at=now,
            expires_at=now + self._config.lifetime,
            identifier=secrets.token_hex(16),
            access=tuple(granted for scope in wanted if (granted := self._grant(user, scope)) is not None),
        )
        token = tokens.sign(claims, self._key)
        body = {
            "token": token,
            "access_token": token,
            "expires_in": self._config.lifetime,
            "issued_at": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return web.json_response(body, headers={"Cache-Control": "no-store"})

    def _grant(self, user: str, wanted: Scope) -> Scope | None:
        if user:
            allowed = {"pull", "push", "delete", "*"}
        elif self._config.anonymous_pull and wanted.type == "repository":
            allowed = {"pull"}
        else:
            return None
        actions = tuple(action for action in wanted.actions if action in allowed)
        return Scope(wanted.type, wanted.name, actions) if actions else None


def _load_key(path: str) -> tokens.PrivateKey:
    if not path:
        return tokens.generate_key()
    try:
        with open(path, "rb") as file:
            return tokens.load_key(file.read())
    except OSError as problem:
        raise InvalidConfiguration(f"cannot read the token key {path}: {problem.strerror}") from problem
    except MalformedMessage as problem:
        raise InvalidConfiguration(f"{path}: {problem.message}") from problem
