"""
Makes the bridge of the private network and the rules that connect it to the outside.

The only user of pyroute2, loaded once per start of the machine. What is made: the bridge `pybuild0` with an
address, forwarding, and a table `ip pybuild` of nftables with masquerading and a guard that lets only
answers in. Where the machine drops forwarded packets by policy (Docker sets that), an accept rule in a table
of our own does not help, since any base chain may drop; the two rules then go into the machine's chain.
"""

import errno
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import Any

from .bridge import BRIDGE, choose_subnet, default_device, find_bridge, interface_mtu, used_networks

TABLE = "pybuild"
_ACCEPT, _DROP = 1, 0
_NAT_PRIORITY = 100
_META_IIFNAME, _META_OIFNAME = 6, 7
_CT_STATE = 0
_ESTABLISHED_OR_RELATED = 2 | 4
_VERDICT_REGISTER, _REGISTER = 0, 1
_NETWORK_HEADER, _SOURCE_ADDRESS = 1, 12
_EQUAL, _DIFFERENT = 0, 1


def set_up() -> None:
    """Make what is missing; raise `OSError`. Blocks, and must not run on an event loop's thread."""
    with open("/proc/net/route", encoding="ascii") as file:
        routes = file.read()
    if find_bridge() is None:
        _make_bridge(routes)
    bridge = find_bridge()
    if bridge is None:
        raise OSError(errno.ENODEV, f"{BRIDGE} has no address")
    _forward()
    _make_table(str(bridge.network.network_address), bridge.network.prefixlen)
    let_forwarded_through()


def _make_bridge(routes: str) -> None:
    from pyroute2 import iproute
    from pyroute2.netlink.exceptions import NetlinkError

    # The library's own classes are not typed.
    untyped: Any = iproute
    subnet = choose_subnet(used_networks(routes))
    try:
        with untyped.IPRoute() as ip:
            if not ip.link_lookup(ifname=BRIDGE):
                ip.link("add", ifname=BRIDGE, kind="bridge")
            index = ip.link_lookup(ifname=BRIDGE)[0]
            ip.addr("add", index=index, address=str(subnet[1]), prefixlen=subnet.prefixlen)
            ip.link("set", index=index, state="up", mtu=_outside_mtu(routes))
    except NetlinkError as problem:
        raise OSError(problem.code, str(problem)) from problem


def _outside_mtu(routes: str) -> int:
    """The bridge must not promise larger packets than the way out takes."""
    device = default_device(routes)
    if not device:
        return 1500
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        return interface_mtu(control, device)


def _forward() -> None:
    path = "/proc/sys/net/ipv4/ip_forward"
    with open(path, encoding="ascii") as file:
        if file.read().strip() == "1":
            return
    with open(path, "w", encoding="ascii") as file:
        file.write("1")


def _make_table(address: str, prefix: int) -> None:
    from pyroute2.netlink.exceptions import NetlinkError
    from pyroute2.nftables import main

    untyped: Any = main
    try:
        with closing(untyped.NFTables()) as nft:
            # Deleted and made again, so that an older version's rules never stay beside ours.
            with suppress(NetlinkError):
                nft.table("del", name=TABLE)
            nft.table("add", name=TABLE)
            nft.chain(
                "add",
                table=TABLE,
                name="postrouting",
                hook="postrouting",
                type="nat",
                priority=_NAT_PRIORITY,
                policy=_ACCEPT,
            )
            nft.chain("add", table=TABLE, name="forward", hook="forward", type="filter", policy=_ACCEPT)
            leaving = [
                _from_network(address, prefix),
                _interface(_META_OIFNAME, _DIFFERENT),
                [_expression("masq")],
            ]
            nft.rule("add", table=TABLE, chain="postrouting", expressions=leaving)
            strangers = [
                _interface(_META_IIFNAME, _DIFFERENT),
                _interface(_META_OIFNAME, _EQUAL),
                _not_an_answer(),
                [_drop()],
            ]
            nft.rule("add", table=TABLE, chain="forward", expressions=strangers)
    except NetlinkError as problem:
        raise OSError(problem.code, str(problem)) from problem


