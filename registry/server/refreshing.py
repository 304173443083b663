"""
Refresh tokens: with one a client goes on fetching tokens, and need not keep the password.

Invariants: they open nothing but the token endpoint, because their audience is another one; they end when the
password of their user changes or the user is removed, whatever their time says; tokens of other issuers never
become one, because only their issuer knows when they end.
Governing source: distribution's token authentication specification ("Requesting a Token", "OAuth2 token").
"""

from __future__ import annotations

import hmac

from ..protocol import tokens
from .htpasswd import PasswordFile


class RefreshTokens:
    """
    Issues refresh tokens and accepts them again.

    Args:
        key: signs them.
        passwords: the users who may have one.
        service: the audience of the server's other tokens.
        lifetime: seconds for which one is valid.
    """

    def __init__(
        self, key: tokens.PrivateKey, passwords: PasswordFile, *, service: str, lifetime: int
    ) -> None:
        self._key = key
        self._public = {tokens.key_id(key.public_key()): key.public_key()}
        self._passwords = passwords
        self._issuer = service
        self._audience = f"{service} refresh"
        self._lifetime = lifetime

    def issue(self, user: str, now: int) -> str:
        """A refresh token for a user whose password was right."""
        claims = tokens.Claims(
            issuer=self._issuer,
            audience=self._audience,
            subject=user,
            issued_at=now,
            expires_at=now + self._lifetime,
            identifier=self._passwords.stamp(user),
        )
        return tokens.sign(claims, self._key)

    def redeem(self, token: str, now: float) -> str:
        """
        The user of a refresh token.

        Raises:
            InvalidToken: it is none, has expired, or the user has another password or is gone.
        """
        claims = tokens.verify(
            token, keys=self._public, issuer=self._issuer, audience=self._audience, now=now
        )
        stamp = self._passwords.stamp(claims.subject)
        if not stamp or not hmac.compare_digest(stamp, claims.identifier):
            raise tokens.InvalidToken("the password has changed since the login")
        return claims.subject
