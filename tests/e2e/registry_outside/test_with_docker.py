"""A stock dockerd and its command line."""

import base64
import json
import os

import bcrypt
import pytest

from registry.protocol import tokens
from tests.e2e.clients import Docker
from tests.e2e.registry_outside.images import SECRET, USER, V2S2, archive, assert_whole
from tests.e2e.support import missing, start_registry

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("outside-docker")]


@pytest.fixture(scope="module")
def docker(home):
    """A real dockerd."""
    if os.geteuid() != 0:
        missing("root", "not root")
    folder = home / "docker"
    folder.mkdir()
    client = Docker(folder).start()
    yield client
    client.stop()


def import_image(docker, home, name):
    tar = home / f"{name}.tar"
    tar.write_bytes(archive(name))
    return docker("import", tar, f"{name}:latest").stdout.strip()


def test_docker_pushes_and_pulls(docker, server, home):
    """Push, push of a second tag and to a second repository, remove, pull: the same image."""
    image = import_image(docker, home, "one")
    names = [f"{server.name}/docker/{name}" for name in ("app:1", "app:2", "copy:1")]
    for name in names:
        docker("tag", "one", name)
        docker("push", name)
    assert_whole(server, "docker/app", "1")
    assert_whole(server, "docker/copy", "1")
    assert server.get("/v2/docker/app/manifests/1") == server.get("/v2/docker/app/manifests/2")
    docker("rmi", "--force", image)
    docker("pull", names[0])
    assert docker("images", "--no-trunc", "-q", names[0]).stdout.strip() == image
    assert "exists" in docker("push", names[0]).stdout
    told = json.loads(docker("manifest", "inspect", "--insecure", names[0]).stdout)
    assert told["mediaType"] == V2S2


def test_docker_logs_in(docker, guarded, home):
    """Without a password nothing, with it everything, after the logout nothing again."""
    import_image(docker, home, "secret")
    name = f"{guarded.name}/docker/secret:1"
    docker("tag", "secret", name)
    assert docker("push", name, check=False).returncode != 0
    wrong = docker("login", "-u", USER, "-p", "wrong", guarded.name, check=False)
    assert wrong.returncode != 0
    docker("login", "-u", USER, "--password-stdin", guarded.name, input=SECRET)
    docker("push", name)
    docker("rmi", name)
    docker("pull", name)
    docker("logout", guarded.name)
    assert docker("pull", name, check=False).returncode != 0


@pytest.fixture
def refreshing(home):
    """Our registry, which gives out tokens, and refresh tokens in place of passwords."""
    key = home / "signing.pem"
    key.write_bytes(tokens.key_pem(tokens.generate_key()))
    users = home / "users"
    users.write_text(f"{USER}:{bcrypt.hashpw(SECRET.encode(), bcrypt.gensalt(4)).decode()}\n")
    settings = home / "refreshing.toml"
    settings.write_text(f'[auth]\nhtpasswd = "{users}"\nkey = "{key}"\nrefresh_lifetime = 3600\n')
    registry = start_registry(home / "refreshing", "--config", settings)
    yield registry
    registry.stop()
    registry.process.stderr.close()


def test_docker_keeps_no_password(docker, refreshing, home):
    """After a login it has a token that opens nothing by itself, and works with that."""
    import_image(docker, home, "kept")
    name = f"{refreshing.name}/docker/kept:1"
    docker("tag", "kept", name)
    docker("login", "-u", USER, "--password-stdin", refreshing.name, input=SECRET)
    entry = json.loads((docker.folder / "config" / "config.json").read_text())["auths"][refreshing.name]
    assert base64.b64decode(entry["auth"]).decode() == f"{USER}:"
    assert entry["identitytoken"].startswith("eyJ")
    docker("push", name)
    docker("rmi", name)
    docker("pull", name)
    docker("logout", refreshing.name)
    assert docker("pull", name, check=False).returncode != 0
