"""The control socket: a running server and a directory alone answer the same questions."""

import contextlib
import hashlib
import json
import os
import socket
import stat
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from registry.errors import InvalidConfiguration, RegistryError
from registry.server import control
from registry.server.config import RegistryConfig
from registry.server.embedded import Registry
from registry.server.housekeeping.maintenance import administration

ROOT = Path(__file__).parents[4]


def request(method, url, data=None, **headers):
    """Status and body; an error status is no exception here."""
    sent = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(sent, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as problem:
        with problem:
            return problem.code, problem.read()


def push_blob(url, data, repository="a"):
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    status, _ = request("POST", f"{url}/v2/{repository}/blobs/uploads/?digest={digest}", data)
    assert status == 201
    return digest


def push_image(url, repository="a", tag="1"):
    config = push_blob(url, b"{}", repository)
    kind = "application/vnd.oci.image"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": {"mediaType": f"{kind}.config.v1+json", "digest": config, "size": 2},
            "layers": [],
        }
    ).encode()
    sent = {"Content-Type": f"{kind}.manifest.v1+json"}
    assert request("PUT", f"{url}/v2/{repository}/manifests/{tag}", manifest, **sent)[0] == 201
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


@pytest.fixture
def root(tmp_path):
    """Deeper than the longest address of a socket."""
    path = tmp_path / ("deep" * 30)
    path.mkdir()
    return str(path)


@pytest.fixture
def served(root):
    with Registry(
        RegistryConfig(port=0, root=root, drain_seconds=0.2, gc_grace=0.0, gc_undelete=60.0)
    ) as url:
        yield url


def test_a_running_server_collects_when_it_is_asked(served, root):
    """A dry run says what goes, the collection takes it, and the server stops to serve it at once."""
    digest = push_blob(served, b"nobody needs this")
    kept = push_image(served)
    with administration(root) as ask:
        said = ask("gc", dry_run=True)
        assert {item["digest"] for item in said["deletions"] if item["kind"] == "blob"} == {digest}
        assert request("HEAD", f"{served}/v2/a/blobs/{digest}")[0] == 200
        assert "goes with the next collection" in ask("explain", digest=digest, grace=0.0)["lines"][0]
        assert "kept as a manifest" in ask("explain", digest=kept)["lines"][0]
        assert ask("gc", grace=3600.0)["deletions"] == []
        gone = ask("gc")
        assert digest in {item["digest"] for item in gone["deletions"]}
        assert request("HEAD", f"{served}/v2/a/blobs/{digest}")[0] == 404
        assert ask("undelete", digest=digest)["lines"] == [f"a: blob {digest}"]
    assert request("GET", f"{served}/v2/a/blobs/{digest}") == (200, b"nobody needs this")


def test_a_running_server_finds_damaged_content(served, root):
    """What a scrub found is not served, although it was verified a moment ago."""
    data = bytes(300 * 1024)
    digest = push_blob(served, data)
    assert request("GET", f"{served}/v2/a/blobs/{digest}")[0] == 200
    (content,) = Path(root).glob("blobs/sha256/*/*")
    content.chmod(0o644)
    content.write_bytes(b"x" + data[1:])
    with administration(root) as ask:
        assert ask("scrub")["damaged"] == {digest: ["a"]}
    assert request("GET", f"{served}/v2/a/blobs/{digest}")[0] == 404


def test_a_running_server_becomes_read_only(served, root):
    """Pushes are refused, pulls are not, until it is switched back."""
    digest = push_blob(served, b"x")
    with administration(root) as ask:
        assert ask("readonly") == {"read_only": False}
        assert ask("readonly", value=True) == {"read_only": True}
        assert request("POST", f"{served}/v2/a/blobs/uploads/")[0] == 405
        assert request("GET", f"{served}/v2/a/blobs/{digest}")[0] == 200
        assert ask("status")["read_only"] is True
        ask("readonly", value=False)
    assert request("POST", f"{served}/v2/a/blobs/uploads/")[0] == 202


