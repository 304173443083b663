"""Paths that lead out of the data: the operating system is never asked to open one (gate 16)."""

import json

import pytest

from tests.contract.distribution.test_names import CORPUS
from tests.contract.faults.serving import MANIFEST, connect, served

WATCH = """
import os, sysconfig
_roots = (os.path.realpath(settings["root"]), sys.prefix, sys.base_prefix, sysconfig.get_paths()["stdlib"],
          os.environ["PYTHONPATH"], "/proc/self/", "/proc/sys/kernel/random/", "/dev/null", "/etc/localtime")
_seen = os.open(settings["root"] + ".seen", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def _watch(event, arguments):
    if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.link", "os.listdir", "os.truncate"):
        for path in arguments[:2]:
            if isinstance(path, bytes):
                path = os.fsdecode(path)
            if isinstance(path, str) and "/" in path:
                clean = os.path.normpath(path)
                if ".." in path.split("/") or not clean.startswith(_roots):
                    os.write(_seen, (event + " " + path + "\\n").encode())
sys.addaudithook(_watch)
"""
MORE = [
    "/v2/a/blobs/uploads/../../../../../../etc/passwd?digest=sha256:" + "0" * 64,
    "/v2/a/blobs/uploads/%2e%2e%2f%2e%2e%2fx",
    "/v2/a/blobs/uploads/..%5c..%5cx",
    "/v2/a/blobs/uploads/" + "x" * 4096,
    "/v2/" + "a/" * 2000 + "b/tags/list",
    "/v2/a/tags/list?last=../../../etc/passwd",
    "/v2/_catalog?last=../../../../etc",
    "/v2/a/referrers/sha256:../../../../etc/passwd",
    "/v2/a/blobs/sha256:" + "0" * 62 + "..",
    "/v2/a/manifests/sha512:" + "../" * 40,
    "/v2/a/blobs/uploads/?mount=sha256:" + "0" * 64 + "&from=../../etc",
    "/v2/a/manifests/t?tag=../../../x&tag=%2e%2e",
]


def ask(port, method, path):
    body = b'{"schemaVersion":2}' if method in ("PUT", "PATCH", "POST") else b""
    head = f"{method} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: {MANIFEST}\r\n"
    with connect(port) as held:
        held.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body)
        answer = b""
        while chunk := held.recv(65536):
            answer += chunk
    return int(answer[9:12])


def test_no_path_leads_out(tmp_path, figure):
    """Whatever is asked for, nothing outside the root is opened, and nothing is an error of the server."""
    root = tmp_path / "root"
    with served(root, before=WATCH) as server:
        asked = 0
        for path in [*CORPUS, *MORE]:
            for method in ("GET", "HEAD", "PUT", "DELETE", "POST", "PATCH"):
                assert ask(server.port, method, path) < 500, (method, path)
                asked += 1
        server.stop()
    seen = (tmp_path / "root.seen").read_text()
    assert seen == ""
    figure(16, f"{asked} requests, 0 opens outside the root, 0 answers of 5xx")


def test_the_watch_sees_what_leads_out(tmp_path):
    """An address of the file system that is opened outside is seen: the check can fail."""
    before = "import os; os.makedirs(settings['root'])\n" + WATCH
    before += "open(settings['root'] + '/../beside', 'w').close()\nopen('/etc/hostname').close()\n"
    with served(tmp_path / "root", before=before):
        pass
    assert (tmp_path / "root.seen").read_text().count("open ") == 2


@pytest.mark.parametrize("place", ["repositories/a", "repositories/a/tags/t", "uploads/a"])
def test_planted_links_lead_nowhere(tmp_path, place):
    """A symbolic link in the data is not followed to what it points at."""
    root = tmp_path / "root"
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("sha256:" + "0" * 64)
    with served(root) as server:
        target = root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(secret / "file" if place.endswith("/t") else secret)
        for method, path in (
            ("GET", "/v2/a/manifests/t"),
            ("GET", "/v2/a/tags/list"),
            ("PUT", "/v2/a/manifests/t"),
            ("DELETE", "/v2/a/manifests/t"),
        ):
            assert ask(server.port, method, path) in (202, 400, 404, 500)
        server.stop()
    assert {item.name for item in secret.iterdir()} <= {"file"} or "tags" not in place
    assert json.dumps((secret / "file").read_text()).count("0") == 64
