"""
Who a caller is by the certificate of the connection.

Invariant: TLS verified the certificate against the configured authorities before anything here reads it.
Governing sources: RFC 5280 (subject, subjectAltName); the form is that of `ssl.SSLSocket.getpeercert`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aiohttp import web

from .rights import Principal

_ALTERNATIVES = {"email": "email", "dns": "DNS", "uri": "URI"}


def peer(request: web.Request, place: str) -> Principal | None:
    """
    The owner of the connection's client certificate; its organizational units are groups.

    Args:
        request: any request of the connection.
        place: where the name is, as in `TlsFiles.client_name`.
    """
    certificate = request.get_extra_info("peercert")
    return None if not certificate else read(certificate, place)


def read(certificate: Mapping[str, Any], place: str) -> Principal | None:
    """The owner of a certificate; None for one without a name in that place."""
    subject = list(_subject(certificate))
    if place == "common_name":
        names = [value for key, value in subject if key == "commonName"]
    else:
        wanted = _ALTERNATIVES[place]
        names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == wanted]
    units = frozenset(value for key, value in subject if key == "organizationalUnitName")
    return Principal(names[0], units) if names and names[0] else None


def _subject(certificate: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for relative_name in certificate.get("subject", ()):
        yield from relative_name
