"""
The way of a mirror to the registry behind it: who it is there, and how it gets there.

This is where the two ends of the protocol meet, so neither knows the other. Invariant: credentials go to the
upstream's own origin and to the token endpoint that it names, and appear in no message.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from .client.credentials import Credentials, CredentialStore
from .client.retry import RetryPolicy
from .client.session import TransportOptions
from .errors import InvalidConfiguration
from .server.mirror.settings import Mirror
from .server.mirror.upstream import OpenUpstream
from .upstream_client import ClientUpstream

_RETRY = RetryPolicy(attempts=2, first_delay=0.2, longest_delay=1.0)
_CONNECTIONS = 64  # slow blobs must not keep tags waiting


def upstreams(
    environment: Mapping[str, str],
    *,
    user_agent: str = "pybuild-mirror",
    proxies: Mapping[str, str] | None = None,
    no_proxy: tuple[str, ...] = (),
) -> OpenUpstream:
    """
    Opens the upstreams of mirrors.

    Args:
        environment: where passwords are looked up that the settings place there, and for credential helpers.
        user_agent: what we call ourselves.
        proxies: URLs of proxies by scheme.
        no_proxy: hosts and domains that are reached without them.
    """

    def open_upstream(mirror: Mirror) -> AbstractAsyncContextManager[ClientUpstream]:
        options = TransportOptions(
            insecure=frozenset() if mirror.tls_verify else frozenset((mirror.prefix,)),
            overrides={mirror.prefix: mirror.origin},
            ca_file=mirror.ca_file or None,
            user_agent=user_agent,
            connect_timeout=mirror.timeout,
            stall_timeout=mirror.timeout,
            connections=_CONNECTIONS,
            retry=_RETRY,
            proxies=proxies or {},
            no_proxy=no_proxy,
        )
        return _opened(ClientUpstream(mirror, options, lambda _name: credentials_of(mirror, environment)))

    return open_upstream


def check(mirrors: tuple[Mirror, ...], environment: Mapping[str, str]) -> None:
    """
    Read everything that the settings of mirrors name.

    Raises:
        RegistryError: a password or a file cannot be had.
    """
    for mirror in mirrors:
        credentials_of(mirror, environment)
        if mirror.ca_file:
            _read(mirror, mirror.ca_file)


def credentials_of(mirror: Mirror, environment: Mapping[str, str]) -> Credentials | None:
    """
    Who a mirror is at its upstream; None for nobody. May run a credential helper and therefore block.

    Raises:
        InvalidConfiguration: the password is not where the settings say.
        InvalidCredentials: docker's file cannot be used.
    """
    if mirror.docker_config:
        host = mirror.origin.partition("://")[2]
        store = CredentialStore(mirror.docker_config, environment)
        return store.get("docker.io" if mirror.is_hub else host) or store.get(host)
    if not mirror.username:
        return None
    if mirror.password_file:
        password = _read(mirror, mirror.password_file).strip("\r\n")
    else:
        password = environment.get(mirror.password_env, "")
        if not password:
            raise InvalidConfiguration(
                f"the mirror {mirror.prefix}: the variable {mirror.password_env} with its password is not set"
            )
    return Credentials(username=mirror.username, password=password)


def _read(mirror: Mirror, path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "it is not text"
        raise InvalidConfiguration(f"the mirror {mirror.prefix}: cannot read {path}: {reason}") from problem


@asynccontextmanager
async def _opened(upstream: ClientUpstream) -> AsyncIterator[ClientUpstream]:
    try:
        yield upstream
    finally:
        await upstream.close()
