"""
Tokens of other issuers: who they say a caller is, verified with the issuer's published keys.

Invariants: only asymmetric algorithms are accepted, and the key decides which one; issuer, audience and times
are always checked; keys are fetched by one request at a time, and the last good ones stay in force while new
ones cannot be had. Governing sources: RFC 7515, RFC 7517, RFC 7519.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import InvalidConfiguration
from ..protocol.challenges import Scope
from ..protocol.tokens import LEEWAY, TOKEN_LIMIT, InvalidToken, read_access, read_groups
from .config import ExternalIssuer
from .rights import Principal

if TYPE_CHECKING:  # PyJWT is an extra, and costs a tenth of a second
    import jwt

_LOG = logging.getLogger(__name__)
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_REFRESH_SECONDS = 30.0  # an unknown key may ask for new keys this often
_AGE_SECONDS = 3600.0
_FETCH_SECONDS = 5.0
_KEYS_LIMIT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Vouched:
    """What a token says; `access` is None where rules decide."""

    who: Principal
    access: tuple[Scope, ...] | None
    expires_at: float


class ExternalTokens:
    """
    Verifies tokens of the configured issuers.

    Raises:
        InvalidConfiguration: PyJWT is not installed, or a key set cannot be used.
    """

    def __init__(
        self, issuers: tuple[ExternalIssuer, ...], clock: Callable[[], float] = time.monotonic
    ) -> None:
        try:
            import jwt
        except ImportError as problem:
            raise InvalidConfiguration(
                "tokens of external issuers need the package PyJWT",
                hint="install the extra: pip install 'pybuild[registry]'",
            ) from problem
        self._jwt = jwt
        self._keys = {issuer.issuer: _KeySet(issuer, clock) for issuer in issuers}

    async def verify(self, token: str) -> Vouched:
        """
        What the token says, when it passes every check.

        Raises:
            InvalidToken: malformed, of nobody known, wrongly signed, expired, or meant for somebody else.
        """
        keys = self._keys.get(_stated_issuer(token))
        if keys is None:
            raise InvalidToken("the token has an unknown issuer")
        issuer = keys.issuer
        try:
            header = self._jwt.get_unverified_header(token)
            key = await keys.find(str(header.get("kid", "")))
            claims: dict[str, Any] = self._jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=issuer.audience,
                issuer=issuer.issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud"]},
            )
        except self._jwt.PyJWTError as problem:
            raise InvalidToken(f"the token is not acceptable: {str(problem)[:200]}") from problem
        user = claims.get(issuer.user_claim)
        if not isinstance(user, str) or not user:
            raise InvalidToken(f"the token has no claim {issuer.user_claim} that names a user")
        return Vouched(
            Principal(user, frozenset(read_groups(claims.get(issuer.groups_claim)))),
            read_access(claims.get("access")) if issuer.trust_access else None,
            float(claims["exp"]),
        )


def _stated_issuer(token: str) -> str:
    """Who a token says has issued it: not verified, only to know whose keys to try."""
    parts = token.split(".")
    if len(token) > TOKEN_LIMIT or len(parts) != 3:
        raise InvalidToken("the token does not have three parts")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError) as problem:
        raise InvalidToken("the token is not JSON") from problem
    return str(claims.get("iss", "")) if isinstance(claims, dict) else ""


class _KeySet:
    def __init__(self, issuer: ExternalIssuer, clock: Callable[[], float]) -> None:
        self.issuer = issuer
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._version: tuple[int, int, int] | None = None
        self._asked_at: float | None = None
        self._lock = asyncio.Lock()
        self._is_remote = "://" in issuer.jwks
        if self._is_remote:
            _check_url(issuer.jwks)
        else:
            self._read()

    async def find(self, identifier: str) -> jwt.PyJWK:
        if not self._is_remote:
            try:
                self._read()
            except InvalidConfiguration as problem:
                _LOG.warning("%s; its last keys stay in force", problem.message)
        elif self._is_due(identifier):
            async with self._lock:
                if self._is_due(identifier):
                    await self._fetch()
        key = self._keys.get(identifier)
        if key is None:
            raise InvalidToken("the token is signed by an unknown key")
        return key

    def _is_due(self, identifier: str) -> bool:
        if self._asked_at is None:
            return True
        age = self._clock() - self._asked_at
        return age >= (_AGE_SECONDS if identifier in self._keys else _REFRESH_SECONDS)

    async def _fetch(self) -> None:
        import aiohttp

        self._asked_at = self._clock()
        timeout = aiohttp.ClientTimeout(total=_FETCH_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(self.issuer.jwks, allow_redirects=False) as answer,
            ):
                answer.raise_for_status()
                data = await answer.content.read(_KEYS_LIMIT)
                while not answer.content.at_eof() and len(data) < _KEYS_LIMIT:
                    data += await answer.content.read(_KEYS_LIMIT)
            self._keys = _parse(data, self.issuer.jwks)
        except (aiohttp.ClientError, TimeoutError, InvalidConfiguration) as problem:
            _LOG.warning("the keys of %s cannot be fetched: %s", self.issuer.issuer, problem)

    def _read(self) -> None:
        path = self.issuer.jwks
        try:
            status = os.stat(path)
            version = (status.st_ino, status.st_mtime_ns, status.st_size)
            if version == self._version:
                return
            with open(path, "rb") as file:
                self._keys = _parse(file.read(_KEYS_LIMIT), path)
        except OSError as problem:
            raise InvalidConfiguration(f"cannot read the keys {path}: {problem.strerror}") from problem
        self._version = version


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise InvalidConfiguration(
            f"keys are only fetched by https, not from {url}", hint="name a file, or an https:// URL"
        )


def _parse(data: bytes, place: str) -> dict[str, jwt.PyJWK]:
    import jwt

    keys: dict[str, jwt.PyJWK] = {}
    try:
        for row in json.loads(data)["keys"]:
            if row.get("kty") in ("RSA", "EC", "OKP") and row.get("use", "sig") == "sig":
                with suppress(jwt.PyJWTError):  # of a curve that is not in use for signatures
                    key = jwt.PyJWK(row)
                    keys[str(key.key_id or "")] = key
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise InvalidConfiguration(
            f"{place} is not a set of public keys", hint='expected {"keys": […]} as of RFC 7517'
        ) from problem
    return {identifier: key for identifier, key in keys.items() if key.algorithm_name in _ALGORITHMS}
