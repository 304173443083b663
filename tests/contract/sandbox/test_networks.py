"""Networks: none, the machine's, and a private one."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading

import pytest

from runtime import network
from runtime.bridge import BRIDGE, Bridge
from runtime.sandbox import LinuxSandbox
from runtime.spec import NetworkMode
from tests.contract.sandbox.lab import (
    REPOSITORY,
    Lab,
    need,
    run,
    shell,
)

pytestmark = pytest.mark.userns


async def test_no_network_has_only_loopback(linux: LinuxSandbox, lab: Lab) -> None:
    """`none` leaves a loopback interface that is up, and no route."""
    result = await shell(
        linux,
        lab,
        "ip -o link | wc -l; ip -o addr show lo; ip route; ping -c1 -W1 127.0.0.1 >/dev/null && echo alive",
    )
    assert result.out.startswith("1\n")
    assert "127.0.0.1/8" in result.out
    assert result.out.endswith("alive\n")


async def test_host_network(linux: LinuxSandbox, lab: Lab) -> None:
    """`host` shares the machine's interfaces."""
    result = await shell(linux, lab, "ls /sys/class/net", network=NetworkMode.HOST)
    assert set(os.listdir("/sys/class/net")) >= set(result.out.split()) - {BRIDGE}
    assert "lo" in result.out.split()


class Server:
    """A TCP server that says hello, on an address of the host."""

    def __init__(self, address: str) -> None:
        self.socket = socket.create_server((address, 0))
        self.port = self.socket.getsockname()[1]
        self.peers: list[str] = []
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, peer = self.socket.accept()
                self.peers.append(peer[0])
                connection.sendall(b"hello\n")
                connection.close()

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()


@pytest.fixture
def bridge(linux: LinuxSandbox) -> Bridge:
    need(network.may_make_private(network.current_id_map()), "a private network needs root")
    return network.ensure_bridge(linux._state_directory)


async def test_private_network_reaches_the_host(linux: LinuxSandbox, lab: Lab, bridge: Bridge) -> None:
    """A sandbox gets an address, a route, and reaches a server on the bridge's address."""
    server = Server(bridge.gateway)
    try:
        result = await shell(
            linux,
            lab,
            f"ip -o -4 addr show eth0; ip route; nc -w 5 {bridge.gateway} {server.port} < /dev/null",
            network=NetworkMode.PRIVATE,
        )
    finally:
        server.close()
    assert result.out.endswith("hello\n")
    assert f"default via {bridge.gateway}" in result.out
    assert server.peers[0] in result.out
    assert network.ipaddress.IPv4Address(server.peers[0]) in bridge.network


@pytest.mark.usefixtures("bridge")
async def test_private_network_is_masqueraded(linux: LinuxSandbox, lab: Lab) -> None:
    """Beyond the bridge the machine's own address is seen: the outside is a second namespace here."""
    outside = Outside()
    try:
        result = await shell(
            linux, lab, f"nc -w 5 {outside.far} 7777 < /dev/null", network=NetworkMode.PRIVATE
        )
    finally:
        answer = outside.close()
    assert result.out == "hello\n", result.err
    assert answer.strip() == outside.near


class Outside:
    """A network namespace that the host reaches over a pair of links."""

    near, far = "203.0.113.1", "203.0.113.2"

    def __init__(self) -> None:
        code = (
            "import socket,sys\nprint('up', flush=True)\nsys.stdin.readline()\n"
            f"s=socket.create_server(('{self.far}',7777))\nprint('ready', flush=True)\n"
            "c,p=s.accept()\nc.sendall(b'hello\\n')\nc.close()\nprint(p[0], flush=True)\n"
        )
        self.process = subprocess.Popen(
            ["unshare", "-n", sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "up\n"
        for words in (
            f"ip link add pbtest0 type veth peer name eth0 netns {self.process.pid}",
            f"ip addr add {self.near}/24 dev pbtest0",
            "ip link set pbtest0 up",
            f"nsenter -n -t {self.process.pid} ip addr add {self.far}/24 dev eth0",
            f"nsenter -n -t {self.process.pid} ip link set eth0 up",
        ):
            subprocess.run(words.split(), check=True)
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "ready\n"

    def close(self) -> str:
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.process.kill()
        answer = self.process.stdout.read()
        self.process.stdout.close()
        self.process.wait()
        subprocess.run(["ip", "link", "del", "pbtest0"], check=False, capture_output=True)
        return answer


@pytest.mark.usefixtures("bridge")
async def test_private_addresses_differ(linux: LinuxSandbox, lab: Lab) -> None:
    """Concurrent sandboxes never share an address."""
    specs = [
        lab.spec("sh", "-c", "ip -o -4 addr show eth0; sleep 0.3", network=NetworkMode.PRIVATE)
        for _ in range(6)
    ]
    results = await asyncio.gather(*(run(linux, spec) for spec in specs))
    assert len({result.out.split()[3] for result in results}) == 6


@pytest.mark.usefixtures("bridge")
async def test_private_network_opens_low_ports_to_everybody(linux: LinuxSandbox, lab: Lab) -> None:
    """In its own network a user other than root may ping and listen on port 80."""
    script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range"
    result = await shell(linux, lab, script, network=NetworkMode.PRIVATE, user="app")
    assert result.out.split() == ["0", "0", "2147483647"]


FORWARD = """
import subprocess, sys
sys.path.insert(0, sys.argv[1])
from runtime import network_bridge
subprocess.run(["iptables", "-P", "FORWARD", "DROP"], check=True)
print(network_bridge.is_let_through())
network_bridge.let_forwarded_through()
network_bridge.let_forwarded_through()
print(network_bridge.is_let_through())
listed = subprocess.run(["iptables", "-S", "FORWARD"], check=True, capture_output=True, text=True)
print(listed.stdout.count("pybuild0"))
"""


@pytest.mark.usefixtures("machine")
def test_forward_policy_is_handled() -> None:
    """On a machine that drops forwarded packets by policy, our two rules appear once, and are recognised."""
    if shutil.which("iptables") is None:
        pytest.skip("no iptables")
    done = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", FORWARD, str(REPOSITORY)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "False\nTrue\n2\n", done.stderr


async def test_hosts_and_name_servers(linux: LinuxSandbox, lab: Lab) -> None:
    """Extra hosts and name servers are where programs look for them."""
    result = await shell(
        linux,
        lab,
        "cat /etc/hosts /etc/resolv.conf",
        extra_hosts=("db:10.9.8.7",),
        dns=("192.0.2.53",),
        dns_search=("example.org",),
    )
    assert "10.9.8.7\tdb\n" in result.out
    assert result.out.endswith("nameserver 192.0.2.53\nsearch example.org\n")
