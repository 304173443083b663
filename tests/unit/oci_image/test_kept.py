"""Lists and maps that are put aside: they are those that Python has, and take hardly any memory."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_image.kept import KeptList, KeptMap
from oci_image.spool import Spool

_KEYS = st.sampled_from(["", "a", "a/b", "1:x", "\udcff", "é", "\0"])
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), _KEYS, st.binary(max_size=9)),
        st.tuples(st.sampled_from(["add", "discard"]), _KEYS),
    )
)


@pytest.fixture
def spool(tmp_path):
    """One that holds next to nothing in memory."""
    return Spool(str(tmp_path / "spool"), most=8)


def test_a_list_has_its_items_by_number(spool):
    """Items of any size come back one by one and in order, also while more come."""
    items = [bytes([number % 256]) * (number * 37 % 3001) for number in range(500)]
    kept = KeptList(spool)
    for item in items[:400]:
        kept.append(item)
    seen = []
    for item in kept.each(100, 400):
        seen.append(item)
        if len(kept) < 500:
            kept.append(items[len(kept)])

    assert seen == items[100:400]
    assert list(kept.each(0, len(kept))) == items
    assert [kept[number] for number in reversed(range(500))] == items[::-1]
    assert list(kept.each(7, 7)) == []


@given(_STEPS)
def test_a_map_is_one(tmp_path_factory, steps):
    """What is set is there until it is discarded, and in the order in which it was set last."""
    kept, expected = KeptMap(Spool(str(tmp_path_factory.mktemp("spool")), most=8)), {}
    for action, key, *value in steps:
        if action == "add":
            assert kept.add(key) is (key not in expected)
            expected.setdefault(key, b"")
            continue
        expected.pop(key, None)
        if action == "set":
            kept[key] = expected[key] = value[0]
        else:
            kept.discard(key)
        assert kept.get(key) == expected.get(key)
        assert (key in kept) is (key in expected)

    assert list(kept.items()) == list(expected.items())
    assert len(kept) == len(expected)


def test_keys_with_the_same_hash_are_told_apart(spool, monkeypatch):
    """A hash only says where to look."""
    monkeypatch.setattr("oci_image.kept.hash", lambda _: 5, raising=False)
    kept = KeptMap(spool)
    for number in range(100):
        kept[f"key {number}"] = b"%d" % number
    kept.discard("key 7")

    assert [kept.get(f"key {number}") for number in (0, 6, 7, 8, 99)] == [b"0", b"6", None, b"8", b"99"]


def test_many_items_take_little_memory(tmp_path):
    """Of each item of a large map there should be a few numbers in memory."""
    kept = KeptMap(Spool(str(tmp_path / "spool"), most=1 << 16))
    tracemalloc.start()
    try:
        for number in range(30_000):
            kept[f"some/directory/that/has/a/longer/path/{number}"] = bytes(200)
        memory, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert memory < 30_000 * 64
    assert kept.get("some/directory/that/has/a/longer/path/29") == bytes(200)