def _expression(name: str, **members: Any) -> dict[str, Any]:
    attributes = [(f"NFTA_{name.upper()}_{key.upper()}", value) for key, value in members.items()]
    return {"attrs": [("NFTA_EXPR_NAME", name), ("NFTA_EXPR_DATA", {"attrs": attributes})]}


def _data(value: bytes) -> dict[str, Any]:
    return {"attrs": [("NFTA_DATA_VALUE", value)]}


def _interface(key: int, comparison: int) -> list[dict[str, Any]]:
    name = struct.pack("16s", BRIDGE.encode())
    return [
        _expression("meta", key=key, dreg=_REGISTER),
        _expression("cmp", sreg=_REGISTER, op=comparison, data=_data(name)),
    ]


def _from_network(address: str, prefix: int) -> list[dict[str, Any]]:
    mask = struct.pack("!I", 0xFFFFFFFF << (32 - prefix) & 0xFFFFFFFF)
    return [
        _expression("payload", dreg=_REGISTER, base=_NETWORK_HEADER, offset=_SOURCE_ADDRESS, len=4),
        _expression("bitwise", sreg=_REGISTER, dreg=_REGISTER, len=4, mask=_data(mask), xor=_data(b"\0" * 4)),
        _expression("cmp", sreg=_REGISTER, op=_EQUAL, data=_data(socket.inet_aton(address))),
    ]


def _not_an_answer() -> list[dict[str, Any]]:
    bits = struct.pack("=I", _ESTABLISHED_OR_RELATED)
    return [
        _expression("ct", key=_CT_STATE, dreg=_REGISTER),
        _expression("bitwise", sreg=_REGISTER, dreg=_REGISTER, len=4, mask=_data(bits), xor=_data(b"\0" * 4)),
        _expression("cmp", sreg=_REGISTER, op=_EQUAL, data=_data(b"\0" * 4)),
    ]


def _drop() -> dict[str, Any]:
    code = {"attrs": [("NFTA_VERDICT_CODE", _DROP)]}
    return _expression("immediate", dreg=_VERDICT_REGISTER, data={"attrs": [("NFTA_DATA_VERDICT", code)]})


def drops_forwarded() -> bool:
    """Tell whether the machine's own filter drops forwarded packets unless a rule accepts them."""
    return _iptables(["-S", "FORWARD"]).startswith("-P FORWARD DROP")


def _forward_rules() -> tuple[str, list[list[str]]]:
    # Docker keeps this chain for rules of others and evaluates it first.
    chain = "DOCKER-USER" if _iptables(["-S", "DOCKER-USER"]) else "FORWARD"
    answers = ["-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"]
    return chain, [["-i", BRIDGE, "-j", "ACCEPT"], ["-o", BRIDGE, *answers, "-j", "ACCEPT"]]


def is_let_through() -> bool:
    """Tell whether the machine's own chain has our two rules."""
    chain, rules = _forward_rules()
    return all(_iptables(["-C", chain, *rule]) for rule in rules)


def let_forwarded_through() -> None:
    """Where forwarded packets are dropped by policy, accept ours in the machine's own chain, once."""
    if not drops_forwarded():
        return
    chain, rules = _forward_rules()
    for rule in rules:
        if not _iptables(["-C", chain, *rule]):
            _iptables(["-I", chain, *rule])


_REFUSED = ""


def _iptables(arguments: Sequence[str]) -> str:
    """Return what iptables prints, a line feed at least; "" when it fails or is not installed."""
    program = shutil.which("iptables", path=f"{os.defpath}:/usr/sbin:/sbin")
    if program is None:
        return _REFUSED
    done = subprocess.run([program, "-w", *arguments], capture_output=True, text=True, check=False)
    return (done.stdout or "\n") if done.returncode == 0 else _REFUSED
