"""
The ports of ``EXPOSE``: words such as ``80``, ``53/udp`` or ``8000-8002`` to a list of ``port/protocol``.

The form ``ip:host:container`` is checked like a published port and only the container part is kept.
Governing text: EXPOSE in the Dockerfile reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .errors import SyntaxProblem
from .golang import quote

_PROTOCOLS = ("tcp", "udp", "sctp")


def parse_ports(words: Iterable[str]) -> tuple[str, ...]:
    """
    Return every exposed port once, ranges written out, protocols in lower case.

    Args:
        words: the words after expansion and splitting.

    Raises:
        SyntaxProblem: a word is no port.

    """
    ports: dict[str, None] = {}
    for word in words:
        ports.update(dict.fromkeys(_parse_port(word)))
    return tuple(ports)


def _parse_port(word: str) -> list[str]:
    *address, host, container = ["", "", *word.split(":")]
    ip = ":".join(address[2:])
    port, _, protocol = container.partition("/")
    if not port:
        raise SyntaxProblem(f"invalid port: {quote(word)}: no port specified")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise SyntaxProblem(f"invalid port: {quote(word)}: invalid proto: {protocol}")
    if ip:
        _check_address(ip)
    first, last = _port_range(port, "containerPort")
    if host:
        first_host, last_host = _port_range(host, "hostPort")
        if last != first and last - first != last_host - first_host:
            raise SyntaxProblem(f"invalid ranges specified for container and host Ports: {port} and {host}")
    return [f"{number}/{protocol}" for number in range(first, last + 1)]


def _check_address(ip: str) -> None:
    import ipaddress

    bare = ip[1:-1] if ip.startswith("[") and ip.endswith("]") else ip
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        raise SyntaxProblem(f"invalid IP address: {ip}") from None


def _port_range(text: str, what: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    numbers = (first, last) if dash else (first, first)
    if not all(re.fullmatch(r"\+?[0-9]{1,9}", number) for number in numbers):
        raise SyntaxProblem(f"invalid {what}: {text}")
    start, end = int(numbers[0]), int(numbers[1])
    if end < start or end > 65535:
        raise SyntaxProblem(f"invalid {what}: {text}")
    return start, end
