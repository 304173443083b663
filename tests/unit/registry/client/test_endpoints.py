"""From registry names to URLs, and which URLs may follow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.client.endpoints import (
    Endpoint,
    endpoints_of,
    is_internal,
    is_loopback,
    may_carry_credentials,
    origin_of,
    printable,
    redacted,
    resolve_location,
)
from registry.client.proxies import proxy_for
from registry.errors import TransportProblem


@pytest.mark.parametrize(
    ("registry", "urls"),
    [
        ("docker.io", ["https://registry-1.docker.io"]),
        ("ghcr.io", ["https://ghcr.io"]),
        ("localhost:5000", ["http://localhost:5000", "https://localhost:5000"]),
        ("127.8.9.1:5000", ["http://127.8.9.1:5000", "https://127.8.9.1:5000"]),
        ("[::1]:5000", ["http://[::1]:5000", "https://[::1]:5000"]),
        ("reg.internal:5000", ["https://reg.internal:5000", "http://reg.internal:5000"]),
        ("10.0.0.1:5000", ["https://10.0.0.1:5000"]),
    ],
)
def test_registry_is_mapped_to_its_urls(registry, urls):
    """Loopback is plain first, named insecure registries TLS first, everything else TLS only."""
    found = endpoints_of(registry, insecure={"reg.internal:5000"})
    assert [endpoint.url for endpoint in found] == urls


def test_certificates_are_checked_unless_the_registry_is_insecure():
    """Only loopback and insecure registries may have any certificate."""
    assert endpoints_of("ghcr.io")[0].verify
    assert not endpoints_of("r.example", insecure={"r.example"})[0].verify
    assert not endpoints_of("localhost")[1].verify


def test_override_replaces_the_address():
    """A mirror or a test server can stand for a registry."""
    assert endpoints_of("docker.io", overrides={"docker.io": "http://127.0.0.1:1/"}) == (
        Endpoint("http://127.0.0.1:1"),
    )


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"]
)
def test_loopback_hosts(host):
    """All names of this machine are loopback."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["example.com", "localhost.example", "128.0.0.1", "10.0.0.1", "127.evil.example"]
)
def test_other_hosts_are_not_loopback(host):
    """Names that only look like loopback are not."""
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "host", ["10.1.1.1", "192.168.0.1", "169.254.169.254", "fe80::1", "127.0.0.1", "localhost"]
)
def test_internal_hosts(host):
    """Private and link-local addresses are internal."""
    assert is_internal(host)
    assert not is_internal("8.8.8.8")


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/v2/a/blobs/uploads/1?_state=x%2Fy%3D", "https://r.example/v2/a/blobs/uploads/1?_state=x%2Fy%3D"),
        ("https://cdn.example/b?sig=%2B", "https://cdn.example/b?sig=%2B"),
        ("2", "https://r.example/v2/a/blobs/uploads/2"),
        ("http://r.example/v2/x", "https://r.example/v2/x"),
        ("http://r.example:80/v2/x", "https://r.example/v2/x"),
    ],
)
def test_locations_are_resolved(location, url):
    """Relative and absolute forms work; a registry behind a TLS proxy keeps TLS."""
    assert resolve_location("https://r.example/v2/a/blobs/uploads/1", location) == url


@pytest.mark.parametrize(
    "location",
    [
        "http://other.example/x",
        "ftp://r.example/x",
        "file:///etc/passwd",
        "https://user@r.example/x",
        "https://169.254.169.254/latest/meta-data",
        "https://localhost:6443/",
        "https://r.example:99999/x",
    ],
)
def test_dangerous_locations_are_refused(location):
    """No step to plain HTTP elsewhere, to other schemes, or to internal addresses."""
    with pytest.raises(TransportProblem) as caught:
        origin_of(resolve_location("https://r.example/v2/", location))
    assert not caught.value.temporary


def test_internal_registries_may_refer_to_internal_addresses():
    """A registry in a private network can have its storage there."""
    assert resolve_location("https://10.0.0.1/v2/", "https://10.0.0.2/x") == "https://10.0.0.2/x"


def test_credentials_go_to_tls_loopback_and_trusted_origins():
    """A token endpoint without TLS gets no password unless it belongs to an insecure registry."""
    assert may_carry_credentials("https://auth.example/token")
    assert may_carry_credentials("http://127.0.0.1:5000/token")
    assert not may_carry_credentials("http://auth.example/token")
    assert may_carry_credentials("http://r.example/token", trusted={origin_of("http://r.example")})
    assert not may_carry_credentials("http://r.example:81/token", trusted={origin_of("http://r.example")})


def test_redacted_urls_have_no_secrets():
    """User, password and query do not get into messages."""
    assert redacted("https://u:p@r.example/a?sig=s") == "https://r.example/a?…"


@given(st.text())
def test_printable_text_is_one_bounded_line(text):
    """Whatever a registry says, a message stays one line without control characters."""
    shown = printable(text, 50)
    assert len(shown) <= 51
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("url", "no_proxy", "proxied"),
    [
        ("https://r.example/", (), True),
        ("https://localhost:5000/", (), False),
        ("http://r.example/", (), False),
        ("https://r.example/", ("*",), False),
        ("https://r.example/", ("r.example",), False),
        ("https://a.r.example/", (".r.example",), False),
        ("https://a.r.example/", ("r.example",), False),
        ("https://bar.example/", ("r.example",), True),
        ("https://10.1.2.3/", ("10.0.0.0/8",), False),
        ("https://r.example:444/", ("r.example:444",), False),
        ("https://r.example/", ("", "10.0.0.0/8"), True),
    ],
)
def test_proxy_is_chosen_by_scheme_and_exclusions(url, no_proxy, proxied):
    """Proxies are used by scheme, never for loopback or excluded hosts."""
    assert (proxy_for(url, {"https": "http://proxy:3128"}, no_proxy) is not None) is proxied
