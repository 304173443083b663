"""
Where a registry is reached: from its name in a reference to URLs, and which URLs may follow from its answers.

Invariants: pure functions; plain HTTP is used only for loopback hosts and for registries that were named
insecure; an answer of a public registry cannot send us to an internal address, nor credentials elsewhere.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit, urlunsplit

from oci_image.reference import DEFAULT_REGISTRY

from ..errors import TransportProblem

HUB_HOST = "registry-1.docker.io"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One way to reach a registry: a base URL without path, and whether its certificate is checked."""

    url: str
    verify: bool = True


def endpoints_of(
    registry: str, *, insecure: Collection[str] = (), overrides: Mapping[str, str] | None = None
) -> tuple[Endpoint, ...]:
    """
    The ways to reach a registry, in the order in which they are tried.

    Args:
        registry: host and port as in a reference.
        insecure: registries that may be reached without TLS or without a valid certificate.
        overrides: base URLs for registries that are reached elsewhere (mirrors, tests).
    """
    if overrides and registry in overrides:
        return (Endpoint(overrides[registry].rstrip("/"), verify=registry not in insecure),)
    if registry == DEFAULT_REGISTRY:
        return (Endpoint(f"https://{HUB_HOST}"),)
    if is_loopback(host_of(registry)):
        return Endpoint(f"http://{registry}"), Endpoint(f"https://{registry}", verify=False)
    if registry in insecure:
        return Endpoint(f"https://{registry}", verify=False), Endpoint(f"http://{registry}")
    return (Endpoint(f"https://{registry}"),)


def host_of(authority: str) -> str:
    """The host of ``host[:port]``, without the brackets of an IPv6 address."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]


def is_loopback(host: str) -> bool:
    """Whether the host can only be this machine: localhost, 127.0.0.0/8 or ::1."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def is_internal(host: str) -> bool:
    """Whether the host is, literally, this machine or an address of a private or link-local network."""
    if is_loopback(host):
        return True
    address = _address(host)
    return address is not None and (address.is_private or address.is_link_local)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: what must be equal for credentials to be sent."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), _port_of(url) or _PORTS.get(parts.scheme)


def _port_of(url: str) -> int | None:
    try:
        return urlsplit(url).port
    except ValueError:
        raise TransportProblem(f"invalid URL {redacted(url)}", temporary=False) from None


def resolve_location(current: str, location: str) -> str:
    """
    The absolute URL of a ``Location`` or ``Link`` that came with the answer to a request for `current`.

    A registry behind a proxy that ends TLS often writes ``http://`` for its own host: we stay with TLS then.

    Raises:
        TransportProblem: it leads away from HTTP, from TLS, or from the outside to an internal address.
    """
    target = urljoin(current, location)
    here, there = urlsplit(current), urlsplit(target)
    if there.scheme not in _PORTS or not there.hostname or there.username is not None:
        raise TransportProblem(
            f"{here.netloc} refers to the unusable URL {redacted(target)}", temporary=False
        )
    if here.scheme == "https" and there.scheme == "http":
        if (there.hostname or "") != (here.hostname or ""):
            raise TransportProblem(
                f"{here.netloc} refers to {redacted(target)}, which is not protected by TLS", temporary=False
            )
        target = urlunsplit(("https", here.netloc, *there[2:]))
    check_reachable_from(current, target)
    return target


def check_reachable_from(current: str, target: str) -> None:
    """
    Refuse a step from a registry on the outside to an internal address.

    Raises:
        TransportProblem: the target is internal and `current` is not.
    """
    here, there = urlsplit(current).hostname or "", urlsplit(target).hostname or ""
    if here != there and is_internal(there) and not is_internal(here):
        raise TransportProblem(
            f"{here} refers to the internal address {redacted(target)}; refusing to follow", temporary=False
        )


def may_carry_credentials(url: str, *, trusted: Collection[tuple[str, str, int | None]] = ()) -> bool:
    """Whether credentials may be sent to the URL: over TLS, to this machine, or to a trusted origin."""
    parts = urlsplit(url)
    if parts.scheme == "https" or is_loopback(parts.hostname or ""):
        return True
    return origin_of(url) in trusted


def redacted(url: str) -> str:
    """The URL without user, password and query, which may hold secrets (signed URLs)."""
    parts = urlsplit(url)
    query = "?…" if parts.query else ""
    return printable(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")) + query)


def printable(text: str, limit: int = 500) -> str:
    """Text of the other end for a message: bounded, on one line, without control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
    return line if len(line) <= limit else line[:limit] + "…"
