"""
The few rtnetlink messages a sandbox needs, sent by the child itself.

The child holds a netlink socket that was opened in the host's network namespace, so one message makes a
pair of links with one end on the host's bridge and the other in the child's own namespace. Half a
millisecond; a library for it would take far longer to load. See rtnetlink(7), veth(4). Standard library only.
"""

import errno
import fcntl
import os
import socket
import struct
from typing import Any

_RTM_NEWLINK, _RTM_NEWADDR, _RTM_NEWROUTE, _RTM_GETLINK = 16, 20, 24, 18
_REQUEST, _ACK, _EXCL, _CREATE = 1, 4, 0x200, 0x400
_NLMSG_ERROR = 2
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 1, 3, 4, 10, 18, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_GATEWAY, _RTA_OIF = 5, 4
_IFF_UP = 1
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_NLA_NESTED = 0x8000


def loopback_up() -> None:
    """Bring `lo` up in the current network namespace; one ioctl, no netlink."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        name = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(control, _SIOCGIFFLAGS, name))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def open_socket() -> socket.socket:
    """Return a netlink socket of the current network namespace."""
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    made.settimeout(10)
    return made


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one netlink attribute, padded to four bytes."""
    size = 4 + len(payload)
    return struct.pack("=HH", size, kind) + payload + b"\0" * (-size % 4)


def request(channel: socket.socket, kind: int, flags: int, body: bytes) -> None:
    """Send one message and wait for its acknowledgement; raise `OSError` with what the kernel answered."""
    header = struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | _ACK | flags, 1, 0)
    channel.send(header + body)
    answer = channel.recv(65536)
    if struct.unpack_from("=H", answer, 4)[0] == _NLMSG_ERROR:
        number = -struct.unpack_from("=i", answer, 16)[0]
        if number:
            raise OSError(number, os.strerror(number), "netlink")


def connect(host: socket.socket, link: dict[str, Any]) -> None:
    """
    Connect the current network namespace to the bridge of the host.

    `link` has the host end's `name`, the `bridge` index, `address`, `prefix`, `gateway` and `mtu`.
    """
    namespace = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _make_pair(host, link, namespace)
    finally:
        os.close(namespace)
    index = socket.if_nametoindex("eth0")
    address = socket.inet_aton(link["address"])
    with open_socket() as inner:
        body = struct.pack("=BBBBi", socket.AF_INET, link["prefix"], 0, 0, index)
        body += attribute(_IFA_LOCAL, address) + attribute(_IFA_ADDRESS, address)
        request(inner, _RTM_NEWADDR, _CREATE | _EXCL, body)
        body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, _IFF_UP, _IFF_UP)
        request(inner, _RTM_NEWLINK, 0, body)
        # Table main, protocol boot, scope universe, type unicast.
        body = struct.pack("=8BI", socket.AF_INET, 0, 0, 0, 254, 3, 0, 1, 0)
        body += attribute(_RTA_GATEWAY, socket.inet_aton(link["gateway"]))
        body += attribute(_RTA_OIF, struct.pack("=I", index))
        request(inner, _RTM_NEWROUTE, _CREATE | _EXCL, body)


def _make_pair(host: socket.socket, link: dict[str, Any], namespace: int) -> None:
    mtu = attribute(_IFLA_MTU, struct.pack("=I", link["mtu"]))
    address = socket.inet_aton(link["address"])
    peer = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)
    peer += attribute(_IFLA_IFNAME, b"eth0\0") + mtu
    # Derived from the address, as Docker does: neighbours keep their entries valid when an address returns.
    peer += attribute(_IFLA_ADDRESS, b"\x02\x42" + address)
    peer += attribute(_IFLA_NET_NS_FD, struct.pack("=I", namespace))
    data = attribute(_VETH_INFO_PEER | _NLA_NESTED, peer)
    info = attribute(_IFLA_INFO_KIND, b"veth") + attribute(_IFLA_INFO_DATA | _NLA_NESTED, data)
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, _IFF_UP, _IFF_UP)
    body += attribute(_IFLA_IFNAME, link["name"].encode() + b"\0") + mtu
    body += attribute(_IFLA_MASTER, struct.pack("=I", link["bridge"]))
    body += attribute(_IFLA_LINKINFO | _NLA_NESTED, info)
    request(host, _RTM_NEWLINK, _CREATE | _EXCL, body)


def is_missing(problem: OSError) -> bool:
    """Tell whether the kernel does not know the link asked for."""
    return problem.errno == errno.ENODEV
