"""How the network is reached for sources; a value without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkOptions:
    """
    Proxies by scheme, further certificates, and the environment that programs get.

    `no_proxy` is part of `environment`, where the standard library and git look for it. `secrets` are those
    of the build by id, among which the credentials of git repositories may be.
    """

    proxies: Mapping[str, str] = field(default_factory=dict)
    tls_ca: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    user_agent: str = "pybuild"
    timeout: float = 60.0
