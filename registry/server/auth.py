"""
Who sends a request, and what that caller may do.

An authenticator is a callable that is given the request and the scopes it needs; it answers with the caller
or raises `Unauthorized` (with a challenge) or `Denied`. Invariants: a challenge is part of every 401, also of
HEAD; nothing about content is said before the caller was checked.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from ..errors import Denied, Unauthorized
from ..protocol.challenges import Challenge, Scope, basic, repository_scope
from .htpasswd import PasswordFile
from .rights import Principal, Rights


@dataclass(frozen=True, slots=True)
class Caller:
    """
    The sender of a request.

    Attributes:
        name: the user; empty for an anonymous caller.
        grants: what this request's credentials allow; None for everything.
        may_read: whether the *user* may pull from a repository, whatever this request's token was asked for.
        may_list: whether a repository may be shown to the user in lists.
    """

    name: str = ""
    grants: tuple[Scope, ...] | None = None
    may_read: Callable[[str], bool] | None = None
    may_list: Callable[[str], bool] | None = None

    def may(self, wanted: Scope) -> bool:
        """Whether every action of the scope is granted."""
        if self.grants is None:
            return True
        granted: set[str] = set()
        for grant in self.grants:
            if (grant.type, grant.name) == (wanted.type, wanted.name):
                granted.update(grant.actions)
        return "*" in granted or granted.issuperset(wanted.actions)

    def may_mount_from(self, repository: str) -> bool:
        """
        Whether blobs of the repository may be mounted elsewhere, which lets the caller read them.

        Tokens name the repository that is pushed to and seldom the source, so the user's own right counts.
        """
        if self.may_read is not None:
            return self.may_read(repository)
        return self.may(repository_scope(repository, "pull"))


Authenticator = Callable[[web.Request, tuple[Scope, ...]], Awaitable[Caller]]

ANYBODY = Caller()


async def anonymous(_request: web.Request, _scopes: tuple[Scope, ...]) -> Caller:
    """The authenticator that lets everybody do everything."""
    return ANYBODY


def unauthorized(challenge: Challenge, message: str = "") -> Unauthorized:
    """The 401 that asks for credentials."""
    return Unauthorized(message=message, headers={"WWW-Authenticate": str(challenge)})


def read_basic(header: str) -> tuple[str, str] | None:
    """User name and password of a Basic ``Authorization`` header; None for anything else."""
    scheme, _, encoded = header.strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None


def known_caller(who: Principal, rights: Rights, grants: tuple[Scope, ...]) -> Caller:
    """A caller for whom rules decide."""
    return Caller(
        who.name,
        grants,
        may_read=lambda repository: rights.may(who, repository, "pull"),
        may_list=lambda repository: rights.may(who, repository, "catalog"),
    )


def admit(who: Principal, rights: Rights, scopes: tuple[Scope, ...]) -> Caller:
    """
    The caller, who may do what the scopes say.

    Raises:
        Denied: the rules do not allow it.
    """
    if not all(rights.covers(who, scope) for scope in scopes):
        raise Denied
    return known_caller(who, rights, scopes)


class RuledAnonymity:
    """Asks nobody for credentials, and lets rules decide what everybody may do."""

    def __init__(self, rights: Rights) -> None:
        self._rights = rights

    async def __call__(self, _request: web.Request, scopes: tuple[Scope, ...]) -> Caller:
        """An anonymous caller."""
        return admit(Principal(), self._rights, scopes)


class BasicAuthenticator:
    """Asks for a user name and a password with every request."""

    def __init__(self, passwords: PasswordFile, realm: str, rights: Rights) -> None:
        self._passwords = passwords
        self._challenge = basic(realm)
        self._rights = rights

    async def __call__(self, request: web.Request, scopes: tuple[Scope, ...]) -> Caller:
        """The user of the request."""
        credentials = read_basic(request.headers.get("Authorization", ""))
        if credentials is None:
            raise unauthorized(self._challenge)
        if not await self._passwords.check(*credentials):
            raise unauthorized(self._challenge, "invalid user name or password")
        return admit(Principal(credentials[0]), self._rights, scopes)


class CertificateAuthenticator:
    """Knows callers by their client certificates, and leaves those with other credentials to `others`."""

    def __init__(
        self, others: Authenticator, name_of: Callable[[web.Request], Principal | None], rights: Rights
    ) -> None:
        self._others = others
        self._name_of = name_of
        self._rights = rights

    async def __call__(self, request: web.Request, scopes: tuple[Scope, ...]) -> Caller:
        """The caller; credentials that are sent count more than the certificate."""
        who = None if "Authorization" in request.headers else self._name_of(request)
        return await self._others(request, scopes) if who is None else admit(who, self._rights, scopes)
