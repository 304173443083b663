"""
How a client proves who it is: the challenge flow without I/O.

`Authenticator.flow` is a generator: it yields requests to a token endpoint, is sent the replies, and returns
the value of the Authorization header. Invariants: credentials leave only towards TLS, loopback or the origin
that the user declared insecure; tokens are kept per registry and scope until shortly before they expire.
Governing sources: RFC 7617; distribution's token authentication specification (GET, and OAuth2 by POST).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from ..errors import Denied, MalformedMessage, TransportProblem, Unauthorized
from ..protocol.challenges import Challenge, Scope, parse_challenges, parse_scopes
from .credentials import Credentials
from .endpoints import redacted
from .retry import TEMPORARY_STATUSES

CLIENT_ID = "pybuild"
REPLY_LIMIT = 1024 * 1024
SHORTEST_LIFE = 60.0
"""Seconds that a token lives when the endpoint does not say (the specification's default and minimum)."""

LEEWAY = 10.0
"""Seconds before its end from which on a token is not used any more."""

_LOGIN = "log in to the registry first"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """A request to a token endpoint."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenReply:
    """The token endpoint's answer; the body is bounded by the transport."""

    status: int
    body: bytes = field(repr=False)


AuthFlow = Generator[TokenRequest, TokenReply, str]


class Authenticator:
    """
    What one client knows about authentication at one registry.

    Args:
        registry: its name, for messages.
        may_carry: whether credentials may be sent to a URL.
    """

    def __init__(self, registry: str, may_carry: Callable[[str], bool]) -> None:
        self._registry = registry
        self._may_carry = may_carry
        self._challenge: Challenge | None = None
        self._basic: str | None = None
        self._tokens: dict[tuple[Scope, ...], tuple[str, float]] = {}

    def learn(self, headers: Iterable[str]) -> None:
        """
        Take the challenges of a 401 answer.

        Raises:
            Unauthorized: none of them is a kind that we can answer.
        """
        offered = [challenge for header in headers for challenge in parse_challenges(header)]
        for scheme in ("bearer", "basic"):
            for challenge in offered:
                if challenge.scheme == scheme:
                    self._challenge = challenge
                    return
        kinds = ", ".join(challenge.scheme for challenge in offered) or "no kind of"
        raise Unauthorized(
            message=f"{self._registry} asks for {kinds} authentication; only Basic and Bearer are supported"
        )

    def authorization(self, scopes: tuple[Scope, ...], now: float) -> str | None:
        """The header's value for these scopes if it is known already."""
        if self._basic is not None:
            return self._basic
        for granted, (token, expires) in self._tokens.items():
            if now < expires and _covers(granted, scopes):
                return f"Bearer {token}"
        return None

    def needs_flow(self, scopes: tuple[Scope, ...], now: float) -> bool:
        """Whether the registry challenged us and we have no answer yet."""
        return self._challenge is not None and self.authorization(scopes, now) is None

    @property
    def offers_tokens(self) -> bool:
        """Whether the registry's challenge leads to a token endpoint, which may serve anonymous users too."""
        return self._challenge is not None and self._challenge.scheme == "bearer"

    def forget(self, value: str | None) -> None:
        """Drop an answer that the registry did not accept."""
        if value == self._basic:
            self._basic = None
        self._tokens = {k: kept for k, kept in self._tokens.items() if f"Bearer {kept[0]}" != value}

    def flow(self, scopes: tuple[Scope, ...], credentials: Credentials | None, now: float) -> AuthFlow:
        """
        Find the answer to the challenge that was learnt last.

        Raises:
            Unauthorized: credentials are needed, or were not accepted.
            Denied: the endpoint knows them and refuses.
            TransportProblem: the endpoint failed, or credentials must not be sent to it.
            MalformedMessage: the challenge or the endpoint's answer is not usable.
        """
        challenge = self._challenge or Challenge("basic")
        if credentials is not None and credentials.registry_token:
            return self._keep(scopes, credentials.registry_token, float("inf"))
        if challenge.scheme == "basic":
            return self._basic_answer(credentials)
        realm = self._realm(challenge)
        if credentials is not None and not self._may_carry(realm):
            raise TransportProblem(
                f"{self._registry} asks for credentials at {redacted(realm)}, which is not protected by TLS",
                temporary=False,
            )
        wanted = merge_scopes((*scopes, *parse_scopes(challenge.parameters.get("scope", ""))))
        if credentials is not None and credentials.identity_token:
            request = _oauth_request(realm, challenge, wanted, credentials)
        else:
            request = _token_request(realm, challenge, wanted, credentials)
        reply = yield request
        self._check(reply, realm, credentials)
        token, life = _read_token(reply.body, self._registry)
        return self._keep(merge_scopes(scopes), token, now + max(life - LEEWAY, life / 2))

    def _keep(self, scopes: tuple[Scope, ...], token: str, expires: float) -> str:
        self._tokens[scopes] = (token, expires)
        return f"Bearer {token}"

    def _basic_answer(self, credentials: Credentials | None) -> str:
        if credentials is None or not credentials.username:
            raise Unauthorized(message=f"{self._registry} asks for a user name and a password", hint=_LOGIN)
        self._basic = basic_value(credentials)
        return self._basic

    def _realm(self, challenge: Challenge) -> str:
        realm = challenge.parameters.get("realm", "")
        parts = urlsplit(realm)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise MalformedMessage(f"{self._registry} names no usable token endpoint: {redacted(realm)!r}")
        return realm

    def _check(self, reply: TokenReply, realm: str, credentials: Credentials | None) -> None:
        if reply.status == 200:
            return
        where = f"{self._registry}: the token endpoint {redacted(realm)}"
        if reply.status == 401 and credentials is not None:
            who = f" of user {credentials.username}" if credentials.username else ""
            raise Unauthorized(message=f"{where} does not accept the credentials{who}", hint=_LOGIN)
        if reply.status == 401:
            raise Unauthorized(message=f"{where} gives no token to anonymous users", hint=_LOGIN)
        if reply.status == 403:
            raise Denied(message=f"{where} refuses a token")
        raise TransportProblem(
            f"{where} answered with HTTP {reply.status}", temporary=reply.status in TEMPORARY_STATUSES
        )


def merge_scopes(scopes: Iterable[Scope]) -> tuple[Scope, ...]:
    """The scopes with the actions for the same resource joined, in a fixed order."""
    merged: dict[tuple[str, str], dict[str, None]] = {}
    for scope in scopes:
        merged.setdefault((scope.type, scope.name), {}).update(dict.fromkeys(scope.actions))
    return tuple(Scope(kind, name, tuple(sorted(merged[kind, name]))) for kind, name in sorted(merged))


def basic_value(credentials: Credentials) -> str:
    """The Authorization value of a user name and a password."""
    pair = f"{credentials.username}:{credentials.password}".encode()
    return "Basic " + base64.b64encode(pair).decode()


def _covers(granted: tuple[Scope, ...], wanted: tuple[Scope, ...]) -> bool:
    if not wanted:
        return not granted
    actions = {(scope.type, scope.name): set(scope.actions) for scope in granted}
    return all(set(scope.actions) <= actions.get((scope.type, scope.name), set()) for scope in wanted)


def _token_request(
    realm: str, challenge: Challenge, scopes: tuple[Scope, ...], credentials: Credentials | None
) -> TokenRequest:
    query = [("service", challenge.parameters["service"])] if challenge.parameters.get("service") else []
    query += [("scope", str(scope)) for scope in scopes]
    headers = {}
    if credentials is not None:
        query += [("account", credentials.username), ("client_id", CLIENT_ID)]
        headers["Authorization"] = basic_value(credentials)
    separator = "&" if urlsplit(realm).query else "?"
    url = realm + (separator + urlencode(query) if query else "")
    return TokenRequest(method="GET", url=url, headers=headers)


def _oauth_request(
    realm: str, challenge: Challenge, scopes: tuple[Scope, ...], credentials: Credentials
) -> TokenRequest:
    form = [
        ("grant_type", "refresh_token"),
        ("service", challenge.parameters.get("service", "")),
        ("client_id", CLIENT_ID),
        ("refresh_token", credentials.identity_token),
        ("scope", " ".join(str(scope) for scope in scopes)),
    ]
    return TokenRequest(
        method="POST",
        url=realm,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        body=urlencode(form).encode(),
    )


def _read_token(body: bytes, registry: str) -> tuple[str, float]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    token = (value.get("token") or value.get("access_token")) if isinstance(value, dict) else None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise MalformedMessage(f"{registry}: the token endpoint's answer holds no token")
    life = value.get("expires_in") if isinstance(value, dict) else None
    if isinstance(life, bool) or not isinstance(life, int | float):
        life = SHORTEST_LIFE
    return token, max(float(life), SHORTEST_LIFE)
