"""What every storage guarantees about tags and the list of repositories."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from oci_image.digest import Digest
from registry.server.store.base import ConditionFailed, TagCondition
from tests.contract.repository_store.storing import D, manifest, push


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
