"""
The configuration of one call of the command line: the only place that reads the environment.

Flags win over the environment, the environment over defaults. Values are read once and passed down.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

VERSION = "0.1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    What the environment decides.

    `root` is the store; `docker_config` the directory with Docker's config.json; `color` whether escapes may
    be written at all.
    """

    root: str
    docker_config: str
    color: bool
    source_date_epoch: str | None
    tls_ca: str | None
    insecure_registries: tuple[str, ...]
    environment: dict[str, str]

    @classmethod
    def read(cls, root: str | None = None) -> Settings:
        """Read the environment; `root` is the value of ``--root``, if given."""
        env = dict(os.environ)
        return cls(
            root=os.path.abspath(root or env.get("PYBUILD_ROOT") or default_root(env)),
            docker_config=env.get("DOCKER_CONFIG") or os.path.join(_home(env), ".docker"),
            color="NO_COLOR" not in env and env.get("TERM") != "dumb",
            source_date_epoch=env.get("SOURCE_DATE_EPOCH") or None,
            tls_ca=env.get("SSL_CERT_FILE") or None,
            insecure_registries=tuple(
                name.strip() for name in env.get("PYBUILD_INSECURE_REGISTRIES", "").split(",") if name.strip()
            ),
            environment=env,
        )


def default_root(env: dict[str, str]) -> str:
    """The store of the user: system wide for root, below XDG_DATA_HOME for everybody else."""
    if os.geteuid() == 0 and "PYBUILD_USER_NAMESPACE" not in env:
        return "/var/lib/pybuild"
    data = env.get("XDG_DATA_HOME") or os.path.join(_home(env), ".local", "share")
    return os.path.join(data, "pybuild")


def _home(env: dict[str, str]) -> str:
    return env.get("HOME") or os.path.expanduser("~")
