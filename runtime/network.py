"""
The network of a sandbox: which one it gets, and its address on the private one.

A private network is one persistent bridge per machine with address translation to the outside, set up once
by `network_bridge.py`; every sandbox leases an address on it. A lease is a locked file: the kernel frees it
when its holder dies, so addresses never leak and concurrent builds never share one. Standard library only.
"""

import fcntl
import ipaddress
import os
from contextlib import suppress
from typing import Any

from .bridge import Bridge, find_bridge
from .errors import NotPermitted, SandboxError, SetupFailed
from .namespaces import IdMap, current_id_map
from .spec import NetworkMode

_CAP_NET_ADMIN = 12


def choose_network(requested: NetworkMode | None, *, id_map: IdMap | None = None) -> tuple[NetworkMode, str]:
    """
    Return the network a sandbox gets and why; the reason is for people.

    Raise `NotPermitted` when the requested one is impossible here.
    """
    able = may_make_private(id_map or current_id_map())
    if requested is None:
        if able:
            return NetworkMode.PRIVATE, "a private network with address translation, the default as root"
        return NetworkMode.HOST, "the machine's network: a private one needs root"
    if requested is NetworkMode.PRIVATE and not able:
        raise NotPermitted("a private network needs root", "use the host network, none, or run as root")
    return requested, f"{requested.value}, as requested"


def may_make_private(id_map: IdMap) -> bool:
    """Tell whether this process may make links in the machine's network namespace."""
    if id_map.kind != "root":
        return False
    with open("/proc/self/status", encoding="utf-8", errors="replace") as status:
        effective = next((line.split()[1] for line in status if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> _CAP_NET_ADMIN & 1)


class Lease:
    """One address on the bridge, held until `close` or the death of this process."""

    def __init__(self, bridge: Bridge, address: str, fd: int) -> None:
        self.bridge = bridge
        self.address = address
        self._fd = fd

    def link(self) -> dict[str, Any]:
        """Return what the child needs to connect itself."""
        number = int(ipaddress.IPv4Address(self.address)) & 0xFFFF
        return {
            # Unique while the kernel still takes the previous holder's link apart.
            "name": f"pb{number:04x}{os.urandom(3).hex()}",
            "bridge": self.bridge.interface,
            "address": self.address,
            "prefix": self.bridge.network.prefixlen,
            "gateway": self.bridge.gateway,
            "mtu": self.bridge.mtu,
        }

    def close(self) -> None:
        """Give the address back; may be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def lease(bridge: Bridge, state_directory: str) -> Lease:
    """
    Return an address nobody else holds.

    Addresses are given in turn, so that one comes back only after all others: links of ended sandboxes
    disappear a little later than their processes.
    """
    directory = f"{state_directory}/addresses"
    os.makedirs(directory, mode=0o755, exist_ok=True)
    hosts = bridge.network.num_addresses - 2
    with open(f"{directory}/next", "a+", encoding="ascii") as cursor:
        fcntl.flock(cursor, fcntl.LOCK_EX)
        cursor.seek(0)
        text = cursor.read()
        start = int(text) if text.strip().isdigit() else 0
        for step in range(hosts):
            offset = (start + step) % hosts + 1
            address = str(bridge.network[offset])
            if address == bridge.gateway:
                continue
            fd = _lock(f"{directory}/{address}")
            if fd >= 0:
                cursor.truncate(0)
                cursor.write(str(offset % hosts))
                return Lease(bridge, address, fd)
    raise SandboxError("every address of the private network is in use", hint="use --network host")


def _lock(path: str) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return -1
    return fd


def ready_mark(bridge: Bridge) -> str:
    """Return what identifies a bridge that was set up completely: this boot, namespace, interface, subnet."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    namespace = os.stat("/proc/self/ns/net").st_ino
    return f"1 {boot} {namespace} {bridge.interface} {bridge.network}\n"


def ready_bridge(state_directory: str) -> Bridge | None:
    """Return the bridge when it and its rules were set up since the machine started; cheap."""
    bridge = find_bridge()
    if bridge is None:
        return None
    with suppress(OSError), open(f"{state_directory}/network", encoding="ascii") as file:
        if file.read() == ready_mark(bridge):
            return bridge
    return None


def ensure_bridge(state_directory: str) -> Bridge:
    """
    Return the bridge, made first where it is missing; may take half a second then.

    Safe to call from several processes at once. Raise `SandboxError` when the kernel refuses.
    """
    bridge = ready_bridge(state_directory)
    if bridge is not None:
        return bridge
    from . import network_bridge

    os.makedirs(state_directory, mode=0o755, exist_ok=True)
    with open(f"{state_directory}/network.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        bridge = ready_bridge(state_directory)
        if bridge is not None:
            return bridge
        try:
            network_bridge.set_up()
        except OSError as problem:
            raise SetupFailed("set up the private network", problem.errno or 0, str(problem)) from problem
        bridge = find_bridge()
        if bridge is None:
            raise SandboxError("the bridge of the private network did not appear")
        with open(f"{state_directory}/network.new", "w", encoding="ascii") as file:
            file.write(ready_mark(bridge))
        os.replace(f"{state_directory}/network.new", f"{state_directory}/network")
        return bridge
