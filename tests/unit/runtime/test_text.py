"""The three text files of a sandbox."""

import pytest

from runtime import text
from runtime.errors import SandboxError

HOST = """\
# by hand
nameserver 127.0.0.1
nameserver 10.0.0.2
nameserver ::1
search a.example b.example
options ndots:2
"""


def test_loopback_servers_are_dropped() -> None:
    """In another network namespace a server on loopback is nobody."""
    expected = "nameserver 10.0.0.2\nsearch a.example b.example\noptions ndots:2\n"
    assert text.resolv_conf(HOST, keep_loopback=False) == expected


def test_loopback_servers_stay_on_the_host_network() -> None:
    """With the machine's network its servers are all reachable."""
    assert text.resolv_conf(HOST, keep_loopback=True).splitlines()[:3] == [
        "nameserver 127.0.0.1",
        "nameserver 10.0.0.2",
        "nameserver ::1",
    ]


@pytest.mark.parametrize("host", ["", "nameserver 127.0.0.53\n", "nameserver\nnameserver nonsense\n"])
def test_fallback_servers(host: str) -> None:
    """When none is left, public ones are used."""
    expected = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
    assert text.resolv_conf(host, keep_loopback=False) == expected
    assert "8.8.8.8" not in text.resolv_conf(host, keep_loopback=True)


def test_given_values_replace() -> None:
    """What is asked for replaces lines of its kind and leaves the others."""
    made = text.resolv_conf(HOST, keep_loopback=False, dns=("1.1.1.1",), search=("x.example",))
    assert made == "nameserver 1.1.1.1\nsearch x.example\noptions ndots:2\n"
    assert "options rotate\n" in text.resolv_conf(HOST, keep_loopback=False, options=("rotate",))


def test_no_search_at_all() -> None:
    """A single dot switches search domains off, as with docker."""
    assert "search" not in text.resolv_conf(HOST, keep_loopback=False, search=(".",))


def test_stub_resolver() -> None:
    """Only a file with nothing but the local stub sends us to the one behind it."""
    assert text.only_stub_resolver("nameserver 127.0.0.53\noptions edns0\n")
    assert not text.only_stub_resolver("nameserver 127.0.0.53\nnameserver 10.0.0.1\n")
    assert not text.only_stub_resolver("")


def test_hosts() -> None:
    """Loopback names first, extras in order, the own name last."""
    made = text.hosts(
        "box", "10.1.2.3", ("db:10.9.8.7", "six=2001:db8::1", "host:host-gateway"), gateway="10.1.2.1"
    )
    assert made.startswith("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
    assert made.endswith("10.9.8.7\tdb\n2001:db8::1\tsix\n10.1.2.1\thost\n10.1.2.3\tbox\n")


@pytest.mark.parametrize(
    "entry", ["db", "db:", ":1.2.3.4", "db:example.org", "a b:1.2.3.4", "x:1.2.3.4\n5.6.7.8 y"]
)
def test_bad_extra_hosts(entry: str) -> None:
    """An entry that is not name and address is an error, so nothing can be smuggled into the file."""
    with pytest.raises(SandboxError, match="extra host"):
        text.hosts("box", "", (entry,))
