"""
From the settings to what decides about callers: rules, the authenticator, and who sits at a browser.

Invariant: the protocol, the page and the metrics all ask the same rules.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from ..errors import Unauthorized
from ..protocol.challenges import basic
from .auth import (
    Authenticator,
    BasicAuthenticator,
    CertificateAuthenticator,
    RuledAnonymity,
    anonymous,
    read_basic,
    unauthorized,
)
from .config import AnonymousAuth, BasicAuth, RegistryConfig
from .htpasswd import PasswordFile
from .rights import Principal, Rights, Rule

WebHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Identify = Callable[[str, str], Awaitable[Principal]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """
    Who may do what on one server.

    Attributes:
        authenticator: for requests of the protocol.
        token_endpoint: the handler of ``/token``, if tokens are issued.
        identify: who has a user name and a password; None where nobody has one.
        rights: the rules, also those that follow from the way to authenticate.
        peer: who a connection belongs to by its certificate.
        realm: what a browser shows when it asks for a password.
    """

    authenticator: Authenticator
    token_endpoint: WebHandler | None
    identify: Identify | None
    rights: Rights
    peer: Callable[[web.Request], Principal | None]
    realm: str

    async def visitor(self, request: web.Request) -> Principal:
        """
        Who asks for something outside the protocol: by user name and password, by certificate, or nobody.

        Raises:
            Unauthorized: the credentials are wrong.
        """
        credentials = read_basic(request.headers.get("Authorization", ""))
        if credentials is not None and self.identify is not None:
            try:
                return await self.identify(*credentials)
            except Unauthorized as problem:
                raise self.challenge(problem.message) from problem
        return self.peer(request) or Principal()

    def challenge(self, message: str = "") -> Unauthorized:
        """The 401 that lets a browser ask for a password."""
        return unauthorized(basic(self.realm), message)


def open_access(config: RegistryConfig) -> Access:
    """
    What the settings ask for.

    Raises:
        InvalidConfiguration: they cannot be used.
    """
    rights = Rights(config.rights or _default_rules(config), config.groups)
    token_endpoint: WebHandler | None = None
    identify: Identify | None = None
    authenticator: Authenticator
    realm = "registry"
    if isinstance(config.auth, AnonymousAuth):
        authenticator = RuledAnonymity(rights) if config.rights else anonymous
    elif isinstance(config.auth, BasicAuth):
        passwords = PasswordFile(config.auth.htpasswd)
        realm = config.auth.realm
        authenticator = BasicAuthenticator(passwords, realm, rights)
        identify = _by_password(passwords)
    else:
        from .issuer import TokenIssuer  # loads cryptography

        issuer = TokenIssuer(config.auth, rights, trust_proxy=config.trust_proxy)
        realm = config.auth.service
        authenticator, token_endpoint, identify = issuer, issuer.answer, issuer.identify
    peer = _peer(config)
    if config.tls is not None and config.tls.client_ca:
        authenticator = CertificateAuthenticator(authenticator, peer, rights)
    return Access(
        authenticator=authenticator,
        token_endpoint=token_endpoint,
        identify=identify,
        rights=rights,
        peer=peer,
        realm=realm,
    )


def _default_rules(config: RegistryConfig) -> tuple[Rule, ...]:
    users = Rule(repositories="**", allow=("admin",), users=("*",))
    if isinstance(config.auth, AnonymousAuth):
        return (users, Rule(repositories="**", allow=("admin",), anonymous=True))
    if isinstance(config.auth, BasicAuth) or not config.auth.anonymous_pull:
        return (users,)
    return (users, Rule(repositories="**", allow=("pull",), anonymous=True))


def _by_password(passwords: PasswordFile) -> Identify:
    async def identify(user: str, password: str) -> Principal:
        if not await passwords.check(user, password):
            raise Unauthorized(message="invalid user name or password")
        return Principal(user)

    return identify


def _peer(config: RegistryConfig) -> Callable[[web.Request], Principal | None]:
    tls = config.tls
    if tls is None or not tls.client_ca:
        return lambda _request: None
    from . import certificates

    place = tls.client_name
    return lambda request: certificates.peer(request, place)