def test_a_running_server_removes_a_repository(served, root):
    """Its manifest was in the server's memory, and is not served any more."""
    push_image(served)
    assert request("GET", f"{served}/v2/a/manifests/1")[0] == 200
    with administration(root) as ask:
        ask("rm", repository="a")
        with pytest.raises(RegistryError, match="no repository a"):
            ask("rm", repository="a")
        with pytest.raises(RegistryError, match="no repository"):
            ask("rm", repository="../../etc")
    assert request("GET", f"{served}/v2/a/manifests/1")[0] == 404


def test_what_a_running_server_refuses(served, root):
    """Each refusal says why, and the connection goes on."""
    with administration(root) as ask:
        with pytest.raises(RegistryError, match="no server may use the directory") as caught:
            ask("fsck", repair=False)
        assert "stop the server" in caught.value.hint
        with pytest.raises(RegistryError, match="does not know 'dance'"):
            ask("dance")
        with pytest.raises(RegistryError, match="digest"):
            ask("explain", digest="nonsense")
        status = ask("status")
    assert status["state"] == "serving"
    assert status["pid"] == os.getpid()


def test_the_same_questions_without_a_server(root):
    """The directory answers by itself, but for what only a server can do."""
    with Registry(RegistryConfig(port=0, root=root, drain_seconds=0.2)) as url:
        digest = push_image(url)
    with administration(root) as ask:
        assert ask("status")["state"] == "stopped"
        assert ask("status")["manifests"] == 1
        assert "kept as a manifest" in ask("explain", digest=digest)["lines"][0]
        assert ask("fsck", repair=False) == {"findings": []}
        with pytest.raises(RegistryError, match="no server uses this directory"):
            ask("readonly", value=True)


def test_only_the_owner_may_ask(served, root):
    """The socket has no rights for others, and the kernel is asked who is there."""
    path = f"{root}/{control.NAME}"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    one, other = socket.socketpair()
    with one, other:
        assert control.is_trusted(one)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_else_is_refused_even_through_an_open_door(served, root):
    """Rights of the file are not the only lock."""
    path = f"{root}/{control.NAME}"
    os.chmod(path, 0o666)
    program = """
import os, socket, sys
directory = os.open(sys.argv[1], os.O_PATH)
os.setresuid(65534, 65534, 65534)
connection = socket.socket(socket.AF_UNIX)
connection.connect(f"/proc/self/fd/{directory}/control")
connection.settimeout(5)
print(connection.recv(4096))
"""
    done = subprocess.run([sys.executable, "-c", program, root], capture_output=True, text=True, check=False)
    assert "somebody else" in done.stdout, done.stderr
    os.chmod(path, 0o600)
    done = subprocess.run([sys.executable, "-c", program, root], capture_output=True, text=True, check=False)
    assert "PermissionError" in done.stderr


def test_a_server_that_was_killed_leaves_no_obstacle(root):
    """Its socket is there, and nobody listens."""
    listener = socket.socket(socket.AF_UNIX)
    directory = os.open(root, os.O_PATH)
    listener.bind(f"/proc/self/fd/{directory}/{control.NAME}")
    os.close(directory)
    listener.close()
    assert control.connect(root) is None
    with Registry(RegistryConfig(port=0, root=root, drain_seconds=0.2)), administration(root) as ask:
        assert ask("status")["state"] == "serving"
    assert not os.path.exists(f"{root}/{control.NAME}")


@pytest.mark.parametrize(
    "sent",
    [struct.pack("!II", 2**32 - 1, 0), struct.pack("!II", 3, 0) + b"{x}", struct.pack("!II", 2, 0) + b"[]"],
)
def test_what_is_no_message_ends_the_connection(served, root, sent):
    """And nothing else: the next one is answered."""
    connection = control.connect(root)
    with connection, contextlib.suppress(ConnectionError):
        connection.sendall(sent)
        assert connection.recv(100) == b""
    with administration(root) as ask:
        assert ask("status")["state"] == "serving"


def test_a_server_without_a_socket_is_not_disturbed(root):
    """An older one, which holds the lock: the question is refused with what to do."""
    with Registry(RegistryConfig(port=0, root=root, drain_seconds=0.2)):
        os.unlink(f"{root}/{control.NAME}")
        with pytest.raises(InvalidConfiguration, match="another registry uses"), administration(root):
            pass
