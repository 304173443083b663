"""
The server's own token endpoint, and the authenticator that accepts its tokens.

Invariants: a token grants the part of the request that the caller may have, which may be nothing, and that is
no error; wrong credentials are one; tokens are accepted that the server's key signed, or a configured issuer.
Governing source: distribution's token authentication specification ("How to authenticate", "OAuth2 token").
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from aiohttp import web

from ..errors import ApiError, Denied, InvalidConfiguration, MalformedMessage
from ..protocol import tokens
from ..protocol.challenges import Scope, basic, bearer, parse_scopes
from ..protocol.errors import ErrorCode
from . import forwarded
from .auth import Caller, admit, known_caller, read_basic, unauthorized
from .config import TokenAuth
from .external import ExternalTokens, Vouched
from .htpasswd import PasswordFile
from .rights import Principal, Rights

_PATH = "/token"
_SCOPES_LIMIT = 100
_REMEMBER_LIMIT = 4096


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
        self._issuer = config.service
        self._known: dict[str, Vouched] = {}

    async def __call__(self, request: web.Request, scopes: tuple[Scope, ...]) -> Caller:
        """The caller whose token covers the scopes."""
        scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
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
        who = Principal() if credentials is None else await self.identify(*credentials)
        return self._issue(who, parse_scopes(" ".join(texts))[:_SCOPES_LIMIT])

    async def identify(self, user: str, password: str) -> Principal:
        """
        Who has these credentials; the password may be a token of an external issuer.

        Raises:
            Unauthorized: nobody.
        """
        if self._external is not None and password.startswith("eyJ") and password.count(".") == 2:
            try:
                return (await self._external.verify(password)).who
            except tokens.InvalidToken as problem:
                raise unauthorized(basic(self._config.service), problem.message) from problem
        if self.passwords is None or not await self.passwords.check(user, password):
            raise unauthorized(basic(self._config.service), "invalid user name or password")
        return Principal(user)

    def _issue(self, who: Principal, wanted: Iterable[Scope]) -> web.Response:
        now = int(self._clock())
        granted = (self._rights.reduce(who, scope) for scope in wanted)
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
        return web.json_response(body, headers={"Cache-Control": "no-store"})


def _steady_wall() -> Callable[[], float]:
    """The time of day as it was now, and as it goes on without jumps: tokens live as long as was said."""
    boot = time.CLOCK_BOOTTIME  # it counts while the machine sleeps, too
    ahead = time.time() - time.clock_gettime(boot)
    return lambda: time.clock_gettime(boot) + ahead


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
