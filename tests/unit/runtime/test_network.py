"""The network: which one, which subnet, which address."""

import ipaddress
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import network
from runtime.bridge import Bridge, choose_subnet, default_device, used_networks
from runtime.errors import NotPermitted, SandboxError
from runtime.namespaces import IdMap
from runtime.spec import NetworkMode

ROUTES = (
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    "docker0\t0000C90A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
)
USER = IdMap(kind="subid", size=65537, groups=65537, setgroups=True)


def test_routes_are_read() -> None:
    """Addresses of /proc/net/route are little endian; the default route is no network in use."""
    assert used_networks(ROUTES) == [
        ipaddress.IPv4Network("192.0.2.0/24"),
        ipaddress.IPv4Network("10.201.0.0/16"),
    ]
    assert default_device(ROUTES) == "eth0"
    assert default_device("") == ""


@given(st.lists(st.integers(0, 0xFFFF), max_size=20))
def test_subnet_avoids_what_is_used(numbers: list[int]) -> None:
    """The subnet chosen overlaps no route."""
    used = [ipaddress.IPv4Network((0x0A000000 | number << 8, 24)) for number in numbers]
    chosen = choose_subnet(used)
    assert not any(chosen.overlaps(other) for other in used)


def test_subnet_of_a_busy_machine() -> None:
    """10.201 in use moves on to the next; everything in use is an error with a way out."""
    assert choose_subnet(used_networks(ROUTES)) == ipaddress.IPv4Network("10.202.0.0/22")
    with pytest.raises(SandboxError) as caught:
        choose_subnet([ipaddress.IPv4Network("0.0.0.0/0")])
    assert caught.value.hint


def test_choice_of_an_ordinary_user() -> None:
    """In a user namespace the default is the machine's network; a private one is refused with a remedy."""
    mode, reason = network.choose_network(None, id_map=USER)
    assert mode is NetworkMode.HOST
    assert "root" in reason
    assert network.choose_network(NetworkMode.NONE, id_map=USER)[0] is NetworkMode.NONE
    with pytest.raises(NotPermitted) as caught:
        network.choose_network(NetworkMode.PRIVATE, id_map=USER)
    assert caught.value.remedy


def bridge(prefix: int = 22) -> Bridge:
    subnet = ipaddress.IPv4Network(f"10.201.0.0/{prefix}")
    return Bridge(interface=7, network=subnet, gateway="10.201.0.1", mtu=1400)


def test_leases_differ_and_return_late(tmp_path: Path) -> None:
    """Two holders never share an address, and one given back is not the next to be given."""
    first = network.lease(bridge(), str(tmp_path))
    second = network.lease(bridge(), str(tmp_path))
    assert first.address != second.address
    assert first.link()["name"] != second.link()["name"]
    assert len(first.link()["name"]) <= 15
    first.close()
    third = network.lease(bridge(), str(tmp_path))
    assert third.address not in (first.address, second.address)
    for lease in (second, third, third):
        lease.close()


def test_leases_run_out_and_come_back(tmp_path: Path) -> None:
    """A full network says so; the gateway, the network and the broadcast address are never given."""
    held = [network.lease(bridge(29), str(tmp_path)) for _ in range(5)]
    assert {lease.address for lease in held} == {f"10.201.0.{last}" for last in range(2, 7)}
    with pytest.raises(SandboxError, match="every address"):
        network.lease(bridge(29), str(tmp_path))
    held[3].close()
    again = network.lease(bridge(29), str(tmp_path))
    assert again.address == held[3].address
    for lease in (*held, again):
        lease.close()


def test_leases_end_with_their_process(tmp_path: Path) -> None:
    """A holder that dies without a word leaves nothing to clean."""
    code = (
        "import ipaddress, os\nfrom runtime import network\nfrom runtime.bridge import Bridge\n"
        "net = ipaddress.IPv4Network('10.201.0.0/30')\n"
        "b = Bridge(interface=7, network=net, gateway='10.201.0.1', mtu=1400)\n"
        f"lease = network.lease(b, {str(tmp_path)!r})\nprint(lease.address, flush=True)\nos._exit(1)\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout == "10.201.0.2\n", done.stderr
    lease = network.lease(bridge(30), str(tmp_path))
    assert lease.address == "10.201.0.2"
    lease.close()
