"""
The server's own token endpoint, and the authenticator that accepts its tokens.

Invariants: a token grants the part of the request that the caller may have, which may be nothing, and that is
no error; wrong credentials are one; tokens are accepted that the server's key signed, or a configured issuer.
Governing source: distribution's token authentication specification ("How to authenticate", "OAuth2 token").
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from aiohttp import web

from ..errors import ApiError, Denied, InvalidConfiguration, MalformedMessage, Unauthorized
from ..protocol import tokens
from ..protocol.challenges import Scope, basic, bearer
from ..protocol.errors import ErrorCode
from . import forwarded
from .auth import Caller, admit, known_caller, read_basic, unauthorized
from .config import TokenAuth
from .external import ExternalTokens, Vouched
from .htpasswd import PasswordFile
from .marks import CALLER
from .refreshing import RefreshTokens
from .rights import Principal, Rights
from .tokenrequests import TokenRequest, read_token_request

_PATH = "/token"
_REMEMBER_LIMIT = 4096
_REMEMBER_SECONDS = 60.0  # of tokens of others, whose keys may be withdrawn before the tokens end


class TokenIssuer:
    """Issues tokens, and accepts its own and those of external issuers; an authenticator of the server."""

    def __init__(
        self,
        config: TokenAuth,
        rights: Rights,
        *,
        trust_proxy: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._config = config
        self._trust_proxy = trust_proxy
        self._rights = rights
        self._clock = clock or _steady_wall()
        self._key = _load_key(config.key)
        self._public = {tokens.key_id(self._key.public_key()): self._key.public_key()}
        self.passwords = PasswordFile(config.htpasswd) if config.htpasswd else None
        self._external = _external(config)
        self._refresh = _refresh(config, self._key, self.passwords)
        self._issuer = config.service
        self._known: dict[str, Vouched] = {}

    async def __call__(self, request: web.Request, scopes: tuple[Scope, ...]) -> Caller:
        """The caller whose token covers the scopes."""
        header = request.headers.get("Authorization", "")
        scheme, _, token = header.strip().partition(" ")
        if (credentials := read_basic(header)) is not None:
            return admit(await self._by_password(request, scopes, credentials), self._rights, scopes)
        if scheme.lower() != "bearer" or not token.strip():
            raise unauthorized(bearer(self._realm(request), self._config.service, scopes))
        try:
            vouched = await self._verify(token.strip())
        except tokens.InvalidToken as problem:
            challenge = bearer(self._realm(request), self._config.service, scopes, "invalid_token")
            raise unauthorized(challenge, problem.message) from problem
        who = vouched.who
        if vouched.access is None:
            return admit(who, self._rights, scopes)
        caller = known_caller(who, self._rights, vouched.access)
        if not all(caller.may(scope) for scope in scopes):
            if who.name and not all(self._rights.covers(who, scope) for scope in scopes):
                raise Denied
            challenge = bearer(self._realm(request), self._config.service, scopes, "insufficient_scope")
            raise unauthorized(challenge, "the token does not allow this")
        return caller

    async def _by_password(
        self, request: web.Request, scopes: tuple[Scope, ...], credentials: tuple[str, str]
    ) -> Principal:
        """For people with curl, and programs that know no tokens; the challenge names tokens nevertheless."""
        try:
            return await self.identify(*credentials)
        except Unauthorized as problem:
            challenge = bearer(self._realm(request), self._config.service, scopes)
            raise unauthorized(challenge, problem.message) from problem

    async def _verify(self, token: str) -> Vouched:
        now = self._clock()
        known = self._known.get(token)
        if known is not None and now < known.expires_at:
            return known
        try:
            vouched = self._verify_own(token, now)
        except tokens.InvalidToken:
            if self._external is None:
                raise
            vouched = await self._external.verify(token)
            vouched = replace(vouched, expires_at=min(vouched.expires_at, now + _REMEMBER_SECONDS))
        if len(self._known) >= _REMEMBER_LIMIT:
            self._known.clear()
        self._known[token] = vouched
        return vouched

    def _verify_own(self, token: str, now: float) -> Vouched:
        claims = tokens.verify(
            token, keys=self._public, issuer=self._issuer, audience=self._config.service, now=now
        )
        return Vouched(Principal(claims.subject, frozenset(claims.groups)), claims.access, claims.expires_at)

    def _realm(self, request: web.Request) -> str:
        if self._config.realm:
            return self._config.realm
        trusted = self._trust_proxy
        return forwarded.origin(request, trusted=trusted) + forwarded.prefix(request, trusted=trusted) + _PATH

    async def answer(self, request: web.Request) -> web.Response:
        """Handle a request to the token endpoint: GET, or POST as OAuth2 has it."""
        asked = await read_token_request(request, self._config.service)
        if asked.refresh_token:
            who = self._redeem(asked.refresh_token)
        elif asked.credentials is not None:
            who = await self.identify(*asked.credentials)
        else:
            who = Principal()
        request[CALLER] = Caller(who.name)
        return self._issue(who, asked)

    def _redeem(self, token: str) -> Principal:
        if self._refresh is None:
            message = "refresh tokens are not issued here; send the password"
            raise ApiError(ErrorCode.UNSUPPORTED, message=message, status=400)
        try:
            return Principal(self._refresh.redeem(token, self._clock()))
        except tokens.InvalidToken as problem:
            raise unauthorized(basic(self._config.service), problem.message) from problem

    async def identify(self, user: str, password: str) -> Principal:
        """
        Who has these credentials; the password may be a token of an external issuer.

        Raises:
            Unauthorized: nobody.
        """
        if self._external is not None and _is_token(password):
            try:
                return (await self._external.verify(password)).who
            except tokens.InvalidToken as problem:
                raise unauthorized(basic(self._config.service), problem.message) from problem
        if self.passwords is None or not await self.passwords.check(user, password):
            raise unauthorized(basic(self._config.service), "invalid user name or password")
        return Principal(user)

    def _knows_password(self, asked: TokenRequest) -> bool:
        """Whether the password was one of ours, and not the token of another issuer."""
        if asked.credentials is None:
            return False
        return self._external is None or not _is_token(asked.credentials[1])

    def _issue(self, who: Principal, asked: TokenRequest) -> web.Response:
        now = int(self._clock())
        granted = (self._rights.reduce(who, scope) for scope in asked.scopes)
        claims = tokens.Claims(
            issuer=self._issuer,
            audience=self._config.service,
            subject=who.name,
            issued_at=now,
            expires_at=now + self._config.lifetime,
            identifier=secrets.token_hex(16),
            access=tuple(scope for scope in granted if scope.actions),
            groups=tuple(sorted(who.groups)),
        )
        token = tokens.sign(claims, self._key)
        body = {
            "token": token,
            "access_token": token,
            "expires_in": self._config.lifetime,
            "issued_at": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        if asked.refresh_token:
            body["refresh_token"] = asked.refresh_token
        elif self._refresh is not None and asked.is_offline and self._knows_password(asked):
            body["refresh_token"] = self._refresh.issue(who.name, now)
        return web.json_response(body, headers={"Cache-Control": "no-store"})


def _steady_wall() -> Callable[[], float]:
    """The time of day as it was now, and as it goes on without jumps: tokens live as long as was said."""
    boot = time.CLOCK_BOOTTIME  # it counts while the machine sleeps, too
    ahead = time.time() - time.clock_gettime(boot)
    return lambda: time.clock_gettime(boot) + ahead


def _is_token(password: str) -> bool:
    return password.startswith("eyJ") and password.count(".") == 2


def _refresh(
    config: TokenAuth, key: tokens.PrivateKey, passwords: PasswordFile | None
) -> RefreshTokens | None:
    if not config.refresh_lifetime or passwords is None:
        return None
    return RefreshTokens(key, passwords, service=config.service, lifetime=config.refresh_lifetime)


def _external(config: TokenAuth) -> ExternalTokens | None:
    return ExternalTokens(config.issuers) if config.issuers else None


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
