"""Writing layers: much is written by a second thread, whose failures are the writer's."""

import threading

import pytest
from stand_ins import file

from builder.perform import layers
from builder.perform.layers import write_layer
from oci_image.errors import StoreProblem

MIB = 1 << 20


def content(count):
    """Files of one MiB each."""
    return [file(f"f{number}", f"{number}" * MIB) for number in range(count)]


def written(bench, count, meanwhile=lambda _: None):
    """A layer of so many files, and the number of threads that were there at the last one."""
    seen = []

    def fill(writer):
        for number, (entry, data) in enumerate(content(count)):
            meanwhile(number)
            writer.add(entry._replace(size=len(data)), data)
            seen.append(threading.active_count())

    return write_layer(bench.blobs, bench.layers, fill), seen[-1]


def test_small_layers_need_no_thread(bench):
    """A thread is started only once it is worth it, and is gone afterwards."""
    before = threading.active_count()

    assert written(bench, 2)[1] == before
    assert written(bench, 9)[1] == before + 1
    assert threading.active_count() == before


def test_a_large_layer_is_what_was_written(bench, monkeypatch):
    """The order of blocks stays, whichever thread writes them."""
    layer, _ = written(bench, 9)
    monkeypatch.setattr(layers, "_WORTH_A_THREAD", 1 << 40)

    assert written(bench, 9)[0] == layer
    assert layer.descriptor.size > 9 * MIB


def test_a_failure_of_the_second_thread_is_raised(bench, monkeypatch):
    """A full disk ends the layer, and leaves no thread and no blob."""
    before = threading.active_count()
    blob = bench.blobs.writer()
    calls = []

    def write(data):
        calls.append(1)
        if len(calls) > 6:
            raise StoreProblem("no space")
        type(blob).write(blob, data)

    monkeypatch.setattr(blob, "write", write)
    monkeypatch.setattr(bench.blobs, "writer", lambda: blob)
    with pytest.raises(StoreProblem, match="no space"):
        written(bench, 40)

    assert threading.active_count() == before
    assert list(bench.blobs.digests()) == []


def test_a_failure_of_the_reader_ends_the_second_thread(bench):
    """When what is read fails, what was not written is dropped."""
    before = threading.active_count()

    def fail(number):
        if number == 8:
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        written(bench, 9, fail)

    assert threading.active_count() == before
    assert list(bench.blobs.digests()) == []
