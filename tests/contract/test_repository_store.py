"""What every storage of a registry guarantees."""

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.errors import VerificationFailed
from registry.errors import InvalidConfiguration
from registry.server.store.base import ConditionFailed, StoredManifest, TagCondition
from registry.server.store.filesystem import FilesystemStore
from registry.server.store.memory import MemoryStore

DATA = b"some bytes"
D = Digest.of(DATA)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["memory", "filesystem"])
def store(request, tmp_path, clock):
    made = MemoryStore(clock) if request.param == "memory" else FilesystemStore(str(tmp_path / "root"), clock)
    yield made
    made.close()


def push(store, repository, data=DATA, algorithm="sha256"):
    upload = store.uploads.create(repository, algorithm)
    upload.write([data])
    upload.commit(Digest.of(data, algorithm))
    return Digest.of(data, algorithm)


def manifest(content=b"{}", subject=None, artifact_type="", annotations=None):
    descriptor = Descriptor(
        media_type="application/x",
        digest=Digest.of(content),
        size=len(content),
        artifact_type=artifact_type,
        annotations=annotations or {},
    )
    return StoredManifest(descriptor=descriptor, raw=content, subject=subject)


def read(store, repository, digest):
    with store.blobs.open(repository, digest) as file:
        return file.read()


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_committed_upload_is_a_blob_of_its_repository(store, algorithm):
    """It can be read at once, under the digest of the algorithm that was asked for, and nowhere else."""
    digest = push(store, "lib/a", algorithm=algorithm)
    assert store.blobs.stat("lib/a", digest) == len(DATA)
    assert read(store, "lib/a", digest) == DATA
    assert store.blobs.stat("lib/b", digest) is None
    assert store.blobs.open("lib/b", digest) is None
    assert store.blobs.stat("lib", digest) is None
    assert list(store.blobs.holders(digest)) == ["lib/a"]
    assert store.uploads.count() == 0


def test_the_algorithm_may_change_at_the_end(store):
    """An upload that was opened for one algorithm can be committed with another one."""
    upload = store.uploads.create("a", "sha256")
    upload.write([b"some ", b"bytes"])
    upload.commit(Digest.of(DATA, "sha512"))
    assert store.blobs.stat("a", Digest.of(DATA, "sha512")) == len(DATA)


def test_an_empty_blob(store):
    """Nothing is content as well."""
    digest = push(store, "a", b"")
    assert store.blobs.stat("a", digest) == 0
    assert read(store, "a", digest) == b""


def test_wrong_bytes_are_never_published(store):
    """A wrong digest ends the upload and leaves nothing."""
    upload = store.uploads.create("a")
    upload.write([b"other"])
    with pytest.raises(VerificationFailed):
        upload.commit(D)
    assert store.blobs.stat("a", D) is None
    assert store.uploads.find("a", upload.identifier) is None


def test_an_upload_is_found_in_its_repository_only(store):
    """The name of an upload means nothing elsewhere (G15), and nothing once it ended (G30)."""
    upload = store.uploads.create("a")
    upload.write([b"12"])
    assert store.uploads.find("a", upload.identifier).size == 2
    assert store.uploads.find("b", upload.identifier) is None
    assert store.uploads.find("a", "../../x") is None
    upload.discard()
    upload.discard()
    assert store.uploads.find("a", upload.identifier) is None


def test_truncated_bytes_are_forgotten(store):
    """What follows continues at the new end."""
    upload = store.uploads.create("a")
    upload.write([b"some junk"])
    upload.truncate(5)
    assert upload.size == 5
    upload.pause()
    upload.write([b"bytes"])
    upload.commit(D)
    assert read(store, "a", D) == DATA


def test_many_parts_are_written_in_order(store):
    """A batch may have more parts than the kernel takes at once."""
    parts = [bytes([number % 256]) * 3 for number in range(3000)]
    upload = store.uploads.create("a")
    upload.write(parts)
    upload.commit(Digest.of(b"".join(parts)))
    assert read(store, "a", Digest.of(b"".join(parts))) == b"".join(parts)


