"""A registry that issues tokens, as Docker Hub does: anonymous pulls, pushes with a password."""

import json

import bcrypt
import pytest

from tests.e2e.clients import skopeo
from tests.e2e.support import start_registry


@pytest.fixture
def guarded(tmp_path):
    """A registry with one user, from which everybody may pull."""
    users = tmp_path / "htpasswd"
    users.write_text("ann:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode() + "\n")
    server = start_registry(tmp_path / "guarded", "--htpasswd", users, "--anonymous-pull")
    yield server
    server.stop()
    server.process.stderr.close()


def test_token_flow(busybox, guarded, tmp_path):
    """Without a login a push is refused and a pull works; after it both do; a wrong password is refused."""
    config = {"DOCKER_CONFIG": str(tmp_path / "docker")}
    name = f"{guarded.name}/team/app:1"
    busybox("tag", "busybox", name)

    refused = busybox("push", name, env=config, check=False)
    assert refused.returncode == 1
    assert "log in to the registry" in refused.stderr

    wrong = busybox(
        *("login", "-u", "ann", "--password-stdin", guarded.name), input=b"wrong", env=config, check=False
    )
    assert wrong.returncode == 1
    assert "wrong" not in wrong.stderr
    busybox("login", "-u", "ann", "--password-stdin", guarded.name, input=b"secret\n", env=config)
    assert guarded.name in json.loads((tmp_path / "docker" / "config.json").read_text())["auths"]
    busybox("push", name, env=config)

    busybox("rmi", name)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "Dockerfile").write_text(f"FROM {name}\nENV A=1\n")
    busybox.build(tmp_path / "c", "-t", "upon")
    assert "A=1" in busybox.image("upon")["Config"]["Env"]

    busybox("logout", guarded.name, env=config)
    assert busybox("push", name, env=config, check=False).returncode == 1


@pytest.mark.clients
def test_skopeo_logs_in(busybox, guarded):
    """A stock client gets through the same doors."""
    layout = f"oci:{busybox.root}:busybox:latest"
    target = f"docker://{guarded.name}/by-skopeo:1"

    denied = skopeo("copy", "--dest-tls-verify=false", layout, target, check=False)
    assert denied.returncode != 0
    skopeo("copy", "--dest-tls-verify=false", "--dest-creds", "ann:secret", layout, target)
    told = skopeo("inspect", "--tls-verify=false", target)
    assert json.loads(told.stdout)["Architecture"]
