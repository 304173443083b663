"""A registry in a process of its own, what is asked of it, and what it costs."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from oci_image.digest import Digest

SOURCES = str(Path(__file__).resolve().parents[3])
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCTETS = "application/octet-stream"
PAGE = os.sysconf("SC_PAGE_SIZE")
PROGRAM = """
import asyncio, json, sys
from registry.server.config import BasicAuth, RegistryConfig
from registry.server.serve import serve
settings = json.loads(sys.argv[1])
if "htpasswd" in settings:
    settings["auth"] = BasicAuth(htpasswd=settings.pop("htpasswd"))
exec(settings.pop("before", ""))
asyncio.run(serve(RegistryConfig(port=0, **settings), ready=lambda url: print(url, flush=True)))
"""


@dataclass
class Served:
    """A running server."""

    child: subprocess.Popen
    url: str
    errors: BinaryIO

    @property
    def complaints(self):
        return said(self.errors)

    @property
    def port(self):
        return int(self.url.rpartition(":")[2])

    def memory(self):
        """Resident bytes."""
        return int(Path(f"/proc/{self.child.pid}/statm").read_text().split()[1]) * PAGE

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.child.pid}/fd"))

    def threads(self):
        return len(os.listdir(f"/proc/{self.child.pid}/task"))

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        assert self.child.wait(30) == 0

    def kill(self):
        self.child.kill()
        self.child.wait()


@contextlib.contextmanager
def served(root, **settings):
    """A server of a directory, which is killed in the end unless it was stopped."""
    settings = {"root": str(root), "drain_seconds": 2.0, **settings}
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed below; an unread pipe would stop the server
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(settings)],
        env={"PYTHONPATH": SOURCES, "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )
    try:
        url = child.stdout.readline().strip()
        assert url, said(errors)
        yield Served(child, url, errors)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
        errors.close()


def said(errors):
    """What the server wrote to its standard error."""
    errors.seek(0)
    return errors.read().decode()


def send(method, url, body=None, headers=None):
    """Status, headers and body; an error status is no exception here."""
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as problem:
        with problem:
            return problem.code, problem.headers, problem.read()


class Session:
    """Requests over one connection, opened again when it was closed."""

    def __init__(self, url, timeout=60):
        self._address = url.removeprefix("http://")
        self._connection = http.client.HTTPConnection(self._address, timeout=timeout)

    def __call__(self, method, path, body=None, headers=None):
        for attempt in (0, 1):
            try:
                self._connection.request(method, path, body, headers or {})
                answer = self._connection.getresponse()
                return answer.status, answer.headers, answer.read()
            except (http.client.RemoteDisconnected, BrokenPipeError):
                self._connection.close()
                if attempt:
                    raise
        raise AssertionError("unreachable")

    def push(self, repository, data):
        path = f"/v2/{repository}/blobs/uploads/?digest={Digest.of(data)}"
        return self("POST", path, data, {"Content-Type": OCTETS})[0]

    def put(self, repository, reference, raw):
        return self("PUT", f"/v2/{repository}/manifests/{reference}", raw, {"Content-Type": MANIFEST})[0]

    def close(self):
        self._connection.close()


def push(url, repository, data):
    """Push a blob; the status."""
    path = f"{url}/v2/{repository}/blobs/uploads/?digest={Digest.of(data)}"
    return send("POST", path, data, {"Content-Type": OCTETS})[0]


def start(url, repository="a"):
    """Open an upload; its Location."""
    status, headers, _ = send("POST", f"{url}/v2/{repository}/blobs/uploads/", b"")
    assert status == 202
    return headers["Location"]


def row(data, media_type=OCTETS):
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}


def image(config, *layers, **members):
    """The bytes of a manifest."""
    value = {"schemaVersion": 2, "mediaType": MANIFEST, "config": row(config), "layers": [*map(row, layers)]}
    return json.dumps(value | members).encode()


def connect(port, timeout=30):
    return socket.create_connection(("127.0.0.1", port), timeout=timeout)


def percentile(times, part):
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def probe(url, stop, times):
    """Ask the simplest question again and again; the times of the answers."""
    session = Session(url)
    while not stop.is_set():
        started = time.perf_counter()
        assert session("GET", "/v2/")[0] in (200, 401)
        times.append(time.perf_counter() - started)
        stop.wait(0.01)
    session.close()


def allowed(url, seconds):
    """So many seconds, and more on a machine that is busy with other work: measured by the same question."""
    session = Session(url)
    times = []
    for _ in range(60):
        started = time.perf_counter()
        session("GET", "/v2/")
        times.append(time.perf_counter() - started)
        time.sleep(0.005)
    session.close()
    return seconds + 3 * percentile(times, 0.99)