def test_idle_uploads_expire(store, clock):
    """Only those that nobody used for the time are discarded."""
    old = store.uploads.create("a")
    clock.now += 100
    young = store.uploads.create("a")
    assert store.uploads.expire(50) == 1
    assert store.uploads.find("a", old.identifier) is None
    assert store.uploads.find("a", young.identifier) is young
    clock.now += 40
    young.write([b"x"])
    young.pause()
    clock.now += 40
    assert store.uploads.expire(50) == 0


def test_mounting_shares_a_blob(store):
    """The source must have it; deleting it in one repository leaves the other one alone."""
    assert not store.blobs.mount("b", D, "a")
    push(store, "a")
    assert store.blobs.mount("b", D, "a")
    assert sorted(store.blobs.holders(D)) == ["a", "b"]
    assert store.blobs.delete("a", D)
    assert not store.blobs.delete("a", D)
    assert store.blobs.stat("a", D) is None
    assert read(store, "b", D) == DATA
    assert list(store.blobs.holders(D)) == ["b"]


def test_quarantined_content_is_gone_until_it_is_pushed_again(store):
    """No repository reads it, and one push repairs it for all."""
    push(store, "a")
    store.blobs.mount("b", D, "a")
    store.blobs.quarantine(D)
    store.blobs.quarantine(D)
    assert store.blobs.stat("a", D) is None
    assert store.blobs.open("b", D) is None
    assert list(store.blobs.holders(D)) == []
    push(store, "a")
    assert read(store, "a", D) == DATA


def test_manifests_are_kept_verbatim(store):
    """Bytes, descriptor and subject come back as they were (G19)."""
    made = manifest(b'{ "a":1 }\n \n', D, "application/art", {"k": "ä"})
    store.manifests.put("lib/a", made, ["1", "2"])
    assert store.manifests.get("lib/a", made.digest) == made
    assert store.manifests.get("lib", made.digest) is None
    assert store.tags.get("lib/a", "1") == store.tags.get("lib/a", "2") == made.digest
    assert store.tags.names("lib/a") == ["1", "2"]


def test_tags_are_sorted_by_bytes(store):
    """Upper case before lower case, as the specification's sort.Strings has it."""
    store.manifests.put("a", manifest(), ["b", "a", "B", "1", "_x", "a.b", "a-b"])
    assert list(store.tags.names("a")) == sorted(["b", "a", "B", "1", "_x", "a.b", "a-b"])


def test_tags_move(store):
    """A tag stands for what was pushed last; the former manifest stays."""
    first, second = manifest(b"1"), manifest(b"2")
    store.manifests.put("a", first, ["t"])
    store.manifests.put("a", second, ["t"])
    assert store.tags.get("a", "t") == second.digest
    assert store.manifests.get("a", first.digest) == first


def test_deleting_a_manifest_deletes_its_tags(store):
    """And only its own (G29)."""
    first, second = manifest(b"1"), manifest(b"2")
    store.manifests.put("a", first, ["x", "y"])
    store.manifests.put("a", second, ["z"])
    assert store.manifests.delete("a", first.digest)
    assert not store.manifests.delete("a", first.digest)
    assert list(store.tags.names("a")) == ["z"]
    assert store.tags.get("a", "x") is None
    assert store.tags.delete("a", "z")
    assert not store.tags.delete("a", "z")
    assert list(store.tags.names("a")) == []


def test_an_unknown_repository_has_no_list_of_tags(store):
    """None is not the same as an empty list (G27)."""
    assert store.tags.names("a") is None
    push(store, "a")
    assert list(store.tags.names("a")) == []
    assert store.tags.get("a", "x") is None
    store.blobs.delete("a", D)
    assert store.tags.names("a") is None


