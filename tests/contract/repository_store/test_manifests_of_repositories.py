"""What every storage guarantees about manifests and what refers to them."""

import threading
from concurrent.futures import ThreadPoolExecutor

from tests.contract.repository_store.storing import D, manifest


def test_manifests_are_kept_verbatim(store):
    """Bytes, descriptor and subject come back as they were (G19)."""
    made = manifest(b'{ "a":1 }\n \n', D, "application/art", {"k": "ä"})
    store.manifests.put("lib/a", made, ["1", "2"])
    assert store.manifests.get("lib/a", made.digest) == made
    assert store.manifests.get("lib", made.digest) is None
    assert store.tags.get("lib/a", "1") == store.tags.get("lib/a", "2") == made.digest
    assert store.tags.names("lib/a") == ["1", "2"]


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
