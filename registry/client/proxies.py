"""
Which proxy a request goes through.

Invariant: a pure function of values that the command line read from the usual variables (HTTP_PROXY,
HTTPS_PROXY, NO_PROXY); loopback hosts never go through a proxy.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from .endpoints import is_loopback


def proxy_for(url: str, proxies: Mapping[str, str], no_proxy: Iterable[str]) -> str | None:
    """The URL of the proxy for a request, None for a direct connection."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    proxy = proxies.get(parts.scheme)
    if not proxy or is_loopback(host) or any(_excludes(entry, host, parts.netloc) for entry in no_proxy):
        return None
    return proxy


def _excludes(entry: str, host: str, authority: str) -> bool:
    rule = entry.strip().lower()
    if not rule:
        return False
    if rule in ("*", host, authority.lower()):
        return True
    if "/" in rule:
        try:
            return ipaddress.ip_address(host) in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            return False
    domain = rule.removeprefix("*")
    return host.endswith(domain if domain.startswith(".") else "." + domain)
