"""The records of uploads without bytes."""

import multiprocessing
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.server.store.beginnings import Beginning, Beginnings


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "uploads.empty")


@pytest.fixture
def beginnings(path):
    opened = Beginnings(path)
    yield opened
    opened.close()


def test_a_beginning_is_found_by_its_name(beginnings):
    """As long as it goes on, and only by the whole name."""
    name = beginnings.add("lib/a", "sha512")
    assert beginnings.find(name) == Beginning(name, "lib/a", "sha512")
    guessed = name[:-1] + ("0" if name[-1] != "0" else "1")
    assert beginnings.find(guessed) is None
    beginnings.remove(guessed)
    assert beginnings.find(name) is not None
    beginnings.remove(name)
    beginnings.remove(name)
    assert beginnings.find(name) is None
    assert beginnings.all() == []


def test_names_are_uuids_that_differ(beginnings):
    """Of version 8, whose bits are the maker's; a place that is used again gets another name."""
    names = set()
    for _ in range(100):
        name = beginnings.add("a", "sha256")
        assert name[14] == "8"
        assert name[19] in "89ab"
        names.add(name)
        beginnings.remove(name)
    assert len(names) == 100


def test_the_file_is_as_large_as_the_most_at_one_time(beginnings, path):
    """However many there were one after the other."""
    kept = [beginnings.add("a", "sha256") for _ in range(10)]
    for _ in range(50):
        beginnings.remove(beginnings.add("r" * 255, "sha256"))
    assert os.path.getsize(path) == 11 * 288
    assert [begun.identifier for begun in beginnings.all()] == kept


def test_another_opening_finds_and_ends_what_goes_on(beginnings, path):
    """Each sees what the other did, and neither takes a record that is in use."""
    other = Beginnings(path)
    first = beginnings.add("a", "sha256")
    second = other.add("b", "sha256")
    assert {begun.identifier for begun in beginnings.all()} == {first, second}
    other.remove(first)
    assert beginnings.find(first) is None
    third = other.add("c", "sha256")
    assert [begun.repository for begun in beginnings.all()] == ["c", "b"]
    beginnings.remove(first)
    assert other.find(third) is not None
    other.close()
    other.close()


@given(st.integers(0, 287), st.integers(1, 255), st.integers(0, 288))
def test_a_damaged_record_is_free(tmp_path_factory, place, change, length):
    """Whatever a power failure left: it is no upload, it hurts no other one, and it is written again."""
    path = str(tmp_path_factory.mktemp("damaged") / "uploads.empty")
    before = Beginnings(path)
    kept = before.add("a", "sha256")
    damaged = before.add("b", "sha256")
    before.close()
    with open(path, "r+b") as file:
        file.seek(288 + place)
        old = file.read(1)[0]
        file.seek(288 + place)
        file.write(bytes([old ^ change]))
        file.truncate(288 + length)
    after = Beginnings(path)
    assert [begun.identifier for begun in after.all()] == [kept]
    assert after.find(damaged) is None
    again = after.add("c", "sha512")
    assert {begun.identifier for begun in after.all()} == {kept, again}
    assert os.path.getsize(path) == 2 * 288
    after.close()


def _add_many(path, count, names):
    beginnings = Beginnings(path)
    names.put([beginnings.add("a", "sha256") for _ in range(count)])
    beginnings.close()


def test_processes_do_not_take_the_same_record(path):
    """When they add at the same time."""
    context = multiprocessing.get_context("spawn")
    names = context.Queue()
    children = [context.Process(target=_add_many, args=(path, 500, names)) for _ in range(3)]
    for child in children:
        child.start()
    made = {name for _ in children for name in names.get()}
    for child in children:
        child.join()
    beginnings = Beginnings(path)
    assert {begun.identifier for begun in beginnings.all()} == made
    assert len(made) == 1500
    beginnings.close()
