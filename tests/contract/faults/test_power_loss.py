"""The power fails after each change of a file: what was acknowledged before is there (gate 2)."""

import json

import pytest

from registry.server.store.filesystem import FilesystemStore
from tests.contract.faults.disks import ForgettingDisk
from tests.contract.faults.serving import row
from tests.contract.faults.stores import findings, manifest, push


class Story:
    """Changes of a store, and after which change of the disk each was acknowledged."""

    def __init__(self, store, disk):
        self.store = store
        self.disk = disk
        self.steps = []

    def done(self, kind, *what):
        self.steps.append((len(self.disk.states), kind, what))

    def push(self, repository, data):
        self.done("blob", repository, push(self.store, repository, data), data)

    def put(self, repository, tag, raw):
        self.store.manifests.put(repository, manifest(raw), [tag])
        self.done("tag", repository, tag, raw)

    def tell(self):
        """Every kind of change."""
        one, two = b"one" * 1000, b"two" * 1000
        self.push("a", one)
        self.push("a", two)
        first = json.dumps({"schemaVersion": 2, "config": row(one), "layers": [row(two)]}).encode()
        self.put("a", "t", first)
        self.store.blobs.mount("b", row_digest(one), "a")
        self.done("blob", "b", row_digest(one), one)
        self.push("b", two)
        second = json.dumps({"schemaVersion": 2, "config": row(one), "layers": []}).encode()
        self.put("a", "t", second)
        self.put("a", "u", first)
        self.store.settle()
        self.store.tags.delete("a", "u")
        self.done("no tag", "a", "u")
        self.store.manifests.delete("a", manifest(first).digest)
        self.done("no manifest", "a", manifest(first).digest)
        self.store.blobs.delete("b", row_digest(two))
        self.done("no blob", "b", row_digest(two))
        self.push("b", b"three" * 1000)


def row_digest(data):
    return manifest(data).digest


def check(store, steps, number):
    """Everything that was acknowledged holds; a later change may have come as well."""
    newest = {}
    for at, kind, what in steps:
        newest.setdefault((kind.removeprefix("no "), what[:2]), []).append((at, kind, what))
    for changes in newest.values():
        before = [change for change in changes if change[0] <= number]
        if not before:
            continue
        allowed = [before[-1], *changes[len(before) : len(before) + 1]]
        assert any(holds(store, kind, what) for _, kind, what in allowed), (number, before[-1])
    for repository in store.tags.repositories():
        for tag in store.tags.names(repository):
            assert store.manifests.get(repository, store.tags.get(repository, tag)), (number, tag)
    wrong = [item for item in findings(store) if "no manifest" in item.problem or "damaged" in item.problem]
    assert wrong == [], number


def holds(store, kind, what):
    repository, name, *rest = what
    if kind == "tag":
        digest = store.tags.get(repository, name)
        return digest is not None and store.manifests.get(repository, digest).raw == rest[0]
    if kind == "blob":
        file = store.blobs.open(repository, name)
        if file is None:
            return False
        with file:
            return file.read() == rest[0]
    if kind == "no tag":
        return store.tags.get(repository, name) is None
    if kind == "no manifest":
        return store.manifests.get(repository, name) is None
    return store.blobs.stat(repository, name) is None


@pytest.mark.parametrize("eager", [False, True], ids=["names and bytes", "bytes only"])
@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.long), 9])
def test_every_moment_of_a_power_failure(tmp_path, monkeypatch, every, eager, figure):
    """At each prefix of what reached the disk, acknowledged changes hold and no tag dangles."""
    root = str(tmp_path / "root")
    disk = ForgettingDisk(root)
    with monkeypatch.context() as patch:
        disk.install(patch)
        store = FilesystemStore(root)
        story = Story(store, disk)
        story.tell()
        changes = len(disk.states)
        store.close()
    moments = {number for number in range(changes) if number % every == 0}
    moments |= {at for at, _, _ in story.steps if at < changes}
    assert changes > 50
    for number in sorted(moments):
        target = str(tmp_path / f"after-{number}")
        disk.restore(number, target, eager=eager)
        again = FilesystemStore(target)
        check(again, story.steps, number)
        again.close()
    figure(2, f"{len(moments)} of {changes} moments, {'bytes' if eager else 'names and bytes'}: nothing lost")


def test_the_disk_forgets_what_was_not_flushed(tmp_path, monkeypatch):
    """Without flushes the same story loses acknowledged changes: the check can fail."""
    root = str(tmp_path / "root")
    disk = ForgettingDisk(root)
    with monkeypatch.context() as patch:
        disk.install(patch)
        patch.setattr("os.fsync", lambda _descriptor: None)
        store = FilesystemStore(root)
        story = Story(store, disk)
        story.tell()
        store.close()
    disk.restore(story.steps[-1][0] - 1, str(tmp_path / "after"), eager=True)
    again = FilesystemStore(str(tmp_path / "after"))
    with pytest.raises((AssertionError, AttributeError)):
        check(again, story.steps, story.steps[-1][0] - 1)
    again.close()
