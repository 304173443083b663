"""
Registries for the tests of other programs: with users, with a certificate, or open to everybody.

Invariant: everything that one needs is in the given directory, so it goes when the test's directory goes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .errors import InvalidConfiguration
from .server.config import BasicAuth, RegistryConfig, TlsFiles, TokenAuth
from .server.embedded import Registry

_LOOPBACK = "127.0.0.1"
_ROUNDS = 4  # of bcrypt, the least that there are: these passwords protect nothing


def make_registry(
    directory: str,
    *,
    users: Mapping[str, str] | None = None,
    anonymous_pull: bool = False,
    tls: bool = False,
    root: str = "",
    **settings: Any,
) -> Registry:
    """
    A registry that was not started yet.

    Args:
        directory: where its password file and its certificate go.
        users: names and passwords of those who may use it; everybody may without.
        anonymous_pull: whether pulling needs no password (clients then work with tokens).
        tls: whether it speaks TLS, with a new certificate (`Registry.certificate`).
        root: directory of the content; in memory without.
        settings: further fields of `RegistryConfig`.

    Raises:
        InvalidConfiguration: the settings exclude each other, or bcrypt is missing for `users`.
    """
    fields: dict[str, Any] = {"port": 0, "host": _LOOPBACK, "drain_seconds": 0.5, "root": root}
    config = RegistryConfig(**(fields | settings))
    if anonymous_pull and not users:
        raise InvalidConfiguration("anonymous_pull needs users", hint="without users everybody may pull")
    if users:
        passwords = _write_passwords(directory, users)
        auth = TokenAuth(htpasswd=passwords) if anonymous_pull else BasicAuth(htpasswd=passwords)
        config = replace(config, auth=auth)
    if tls:
        config = replace(config, tls=_certificate(directory, config.host))
    return Registry(config)


def _write_passwords(directory: str, users: Mapping[str, str]) -> str:
    try:
        import bcrypt
    except ImportError as problem:
        raise InvalidConfiguration(
            "registries with users need the package bcrypt",
            hint="install the extra: pip install 'pybuild[registry]'",
        ) from problem
    path = os.path.join(directory, "htpasswd")
    lines = [
        f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(_ROUNDS)).decode()}\n"
        for name, password in users.items()
    ]
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
        file.writelines(lines)
    return path


def _certificate(directory: str, host: str) -> TlsFiles:
    from .server import tls

    return tls.self_signed(list(dict.fromkeys([host, "localhost"])), directory)
