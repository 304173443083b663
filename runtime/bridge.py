"""
The bridge of the private network as it is on this machine: found without netlink, and where one would fit.

Standard library only. `network_bridge.py` makes the bridge, `network.py` leases its addresses.
"""

import fcntl
import ipaddress
import socket
import struct
from dataclasses import dataclass

from .errors import SandboxError

BRIDGE = "pybuild0"
# One bridge has at most 1024 ports, so more addresses than a /22 has would not help.
_CANDIDATES = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        *(f"10.{second}.0.0/22" for second in range(201, 211)),
        *(f"172.{second}.64.0/22" for second in range(16, 32)),
        *(f"192.168.{third}.0/22" for third in range(200, 252, 4)),
    )
)
_SIOCGIFADDR, _SIOCGIFNETMASK, _SIOCGIFMTU = 0x8915, 0x891B, 0x8921


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """The bridge of the machine, ready for sandboxes; `interface` is its index."""

    interface: int
    network: ipaddress.IPv4Network
    gateway: str
    mtu: int


def used_networks(routes: str) -> list[ipaddress.IPv4Network]:
    """Return the networks that the text of /proc/net/route leads to, without the default route."""
    found = []
    for line in routes.splitlines()[1:]:
        row = line.split()
        if len(row) > 7:
            address, mask = (int.from_bytes(bytes.fromhex(row[place]), "little") for place in (1, 7))
            if mask:
                found.append(ipaddress.IPv4Network((address, mask.bit_count())))
    return found


def choose_subnet(used: list[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    """Return the first candidate that overlaps nothing in use; raise `SandboxError` when all do."""
    for candidate in _CANDIDATES:
        if not any(candidate.overlaps(network) for network in used):
            return candidate
    raise SandboxError("every private subnet overlaps a route of this machine", hint="use --network host")


def default_device(routes: str) -> str:
    """Return the interface of the default route in the text of /proc/net/route, or ""."""
    for line in routes.splitlines()[1:]:
        row = line.split()
        if len(row) > 7 and row[1] == row[7] == "00000000":
            return row[0]
    return ""


def find_bridge() -> Bridge | None:
    """Return the bridge when it is there with an address."""
    try:
        # Not from /sys, which shows the network namespace of whoever mounted it.
        interface = socket.if_nametoindex(BRIDGE)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
            gateway = _interface_address(control, _SIOCGIFADDR)
            mask = _interface_address(control, _SIOCGIFNETMASK)
            mtu = interface_mtu(control, BRIDGE)
    except OSError:
        return None
    network = ipaddress.IPv4Network((gateway, mask), strict=False)
    return Bridge(interface=interface, network=network, gateway=gateway, mtu=mtu)


def _interface_address(control: socket.socket, query: int) -> str:
    answer = fcntl.ioctl(control, query, struct.pack("256s", BRIDGE.encode()))
    return socket.inet_ntoa(answer[20:24])


def interface_mtu(control: socket.socket, name: str) -> int:
    """Return the largest packet of an interface."""
    answer = fcntl.ioctl(control, _SIOCGIFMTU, struct.pack("16si240x", name.encode(), 0))
    return int(struct.unpack_from("i", answer, 16)[0])
