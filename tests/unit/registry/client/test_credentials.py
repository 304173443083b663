"""Docker's config.json and credential helpers, read and written as Docker does."""

import base64
import json
import os
import stat
from pathlib import Path

import pytest

from registry.client.credentials import HUB_KEY, Credentials, CredentialStore, storage_key
from registry.errors import InvalidCredentials

HELPER = """#!/bin/sh
# A credential helper that keeps each secret in a file of its folder.
dir="$HELPER_DIR"
name() { printf %s "$1" | tr '/:' '__'; }
case "$1" in
get)
  read -r server || true
  file="$dir/$(name "$server")"
  if [ -f "$file" ]; then cat "$file"; else echo "credentials not found in native keychain"; exit 1; fi ;;
store)
  input=$(cat)
  server=$(printf %s "$input" | sed 's/.*"ServerURL": "\\([^"]*\\)".*/\\1/')
  printf %s "$input" > "$dir/$(name "$server")" ;;
erase)
  read -r server || true
  rm -f "$dir/$(name "$server")" ;;
esac
"""


def encoded(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def write(path: Path, value: object) -> CredentialStore:
    path.write_text(json.dumps(value))
    return CredentialStore(str(path))


@pytest.fixture
def helper(tmp_path: Path) -> dict[str, str]:
    """An environment whose PATH has a credential helper called ``fake``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "docker-credential-fake"
    program.write_text(HELPER)
    program.chmod(0o755)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    return {"PATH": f"{folder}:/usr/bin:/bin", "HELPER_DIR": str(secrets)}


def test_absent_file_has_no_credentials(tmp_path):
    """A user who never logged in is anonymous."""
    assert CredentialStore(str(tmp_path / "none" / "config.json")).get("docker.io") is None


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("localhost:5000", "localhost:5000"),
        ("https://reg.example", "reg.example"),
        ("http://reg.example:8080/v1/", "reg.example:8080"),
        ("reg.example/v2/", "reg.example"),
    ],
)
def test_entries_are_found_under_old_and_new_keys(tmp_path, key, registry):
    """Keys of every age, with or without scheme and path, mean their host."""
    store = write(tmp_path / "c", {"auths": {key: {"auth": encoded("me", "pass:word")}}})
    assert store.get(registry) == Credentials(username="me", password="pass:word")
    assert store.get("other.example") is None


def test_exact_key_comes_before_an_older_spelling(tmp_path):
    """The key that we would write ourselves wins."""
    auths = {"https://r.example": {"auth": encoded("old", "x")}, "r.example": {"auth": encoded("new", "y")}}
    found = write(tmp_path / "c", {"auths": auths}).get("r.example")
    assert found is not None
    assert found.username == "new"


def test_port_belongs_to_the_registry(tmp_path):
    """Credentials for one port are not sent to another."""
    store = write(tmp_path / "c", {"auths": {"r.example:5000": {"auth": encoded("a", "b")}}})
    assert store.get("r.example") is None


def test_identity_and_registry_tokens_are_read(tmp_path):
    """Tokens in the file take the place of a password."""
    auths = {
        "a.example": {"auth": encoded("u", ""), "identitytoken": "idt"},
        "b.example": {"registrytoken": "rt"},
    }
    store = write(tmp_path / "c", {"auths": auths})
    assert store.get("a.example") == Credentials(username="u", identity_token="idt")
    assert store.get("b.example") == Credentials(registry_token="rt")


def test_password_loses_its_nul_padding(tmp_path):
    """Old clients padded passwords with NUL bytes."""
    store = write(tmp_path / "c", {"auths": {"r.example": {"auth": encoded("u", "p\0\0")}}})
    assert store.get("r.example") == Credentials(username="u", password="p")


def test_placeholder_of_a_helper_is_no_credential(tmp_path):
    """Docker leaves an empty entry in the file for what a helper keeps."""
    assert write(tmp_path / "c", {"auths": {"r.example": {}}}).get("r.example") is None


@pytest.mark.parametrize(
    "text",
    [
        "{secret",
        "[]",
        '{"auths": []}',
        '{"auths": {"r.example": {"auth": "!!secret"}}}',
        '{"auths": {"r.example": {"auth": "c2VjcmV0"}}}',
        '{"auths": {"r.example": "secret"}}',
    ],
)
def test_broken_file_is_named_without_its_secrets(tmp_path, text):
    """The message says which file is broken and shows nothing of it."""
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(InvalidCredentials) as caught:
        CredentialStore(str(path)).get("r.example")
    assert str(path) in caught.value.message
    assert "secret" not in caught.value.message.removeprefix(str(path))
    assert caught.value.__cause__ is None


def test_repr_shows_no_secret():
    """Credentials can be logged by accident without harm."""
    text = repr(Credentials(username="me", password="S1", identity_token="S2", registry_token="S3"))
    assert "me" in text
    assert not any(secret in text for secret in ("S1", "S2", "S3"))


def test_stored_credentials_come_back_and_others_survive(tmp_path):
    """Storing replaces all spellings of the registry and keeps what we do not know."""
    path = tmp_path / "deep" / "config.json"
    path.parent.mkdir()
    path.write_text(
        json.dumps(
            {
                "auths": {
                    "https://index.docker.io/v1/": {"auth": encoded("old", "x")},
                    "docker.io": {},
                    "o.example": {"auth": "YTpi"},
                },
                "psFormat": "table",
                "HttpHeaders": {"X": "y"},
            }
        )
    )
    store = CredentialStore(str(path))
    store.store("docker.io", Credentials(username="me", password="new"))
    value = json.loads(path.read_text())
    assert value == {
        "auths": {"o.example": {"auth": "YTpi"}, HUB_KEY: {"auth": encoded("me", "new")}},
        "psFormat": "table",
        "HttpHeaders": {"X": "y"},
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["config.json"]
    assert store.get("docker.io") == Credentials(username="me", password="new")


def test_store_makes_the_folder_and_keeps_a_link(tmp_path):
    """A linked file stays a link; a missing folder is made for its owner only."""
    real = tmp_path / "dotfiles" / "config.json"
    link = tmp_path / "config.json"
    link.symlink_to(real)
    CredentialStore(str(link)).store("r.example", Credentials(username="u", password="p"))
    assert link.is_symlink()
    assert json.loads(real.read_text())["auths"]["r.example"]
    assert stat.S_IMODE(real.parent.stat().st_mode) & 0o077 == 0


def test_erase_removes_every_spelling(tmp_path):
    """After logging out nothing of the registry is left."""
    path = tmp_path / "c"
    store = write(
        path, {"auths": {"https://r.example": {"auth": encoded("a", "b")}, "r.example": {}, "o": {}}}
    )
    assert store.erase("r.example")
    assert json.loads(path.read_text()) == {"auths": {"o": {}}}
    assert not store.erase("r.example")


def test_unwritable_folder_is_reported(tmp_path):
    """A file that cannot be written is an error that names it."""
    (tmp_path / "file").write_text("")
    store = CredentialStore(str(tmp_path / "file" / "config.json"))
    with pytest.raises(InvalidCredentials):
        store.store("r.example", Credentials(username="u", password="p"))


@pytest.mark.parametrize("member", [{"credsStore": "fake"}, {"credHelpers": {"r.example": "fake"}}])
def test_helper_keeps_credentials_out_of_the_file(tmp_path, helper, member):
    """Store, get and erase go to the helper; the file keeps an empty entry only."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(member))
    store = CredentialStore(str(path), helper)
    assert store.get("r.example") is None
    store.store("r.example", Credentials(username="me", password="hidden"))
    assert store.get("r.example") == Credentials(username="me", password="hidden")
    assert "hidden" not in path.read_text()
    assert json.loads(path.read_text())["auths"] == {"r.example": {}}
    assert store.erase("r.example")
    assert store.get("r.example") is None
    assert not store.erase("r.example")


def test_helper_of_a_registry_comes_before_the_general_one(tmp_path, helper):
    """credHelpers are more specific than credsStore, whose program may even be missing."""
    path = tmp_path / "config.json"
    path.write_text(
        json.dumps({"credsStore": "absent", "credHelpers": {"https://index.docker.io/v1/": "fake"}})
    )
    store = CredentialStore(str(path), helper)
    assert store.get("docker.io") is None
    with pytest.raises(InvalidCredentials, match="docker-credential-absent is not installed") as caught:
        store.get("r.example")
    assert caught.value.hint


def test_helper_returns_identity_tokens(tmp_path, helper):
    """The user name <token> marks an identity token, in both directions."""
    path = tmp_path / "config.json"
    path.write_text('{"credsStore": "fake"}')
    store = CredentialStore(str(path), helper)
    store.store("docker.io", Credentials(username="me", identity_token="idt"))
    assert store.get("docker.io") == Credentials(identity_token="idt")
    kept = (Path(helper["HELPER_DIR"]) / "https___index.docker.io_v1_").read_text()
    assert '"Username": "<token>"' in kept


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo no json", "did not print JSON"),
        ("echo []", "JSON object"),
        ("echo secret; echo locked >&2; exit 3", "locked"),
    ],
)
def test_failing_helper_is_reported_without_its_output(tmp_path, helper, script, says):
    """What a failing helper printed may be a secret; what it complained about is shown."""
    program = Path(helper["PATH"].split(":")[0]) / "docker-credential-fake"
    program.write_text(f"#!/bin/sh\n{script}\n")
    path = tmp_path / "config.json"
    path.write_text('{"credsStore": "fake"}')
    with pytest.raises(InvalidCredentials, match=says) as caught:
        CredentialStore(str(path), helper).get("r.example")
    assert "secret" not in caught.value.message


def test_helper_name_cannot_be_a_path(tmp_path, helper):
    """A configuration file cannot make us run a program outside of PATH."""
    path = tmp_path / "config.json"
    path.write_text('{"credsStore": "../../evil"}')
    with pytest.raises(InvalidCredentials, match="invalid name"):
        CredentialStore(str(path), helper).get("r.example")


def test_storage_key_of_the_hub():
    """Docker Hub has a key of its own, other registries are their own key."""
    assert storage_key("docker.io") == HUB_KEY
    assert storage_key("localhost:5000") == "localhost:5000"
