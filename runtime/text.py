"""
The three text files a sandbox gets instead of the image's: resolv.conf, hosts and hostname.

Pure functions from text to text. The rules for name servers are Docker's: addresses of the loopback
interface mean nothing in another network namespace. See resolv.conf(5), hosts(5).
"""

import ipaddress
from collections.abc import Sequence

from .errors import SandboxError

FALLBACK_SERVERS = ("8.8.8.8", "8.8.4.4")
_LOCALHOST = (
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::0\tip6-localnet",
    "ff00::0\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
)
_STUB_RESOLVER = "127.0.0.53"


def hostname(name: str) -> str:
    """Return the text of /etc/hostname."""
    return f"{name}\n"


def hosts(name: str, address: str, extra: Sequence[str], *, gateway: str = "127.0.0.1") -> str:
    """
    Return the text of /etc/hosts; `extra` are `name:address` (or `name=address`) strings.

    The address `host-gateway` stands for the machine as seen from the sandbox.
    """
    lines = list(_LOCALHOST)
    for entry in extra:
        host, separator, target = entry.partition("=" if "=" in entry else ":")
        target = gateway if target == "host-gateway" else target
        try:
            lines.append(f"{ipaddress.ip_address(target.strip('[]'))}\t{host}")
        except ValueError:
            raise SandboxError(f"extra host {entry!r} is not NAME:ADDRESS") from None
        if not separator or not host or any(character.isspace() for character in host):
            raise SandboxError(f"extra host {entry!r} is not NAME:ADDRESS")
    lines.append(f"{address or '127.0.0.1'}\t{name}")
    return "\n".join(lines) + "\n"


def only_stub_resolver(host: str) -> bool:
    """Tell whether a resolv.conf names only the local stub of systemd-resolved."""
    return _servers(host) == [_STUB_RESOLVER]


def _servers(host: str) -> list[str]:
    rows = [line.split() for line in host.splitlines()]
    return [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"]


def _is_loopback(server: str) -> bool:
    try:
        return ipaddress.ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return True


def resolv_conf(
    host: str,
    *,
    keep_loopback: bool,
    dns: Sequence[str] = (),
    search: Sequence[str] = (),
    options: Sequence[str] = (),
) -> str:
    """
    Return the text of /etc/resolv.conf.

    `host` is the text of the machine's file; what is given besides it replaces lines of that kind. Without
    `keep_loopback` local servers are left out, and public ones are used when none is left.
    """
    servers = list(dns) or [item for item in _servers(host) if keep_loopback or not _is_loopback(item)]
    if not servers and not keep_loopback:
        servers = list(FALLBACK_SERVERS)
    lines = [f"nameserver {server}" for server in servers]
    kept = {"search": list(search), "options": list(options)}
    for line in host.splitlines():
        row = line.split()
        kind = "search" if row and row[0] == "domain" else row[0] if row else ""
        if kind in kept and not (search if kind == "search" else options):
            kept[kind] = row[1:]
    lines += [f"{kind} {' '.join(words)}" for kind, words in kept.items() if words and words != ["."]]
    return "\n".join(lines) + "\n"
