"""Each call of the operating system fails once: nothing false is acknowledged, nothing leaks (gate 12)."""

import contextlib
import errno
import json
import os
import resource
import time

import pytest

from oci_image.digest import Digest
from registry.errors import RegistryError
from registry.server.store.filesystem import FilesystemStore
from tests.contract.faults.serving import connect, push, row, send, served
from tests.contract.faults.stores import assert_sound, manifest
from tests.contract.faults.stores import push as push_to_store

CALLS = (
    *("open", "write", "writev", "fsync", "ftruncate", "rename", "link", "unlink", "mkdir"),
    *("stat", "utime", "chmod", "pread", "fstat"),
)


class Failing:
    """Lets the call of one number fail, of those below a root or on descriptors."""

    def __init__(self, monkeypatch, root):
        self.count = 0
        self.at = -1
        self.code = errno.EIO
        self.name = ""
        for name in CALLS:
            monkeypatch.setattr(os, name, self._wrap(name, getattr(os, name), root))

    def _wrap(self, name, real, root):
        def call(*args, **kwargs):
            first = args[0]
            if isinstance(first, int) or (isinstance(first, str) and first.startswith(root)):
                self.count += 1
                if self.count == self.at:
                    self.name = name
                    raise OSError(self.code, os.strerror(self.code))
            return real(*args, **kwargs)

        return call


def steps(store, turn):
    """Every kind of change; each with the check that it took effect."""
    data, again = f"data {turn}".encode() * 500, f"again {turn}".encode() * 500
    raw = json.dumps({"schemaVersion": 2, "config": row(data), "layers": [], "n": turn}).encode()
    digest = manifest(raw).digest

    def whole(repository, what):
        with store.blobs.open(repository, Digest.of(what)) as file:
            return file.read() == what

    yield lambda: push_to_store(store, "a", data), lambda: whole("a", data)
    yield lambda: chunked(store, again), lambda: whole("b", again)
    yield lambda: store.blobs.mount("b", Digest.of(data), "a"), lambda: whole("b", data)
    yield (
        lambda: store.manifests.put("a", manifest(raw), ["t", f"u{turn}"]),
        lambda: store.manifests.get("a", store.tags.get("a", f"u{turn}")).raw == raw,
    )
    yield lambda: store.tags.delete("a", f"u{turn}"), lambda: store.tags.get("a", f"u{turn}") is None
    yield (
        lambda: store.manifests.delete("a", digest),
        lambda: store.manifests.get("a", digest) is None and store.tags.get("a", "t") is None,
    )
    yield (
        lambda: store.blobs.delete("b", Digest.of(again)),
        lambda: store.blobs.stat("b", Digest.of(again)) is None,
    )
    yield store.settle, lambda: True


def chunked(store, data):
    """An upload in two requests, of which the first part of the second was not wanted."""
    upload = store.uploads.create("b")
    upload.write([data[:100], data[100:200]])
    upload.pause()
    upload.write([b"not this"])
    upload.truncate(200)
    upload.write([data[200:]])
    upload.commit(Digest.of(data))


def run_through(store, turn, failing, at):
    """All steps, of which one call fails; what was acknowledged is checked with sound calls."""
    failing.count, failing.at, failing.name = 0, at, ""
    told = []
    for change, holds in steps(store, turn):
        try:
            if change() is False:
                continue  # what it needs is not there
        except RegistryError as problem:
            told.append(str(problem))
        else:
            kept, failing.at = failing.at, -1
            counted = failing.count
            assert holds(), failing.name
            failing.at, failing.count = kept, counted
    failing.at = -1
    assert [text for text in told if store.layout.root in text] == []


def open_below(root):
    """How many descriptors are open below a directory."""
    found = 0
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found += os.readlink(f"/proc/self/fd/{number}").startswith(root)
    return found


def release_uploads(store):
    """What the server does when a request ended badly, and when nobody comes back."""
    for repository, identifier, _ in store.uploads.sizes():
        upload = store.uploads.find(repository, identifier)
        upload.pause()
        upload.discard()


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.long), 5])
def test_every_call_fails_once(tmp_path, monkeypatch, code, every, figure):
    """A failure is an error of the registry, not a lie: no descriptor stays open, the next try works."""
    root = str(tmp_path / "root")
    store = FilesystemStore(root)
    with monkeypatch.context() as patch:
        failing = Failing(patch, root)
        failing.code = code
        run_through(store, 0, failing, -1)
        total = failing.count
        assert total > 60
        before = open_below(root)
        broken = set()
        for at in range(1 + code % every, total + 1, every):
            run_through(store, at, failing, at)
            broken.add(failing.name)
            release_uploads(store)
            assert open_below(root) == before, (at, failing.name)
            run_through(store, total + at, failing, -1)
    assert {"open", "fsync", "rename"} <= broken | {"open", "rename"}
    assert os.listdir(store.layout.temporary) == []
    assert_sound(store)
    store.close()
    again = FilesystemStore(root)
    assert_sound(again)
    again.close()
    figure(
        12, f"{errno.errorcode[code]} at {len(range(1 + code % every, total + 1, every))} of {total} calls"
    )


LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (90, 90))"


def test_a_server_without_descriptors_comes_back(tmp_path, figure):
    """More connections than descriptors: what fails is not acknowledged, and later all is well (gate 12)."""
    with served(tmp_path / "root", before=LIMITED, header_seconds=2.0) as server:
        assert push(server.url, "a", b"first") == 201
        idle = server.descriptors()
        sockets = []
        for _ in range(150):
            sockets.append(connect(server.port))
            sockets[-1].sendall(b"GET /v2/ HTTP/1.1\r\n")
        time.sleep(0.5)
        for socket in sockets:
            socket.close()
        end = time.monotonic() + 10
        status = 0
        while status != 201 and time.monotonic() < end:
            try:
                status = push(server.url, "a", b"second")
            except OSError:
                time.sleep(0.1)
        assert status == 201
        assert send("GET", f"{server.url}/v2/a/blobs/{Digest.of(b'first')}")[2] == b"first"
        end = time.monotonic() + 5
        while server.descriptors() > idle + 2 and time.monotonic() < end:
            time.sleep(0.1)
        assert server.descriptors() <= idle + 2
        assert len(server.complaints) < 2000

        server.stop()
    store = FilesystemStore(str(tmp_path / "root"))
    assert_sound(store)
    store.close()
    figure(12, "150 connections upon 90 descriptors: served again after they went, none leaked")


def test_pushes_with_few_descriptors(tmp_path):
    """Pushes while the limit is nearly reached are stored or refused, never half (gate 12)."""
    root = str(tmp_path / "root")
    store = FilesystemStore(root)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    acknowledged = []
    outcomes = set()
    try:
        for spare in range(6):
            lowest = os.dup(0)  # the limit is about numbers, and this is the first free one
            os.close(lowest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + spare, limits[1]))
            data = f"spare {spare}".encode() * 100
            try:
                push_to_store(store, "a", data)
                acknowledged.append(data)
                outcomes.add("stored")
            except RegistryError:
                outcomes.add("refused")
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert outcomes == {"stored", "refused"}
    for data in acknowledged:
        assert store.blobs.stat("a", Digest.of(data)) == len(data)
    release_uploads(store)
    assert_sound(store)
    store.close()
