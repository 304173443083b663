"""What ``--verify`` finds before a start does: settings that could not work, or that would be ignored."""

import bcrypt
import pytest

from registry.errors import InvalidConfiguration
from registry.server.configfile import load
from registry.server.preconditions import verify


@pytest.fixture
def settings(tmp_path):
    """Reads settings from a file."""
    encoded = bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode()
    (tmp_path / "users").write_text(f"ann:{encoded}\n")
    (tmp_path / "key").write_text("secret")
    (tmp_path / "issuer.json").write_text('{"keys": []}')

    def settings(text):
        path = tmp_path / "registry.toml"
        path.write_text(text)
        return load(str(path), default_root=str(tmp_path / "content"))

    return settings


RULE = '[auth]\nhtpasswd = "users"\n[[rights]]\nrepositories = "**"\nallow = ["pull"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[server]\nworkers = 2\n[[mirror]]\nprefix = "docker.io"', "mirrors need a server of one process"),
        ("[server]\nworkers = 2\n[storage]\nmemory = true", "several workers need content in a directory"),
        ("[server]\nworkers = 100000", "workers, not 100000"),
        ('[storage]\nroot = "ftp://bucket/x"', "not the URL of a bucket"),
        ('[storage]\nroot = "users"', "users is no directory"),
        ('[storage]\nroot = "users/deeper"', "users is no directory"),
        ('[bucket]\nregion = "eu"', r"\[bucket\] region has no meaning"),
        ('[bucket]\nendpoint = "https://s3.example"', r"\[bucket\] endpoint has no meaning"),
        ('[[webhooks]]\nurl = "https://a.example"\nsecret = "none"', "cannot read .*none"),
        (f'{RULE}groups = ["bilders"]\n[groups]\nbuilders = ["ann"]', "nobody is in the group bilders"),
        ('[auth]\nmode = "token"', "nobody has a password or a token"),
        ('[tls]\ncertificate = "users"\nkey = "users"', "not a usable certificate"),
    ],
)
def test_what_could_not_work(settings, text, message):
    """The place and the reason are named."""
    with pytest.raises(InvalidConfiguration, match=message):
        verify(settings(text))


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_numbers_that_are_none(settings, number):
    """Comparisons with them would let everything pass."""
    with pytest.raises(InvalidConfiguration, match="expected a number"):
        settings(f"[server]\ndrain_seconds = {number}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[server]\nworkers = 2",
        "[metrics]\nenabled = true",
        '[auth]\nmode = "token"\nanonymous_pull = true',
        "[traces]\nenabled = true",
        '[[webhooks]]\nurl = "https://a.example"\nsecret = "key"',
        f'{RULE}groups = ["builders"]\n[groups]\nbuilders = ["ann"]',
        f'{RULE}groups = ["anybody"]\n[[auth.issuers]]\nissuer = "i"\naudience = "a"\njwks = "issuer.json"',
        '[storage]\nroot = "s3://bucket/prefix"\n[bucket]\nregion = "eu"',
    ],
)
def test_what_works(settings, tmp_path, text):
    """Nothing is written."""
    before = sorted(tmp_path.iterdir())
    verify(settings(text))
    assert [path for path in sorted(tmp_path.iterdir()) if path.name != "registry.toml"] == before


def test_a_directory_that_cannot_be_written(settings, tmp_path, monkeypatch):
    """It must be writable for who runs the server, unless nothing is written."""
    monkeypatch.setattr("os.access", lambda _path, _mode: False)  # root may write everywhere
    with pytest.raises(InvalidConfiguration, match="cannot be written"):
        verify(settings(""))
    verify(settings("[server]\nread_only = true"))
