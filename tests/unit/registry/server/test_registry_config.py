"""Settings are complete and checked before a server starts."""

import pytest

from registry.errors import InvalidConfiguration
from registry.server.config import AnonymousAuth, RegistryConfig, TokenAuth


def test_the_defaults_are_usable():
    """A registry without any settings listens on the loopback address, for everybody there."""
    config = RegistryConfig()
    assert config.host == "127.0.0.1"
    assert config.auth == AnonymousAuth()
    assert config.delete_enabled
    assert not config.read_only


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"port": -1}, "port"),
        ({"port": 65536}, "port"),
        ({"manifest_limit": 1000}, "4 MiB"),
        ({"page_limit": 0}, "at least 1"),
        ({"max_uploads": 0}, "at least 1"),
        ({"max_uploads_per_caller": 0}, "at least 1"),
        ({"drain_seconds": -1}, "negative"),
        ({"upload_idle_seconds": -1}, "negative"),
        ({"header_seconds": 0}, "no time"),
        ({"stall_seconds": 0}, "no time"),
    ],
)
def test_impossible_settings_are_refused(settings, reason):
    """The message names what is wrong."""
    with pytest.raises(InvalidConfiguration, match=reason):
        RegistryConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"lifetime": 59}, "60 seconds"),
        ({"refresh_lifetime": 60}, "outlives the server"),
        ({"refresh_lifetime": 60, "htpasswd": "users"}, "outlives the server"),
        ({"refresh_lifetime": 60, "key": "key.pem"}, "users with passwords"),
    ],
)
def test_impossible_tokens_are_refused(settings, reason):
    """They would be useless before their time."""
    with pytest.raises(InvalidConfiguration, match=reason):
        TokenAuth(**settings)
