"""
The configuration of one call of the command line: the only place that reads the environment.

Flags win over the environment, the environment over defaults. Values are read once and passed down.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from .roots import USER_NAMESPACE, VERSION, home, shows_color, store_root

__all__ = ["VERSION", "Settings"]

CDI_DIRECTORIES = ("/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi")
"""Where BuildKit looks for the specifications of devices, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    What the environment decides.

    `root` is the store; `docker_config` the directory with Docker's config.json; `color` whether escapes may
    be written at all; `cdi_directories` hold the specifications of devices.
    """

    root: str
    docker_config: str
    color: bool
    source_date_epoch: str | None
    cache_limit: str
    tls_ca: str | None
    insecure_registries: tuple[str, ...]
    cdi_directories: tuple[str, ...]
    proxies: dict[str, str]
    no_proxy: tuple[str, ...]
    in_user_namespace: bool
    environment: dict[str, str]

    @classmethod
    def read(cls, root: str | None = None) -> Settings:
        """Read the environment; `root` is the value of ``--root``, if given."""
        env = dict(os.environ)
        return cls(
            root=store_root(root, env),
            docker_config=env.get("DOCKER_CONFIG") or os.path.join(home(env), ".docker"),
            color=shows_color(env),
            source_date_epoch=env.get("SOURCE_DATE_EPOCH") or None,
            cache_limit=env.get("PYBUILD_CACHE_LIMIT", ""),
            tls_ca=env.get("SSL_CERT_FILE") or None,
            insecure_registries=_list(env.get("PYBUILD_INSECURE_REGISTRIES", "")),
            cdi_directories=_paths(env.get("PYBUILD_CDI_SPEC_DIRS", "")) or CDI_DIRECTORIES,
            proxies={
                scheme: env[name]
                for scheme in ("http", "https")
                for name in (f"{scheme.upper()}_PROXY", f"{scheme}_proxy")
                if env.get(name)
            },
            no_proxy=_list(env.get("no_proxy") or env.get("NO_PROXY") or ""),
            in_user_namespace=USER_NAMESPACE in env,
            environment=env,
        )


def _paths(text: str) -> tuple[str, ...]:
    return tuple(os.path.abspath(path) for path in text.split(os.pathsep) if path)


def _list(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