def test_repositories_hold_manifests(store):
    """The list is sorted by whole names and follows every change."""
    names = ["b", "a/b", "a-b", "a", "a/b/c"]
    assert list(store.tags.repositories()) == []
    for name in names:
        store.manifests.put(name, manifest(), ["t"])
    push(store, "only-blobs")
    assert list(store.tags.repositories()) == sorted(names)
    store.manifests.delete("a", manifest().digest)
    assert list(store.tags.repositories()) == sorted(set(names) - {"a"})
    store.manifests.put("a", manifest())
    assert list(store.tags.repositories()) == sorted(names)


def test_referrers_are_listed_by_subject(store):
    """Those of the repository, sorted, until they are deleted; the subject need not exist."""
    made = [manifest(str(n).encode(), D, "t") for n in range(5)]
    for item in made:
        store.manifests.put("a", item)
    store.manifests.put("a", manifest(b"none"))
    store.manifests.put("b", manifest(b"x", D))
    assert list(store.manifests.referrers("a", D)) == sorted(made, key=lambda m: m.digest)
    store.manifests.delete("a", made[0].digest)
    assert made[0] not in store.manifests.referrers("a", D)
    assert list(store.manifests.referrers("c", D)) == []


@pytest.mark.parametrize(
    ("match", "none_match", "holds_absent", "holds_present"),
    [
        (None, {"*"}, True, False),
        ({"*"}, None, False, True),
        ({str(manifest().digest)}, None, False, True),
        ({str(D)}, None, False, False),
        (None, {str(D)}, True, True),
        (None, {str(manifest().digest)}, True, False),
    ],
)
def test_conditions_on_tags(store, match, none_match, holds_absent, holds_present):
    """A condition that is not met changes nothing."""
    condition = TagCondition(match and frozenset(match), none_match and frozenset(none_match))

    def attempt(content):
        try:
            store.manifests.put("a", manifest(content), ["t"], condition)
        except ConditionFailed:
            assert store.manifests.get("a", Digest.of(content)) is None
            return False
        return True

    assert attempt(b"absent") == holds_absent
    store.manifests.put("a", manifest(), ["t"])
    assert attempt(b"present") == holds_present


def test_tags_are_deleted_on_condition(store):
    """A tag that moved in the meantime stays."""
    store.manifests.put("a", manifest(), ["t"])
    with pytest.raises(ConditionFailed):
        store.tags.delete("a", "t", TagCondition(match=frozenset({str(D)})))
    assert store.tags.delete("a", "t", TagCondition(match=frozenset({str(manifest().digest)})))


def test_racing_writers_lose_no_update(store):
    """Compare-and-swap: of all writers that saw the same manifest, exactly one wins."""
    store.manifests.put("a", manifest(b"start"), ["t"])
    expected = TagCondition(match=frozenset({str(Digest.of(b"start"))}))

    def write(number):
        try:
            store.manifests.put("a", manifest(str(number).encode()), ["t"], expected)
        except ConditionFailed:
            return 0
        return 1

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(write, range(32))) == 1


def test_racing_pushes_of_one_blob(store):
    """Everybody succeeds, and there is one blob."""
    barrier = threading.Barrier(8)

    def work(number):
        upload = store.uploads.create(f"r{number % 3}")
        upload.write([DATA])
        barrier.wait()
        upload.commit(D)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert all(read(store, f"r{number}", D) == DATA for number in range(3))


def test_deleting_and_tagging_leave_no_dangling_tag(store):
    """Whatever the order, a tag that is listed leads to a manifest."""
    made = manifest()
    stop = threading.Event()
    problems = []

    def watch():
        while not stop.is_set():
            for tag in store.tags.names("a") or ():
                digest = store.tags.get("a", tag)
                if digest is not None and digest != made.digest:
                    problems.append(digest)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(2) as pool:
        for _ in range(100):
            one = pool.submit(store.manifests.put, "a", made, ["t"])
            other = pool.submit(store.manifests.delete, "a", made.digest)
            one.result()
            other.result()
            for tag in store.tags.names("a") or ():
                digest = store.tags.get("a", tag)
                assert digest is not None
                assert store.manifests.get("a", digest) is not None
    stop.set()
    watcher.join()
    assert problems == []


