"""
What a server needs to start, looked at without starting it: ``pybuild registry --verify``.

Invariants: nothing is written but a missing self-signed certificate; whatever would end a start with these
settings ends this too, with the same words; what would be ignored is refused.
"""

from __future__ import annotations

import os

from ..errors import InvalidConfiguration
from .config import RegistryConfig, TokenAuth
from .listening import verify as verify_access
from .opening import bucket_settings


def verify(config: RegistryConfig) -> None:
    """
    Look at everything that the settings name.

    Raises:
        InvalidConfiguration: a server could not start with these settings, or would not do what they say.
    """
    verify_access(config)
    _check_storage(config)
    if config.workers > 1:
        from .workers.leader import check_workers

        check_workers(config)
    if config.webhooks:
        from .webhooks import read_secret

        for webhook in config.webhooks:
            read_secret(webhook)
    if config.metrics:
        from .metrics import Metrics

        Metrics()
    if config.traces:
        from .tracing import Tracing

        Tracing(config).close()
    _check_callers(config)
    _check_groups(config)


def _check_storage(config: RegistryConfig) -> None:
    if config.is_bucket:
        from .store.bucket_opening import open_bucket

        open_bucket(config.root, bucket_settings(config))
        return
    for name in ("endpoint", "region", "credentials"):
        if getattr(config, f"bucket_{name}"):
            raise InvalidConfiguration(
                f"[bucket] {name} has no meaning where the root is no bucket",
                hint='write root = "s3://bucket/prefix" in [storage], or remove it',
            )
    place = config.root
    while place and not os.path.exists(place) and place != os.path.dirname(place):
        place = os.path.dirname(place)
    if place and not os.path.isdir(place):
        raise InvalidConfiguration(f"{place} is no directory", hint="choose another root in [storage]")
    if place and not os.access(place, os.W_OK | os.X_OK) and not config.read_only:
        raise InvalidConfiguration(
            f"{place} cannot be written", hint="run as the user that owns it, or choose another root"
        )


def _check_callers(config: RegistryConfig) -> None:
    """Refuse settings with which nobody may do anything."""
    auth = config.auth
    if not isinstance(auth, TokenAuth) or auth.htpasswd or auth.issuers or auth.anonymous_pull:
        return
    has_certificates = config.tls is not None and config.tls.client_ca
    if not has_certificates and not any(rule.anonymous for rule in config.rights):
        raise InvalidConfiguration(
            "[auth]: nobody has a password or a token, and anonymous callers may do nothing",
            hint="name htpasswd, issuers, or rules with anonymous = true",
        )


def _check_groups(config: RegistryConfig) -> None:
    """Refuse rules for groups that nobody can be in: a name that was written in two ways."""
    has_issuers = isinstance(config.auth, TokenAuth) and config.auth.issuers
    if has_issuers or (config.tls is not None and config.tls.client_ca):
        return
    for rule in config.rights:
        for group in rule.groups:
            if group not in config.groups:
                raise InvalidConfiguration(
                    f"[[rights]] for {rule.repositories}: nobody is in the group {group}",
                    hint=f"write {group} = [...] in [groups]",
                )
