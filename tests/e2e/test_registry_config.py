"""The settings of a registry, as an administrator meets them on the command line."""

import json
import subprocess
import sys
import urllib.error
import urllib.request

import bcrypt
import pytest

from tests.e2e.support import ROOT, Pybuild, Server, free_port


@pytest.fixture
def command(tmp_path):
    return Pybuild(tmp_path / "store")


def test_a_file_is_verified(command, tmp_path):
    """Also what it names; the status tells scripts."""
    path = tmp_path / "registry.toml"
    path.write_text('[auth]\nhtpasswd = "users"\n')
    refused = command("registry", "--config", path, "--verify", check=False)
    assert refused.returncode != 0
    assert f"cannot read {tmp_path}/users" in refused.stderr
    (tmp_path / "users").write_text("ann:" + bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode() + "\n")
    assert command("registry", "--config", path, "--verify").stdout == f"{path}: ok\n"
    path.write_text("[server]\nlissen = 1\n")
    refused = command("registry", "--config", path, "--verify", check=False)
    assert refused.returncode != 0
    assert "there is no setting lissen" in refused.stderr
    assert "did you mean listen?" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "store" / "registry").exists()


def test_the_schema_is_printed(command):
    """As JSON that editors read."""
    assert "server" in json.loads(command("registry", "--schema").stdout)["properties"]


def test_a_server_follows_its_file_and_its_environment(tmp_path):
    """Rights of the file hold; the variable decides about the port."""
    (tmp_path / "users").write_text("ann:" + bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode() + "\n")
    (tmp_path / "registry.toml").write_text(
        '[server]\nlisten = "127.0.0.1:1"\n'
        '[storage]\nroot = "content"\n'
        '[auth]\nhtpasswd = "users"\n'
        '[[rights]]\nrepositories = "**"\nallow = ["admin"]\nusers = ["ann"]\n'
    )
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "builder", "registry", "--config", tmp_path / "registry.toml"],
        env={
            "PYTHONPATH": str(ROOT),
            "PYBUILD_REGISTRY_SERVER_LISTEN": f"127.0.0.1:{port}",
            "HOME": "/nowhere",
        },
        stderr=subprocess.PIPE,
    )
    line = process.stderr.readline()
    server = Server(process, port, tmp_path)
    try:
        assert f"serving {tmp_path}/content at http://127.0.0.1:{port}".encode() in line
        with (
            pytest.raises(urllib.error.HTTPError) as caught,
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=10),
        ):
            pass
        assert caught.value.code == 401
        assert "Bearer" in caught.value.headers["WWW-Authenticate"]
        caught.value.close()
    finally:
        server.stop()
        process.stderr.close()