# What only a directory promises.


@pytest.fixture
def root(tmp_path):
    return str(tmp_path / "root")


def test_everything_survives_a_restart(root, clock):
    """Blobs, manifests, tags and uploads are found again by the next process (kill and resume)."""
    first = FilesystemStore(root, clock)
    push(first, "lib/a")
    made = manifest(b"{}", D)
    first.manifests.put("lib/a", made, ["1"])
    upload = first.uploads.create("lib/a", "sha512")
    upload.write([b"some "])
    os.close(first._lock_descriptor)  # as a killed process would

    second = FilesystemStore(root, clock)
    assert read(second, "lib/a", D) == DATA
    assert second.manifests.get("lib/a", made.digest) == made
    assert second.tags.get("lib/a", "1") == made.digest
    assert list(second.tags.repositories()) == ["lib/a"]
    assert list(second.manifests.referrers("lib/a", D)) == [made]
    resumed = second.uploads.find("lib/a", upload.identifier)
    assert resumed.size == 5
    resumed.write([b"bytes"])
    resumed.commit(Digest.of(DATA, "sha512"))
    assert read(second, "lib/a", Digest.of(DATA, "sha512")) == DATA
    second.close()


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


# Both storages behave alike, whatever happens in which order.

REPOSITORIES = st.sampled_from(["a", "a/b", "a-b"])
CONTENTS = st.sampled_from([b"", b"1", b"22"])
TAGS = st.lists(st.sampled_from(["x", "y", "Z"]), max_size=2)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), REPOSITORIES, CONTENTS),
        st.tuples(st.just("mount"), REPOSITORIES, CONTENTS, REPOSITORIES),
        st.tuples(st.just("delete blob"), REPOSITORIES, CONTENTS),
        st.tuples(st.just("quarantine"), CONTENTS),
        st.tuples(st.just("put"), REPOSITORIES, CONTENTS, TAGS, st.none() | CONTENTS),
        st.tuples(st.just("delete manifest"), REPOSITORIES, CONTENTS),
        st.tuples(st.just("delete tag"), REPOSITORIES, TAGS),
    ),
    max_size=25,
)


def act(store, action, *arguments):
    match action, arguments:
        case "push", (repository, content):
            return push(store, repository, content)
        case "mount", (repository, content, source):
            return store.blobs.mount(repository, Digest.of(content), source)
        case "delete blob", (repository, content):
            return store.blobs.delete(repository, Digest.of(content))
        case "quarantine", (content,):
            return store.blobs.quarantine(Digest.of(content))
        case "put", (repository, content, tags, subject):
            made = manifest(content + b"m", None if subject is None else Digest.of(subject))
            return store.manifests.put(repository, made, tags)
        case "delete manifest", (repository, content):
            return store.manifests.delete(repository, Digest.of(content + b"m"))
        case "delete tag", (repository, tags):
            return [store.tags.delete(repository, tag) for tag in tags]
    raise AssertionError(action)


def everything(store):
    seen = [list(store.tags.repositories())]
    for repository in ("a", "a/b", "a-b"):
        names = store.tags.names(repository)
        seen.append(names and {name: store.tags.get(repository, name) for name in names})
        for content in (b"", b"1", b"22"):
            digest = Digest.of(content)
            seen += [
                store.blobs.stat(repository, digest),
                store.manifests.get(repository, Digest.of(content + b"m")),
                list(store.manifests.referrers(repository, digest)),
                sorted(store.blobs.holders(digest)),
            ]
    return seen


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS)
def test_both_storages_behave_alike(tmp_path_factory, actions):
    """After any history both give the same results and hold the same content, also after a restart."""
    root = str(tmp_path_factory.mktemp("store"))
    memory, disk = MemoryStore(), FilesystemStore(root)
    for action in actions:
        assert act(memory, *action) == act(disk, *action), action
        assert everything(memory) == everything(disk), action
    disk.close()
    again = FilesystemStore(root)
    assert everything(memory) == everything(again)
    again.close()
