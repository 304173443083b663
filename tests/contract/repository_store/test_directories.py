"""What only a directory promises."""

import json
import os

import pytest

from registry.errors import InvalidConfiguration
from registry.server.store.filesystem import FilesystemStore
from tests.contract.repository_store.storing import DATA, D, manifest, push, read


@pytest.fixture
def root(tmp_path):
    return str(tmp_path / "root")


def test_one_process_uses_a_directory(root):
    """A second registry is refused with the reason, and may come after the first one."""
    first = FilesystemStore(root)
    with pytest.raises(InvalidConfiguration, match="another registry"):
        FilesystemStore(root)
    first.close()
    FilesystemStore(root).close()


def test_an_unusable_directory_is_refused(tmp_path):
    """A file is no root."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidConfiguration, match="cannot use"):
        FilesystemStore(str(tmp_path / "file"))


def test_a_damaged_manifest_is_put_aside(root):
    """It is not served, its tag leads nowhere, and a push repairs it."""
    store = FilesystemStore(root)
    made = manifest(b'{"a": 1}')
    store.manifests.put("a", made, ["t"])
    path = store.layout.member("a", "manifests", made.digest)
    with open(path, "r+b") as file:
        file.seek(-1, 2)
        file.write(b"]")
    assert store.manifests.get("a", made.digest) is None
    assert store.tags.get("a", "t") is None
    assert len(os.listdir(f"{root}/quarantine")) == 1
    store.manifests.put("a", made)
    assert store.manifests.get("a", made.digest) == made
    assert store.tags.get("a", "t") == made.digest
    store.close()


@pytest.mark.parametrize("content", [b"", b"{}\n", b"[]\n{}", b'{"descriptor": 5}\n{}', b"\xff\n{}"])
def test_a_broken_record_is_no_manifest(root, content):
    """Whatever is in the file, there is no exception."""
    store = FilesystemStore(root)
    store.manifests.put("a", manifest(), ["t"])
    with open(store.layout.member("a", "manifests", manifest().digest), "wb") as file:
        file.write(content)
    assert store.manifests.get("a", manifest().digest) is None
    store.close()


@pytest.mark.parametrize("content", [b"", b"sha256:zz", b"\xff" * 80, str(D).encode()])
def test_a_broken_tag_is_no_tag(root, content):
    """A tag file with other content, or for a manifest that is gone, stands for nothing."""
    store = FilesystemStore(root)
    store.manifests.put("a", manifest(), ["t"])
    with open(f"{root}/repositories/a/tags/t", "wb") as file:
        file.write(content)
    assert store.tags.get("a", "t") is None
    store.close()


def test_a_push_repairs_damaged_content(root):
    """The same blob pushed again takes the place of what is there, whatever that is."""
    store = FilesystemStore(root)
    push(store, "a")
    path = store.layout.blob(D)
    os.chmod(path, 0o644)
    with open(path, "wb"):
        pass
    push(store, "b")
    assert read(store, "a", D) == DATA
    store.close()


def test_planted_links_are_not_followed(root, tmp_path):
    """A symbolic link in place of a file of ours leads nowhere."""
    (tmp_path / "secret").write_bytes(DATA)
    store = FilesystemStore(root)
    push(store, "a")
    store.manifests.put("a", manifest(), ["t"])
    for path in (store.layout.blob(D), f"{root}/repositories/a/tags/t"):
        os.unlink(path)
        os.symlink(tmp_path / "secret", path)
    with pytest.raises(Exception, match="storage") as caught:
        store.blobs.open("a", D)
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(Exception, match="storage"):
        store.tags.get("a", "t")
    store.close()


def test_left_over_files_are_removed(root):
    """What a crash left half written is gone after the start; strange files among uploads are ignored."""
    FilesystemStore(root).close()
    with open(f"{root}/incoming/x", "w"), open(f"{root}/uploads/strange", "w"):
        pass
    os.mkdir(f"{root}/uploads/a")
    with open(f"{root}/uploads/a/not-an-upload", "w"):
        pass
    store = FilesystemStore(root)
    assert os.listdir(f"{root}/incoming") == []
    assert store.uploads.count() == 0
    store.close()


def test_names_of_full_length_fit(root):
    """255 characters, with any number of components, are one directory."""
    store = FilesystemStore(root)
    name = ("a/" * 127) + "a"
    assert len(name) == 255
    push(store, name)
    store.manifests.put(name, manifest(), ["t" * 128])
    store.uploads.create(name)
    assert list(store.tags.repositories()) == [name]
    assert list(store.tags.names(name)) == ["t" * 128]
    store.close()


def test_changes_are_flushed(root, monkeypatch):
    """Each of blob, manifest and tag is flushed itself, and so is its directory, before it is answered."""
    store = FilesystemStore(root)
    push(store, "a", b"first")
    store.manifests.put("a", manifest(b"first"), ["first"])
    flushed = []
    fsync = os.fsync

    def record(descriptor):
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(root))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    push(store, "a")
    assert any(path.startswith("/uploads/a/") for path in flushed)
    assert f"/blobs/sha256/{D.hex[:2]}" in flushed
    assert "/repositories/a/blobs/sha256" in flushed
    flushed.clear()
    store.manifests.put("a", manifest(b"second"), ["second"])
    incoming = [path for path in flushed if path.startswith("/incoming/")]
    assert len(incoming) == 2
    assert flushed[-1] == "/repositories/a/tags"
    assert "/repositories/a/manifests/sha256" in flushed
    store.close()


def test_the_record_of_a_manifest_is_one_line_of_json_before_its_bytes(root):
    """The form on disk is documented, so that other tools can read it."""
    store = FilesystemStore(root)
    made = manifest(b'{"x": 1}', D)
    store.manifests.put("a", made)
    with open(store.layout.member("a", "manifests", made.digest), "rb") as file:
        line, raw = file.readline(), file.read()
    assert raw == made.raw
    assert json.loads(line)["subject"] == str(D)
    store.close()
