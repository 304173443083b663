"""Access to the bytes of layers in the store."""

import gzip
import io
import os
import tarfile
import threading
from pathlib import Path

import pytest
from stand_ins import Bench, directory, file

from builder.errors import CannotResolve
from builder.layersource import StoreLayers
from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.errors import NotFound, StoreProblem, UnsafeLayer, VerificationFailed
from oci_image.image import Layer
from oci_image.store.memory import MemoryBlobStore
from oci_image.store.notes import AS_PULLED, Notes


def archive(content=b"content"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        info = tarfile.TarInfo("d/file")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def put(blobs, data):
    with blobs.writer() as writer:
        writer.write(data)
        return writer.commit()


def pulled(blobs, data, diff_id=None):
    """A layer as a registry gives it."""
    compressed = gzip.compress(data)
    digest = put(blobs, compressed)
    descriptor = Descriptor(media_type=mediatypes.OCI_LAYER_GZIP, digest=digest, size=len(compressed))
    return Layer(diff_id or Digest.of(data), descriptor)


def _read_all(stream):
    while stream.read(100):
        pass


@pytest.fixture
def blobs():
    return MemoryBlobStore()


@pytest.fixture
def layers(blobs, tmp_path):
    made = StoreLayers(blobs, None, str(tmp_path / "state"))
    yield made
    made.close()


def test_a_compressed_layer_is_read_like_any_other(blobs, layers, tmp_path):
    """Entries, the archive, and parts of it; the index is kept beside the store."""
    data = archive()
    layer = pulled(blobs, data)
    index = layers.index(layer)
    assert list(index.paths) == ["d/file"]
    assert layers.read(layer, index.offset(0), 7) == b"content"
    with layers.open_tar(layer) as stream:
        assert stream.read(1 << 20) == data
    assert (tmp_path / "state" / "index" / layer.diff_id.hex).exists()


def test_an_index_is_made_once(blobs, layers, tmp_path):
    """Another process uses the kept one, even without the layer."""
    layer = pulled(blobs, archive())
    layers.index(layer)
    other = StoreLayers(MemoryBlobStore(), None, str(tmp_path / "state"))
    assert list(other.index(layer).paths) == ["d/file"]
    assert layers.index(layer) is layers.index(layer)


def test_a_damaged_index_is_made_again(blobs, layers, tmp_path):
    """Nonsense in the state directory does no harm."""
    layer = pulled(blobs, archive())
    layers.index(layer)
    place = tmp_path / "state" / "index" / layer.diff_id.hex
    place.write_bytes(b"nonsense")
    other = StoreLayers(blobs, None, str(tmp_path / "state"))
    assert list(other.index(layer).paths) == ["d/file"]
    assert place.read_bytes() != b"nonsense"


def test_a_layer_with_another_diff_id_is_refused(blobs, layers, tmp_path):
    """Whatever asks for it first, and nothing of it is kept."""
    layer = pulled(blobs, archive(), diff_id=Digest.of(b"something else"))
    with pytest.raises(VerificationFailed):
        layers.index(layer)
    with pytest.raises(VerificationFailed):
        layers.read(layer, 0, 10)
    with layers.open_tar(layer) as stream, pytest.raises(VerificationFailed):
        _read_all(stream)
    kept = [path for path in (tmp_path / "state").rglob("*") if path.is_file() and "locks" not in path.parts]
    assert kept == []


def test_a_layer_that_is_no_archive_is_refused(blobs, layers):
    """The error is that of the archive, or of the digest."""
    with pytest.raises((UnsafeLayer, VerificationFailed)):
        layers.index(pulled(blobs, b"no archive" * 200))


def test_bytes_after_the_end_of_the_archive_count(blobs, layers):
    """The diff_id covers everything that the layer decompresses to."""
    data = archive() + bytes(20_000)
    assert list(layers.index(pulled(blobs, data)).paths) == ["d/file"]


def test_a_media_type_may_be_wrong_about_the_compression(blobs, layers):
    """The bytes decide."""
    data = archive()
    digest = put(blobs, data)
    wrong = Descriptor(media_type=mediatypes.OCI_LAYER_GZIP, digest=digest, size=len(data))
    assert list(layers.index(Layer(digest, wrong)).paths) == ["d/file"]


async def test_layers_that_are_absent_are_fetched(blobs, tmp_path):
    """All of them at once; those that are here are not asked for."""
    here = pulled(blobs, archive(b"here"))
    far = Layer(Digest.of(b"far"), Descriptor(media_type="x", digest=Digest.of(b"compressed"), size=1))
    asked = []

    async def fetch(wanted):
        asked.append(wanted)

    layers = StoreLayers(blobs, None, str(tmp_path), fetch)
    await layers.ensure((here,))
    assert asked == []
    await layers.ensure((here, far))
    assert asked == [(far,)]


async def test_without_a_way_to_fetch_the_error_names_the_layer(layers):
    """It says what to do."""
    far = Layer(Digest.of(b"far"), Descriptor(media_type="x", digest=Digest.of(b"compressed"), size=1))
    with pytest.raises(CannotResolve, match=str(far.descriptor.digest)):
        await layers.ensure((far,))
    with pytest.raises(NotFound):
        layers.open_tar(far)


async def test_another_form_of_a_layer_serves(blobs, tmp_path):
    """The uncompressed archive, or a compressed form that is noted."""
    data = archive()
    real = pulled(blobs, data)
    gone = Descriptor(media_type=mediatypes.OCI_LAYER_ZSTD, digest=Digest.of(b"gone"), size=5)
    with Notes(tmp_path / "notes.db") as notes:
        notes.remember_variant(real.diff_id, AS_PULLED, real.descriptor)
        layers = StoreLayers(blobs, notes, str(tmp_path / "one"))
        await layers.ensure((Layer(real.diff_id, gone),))
        assert list(layers.index(Layer(real.diff_id, gone)).paths) == ["d/file"]
    put(blobs, data)
    layers = StoreLayers(blobs, None, str(tmp_path / "two"))
    await layers.ensure((Layer(real.diff_id, gone),))
    assert layers.read(Layer(real.diff_id, gone), 0, 6) == b"d/file"


def test_reading_past_the_end_is_an_error(blobs, layers):
    """A truncated layer does not give short files."""
    data = archive()
    with pytest.raises(StoreProblem, match="too early"):
        layers.read(pulled(blobs, data), len(data) - 5, 10)


def test_threads_may_read_at_the_same_time(tmp_path):
    """Each gets its own bytes, from stores on disk and in memory."""
    bench = Bench(tmp_path)
    names = [f"f{number}" for number in range(50)]
    snapshot = bench.base(directory("d"), *(file(f"d/{name}", name * 1000) for name in names))
    memory = MemoryBlobStore()
    with bench.layers.open_tar(snapshot.layers[0]) as stream:
        put(memory, stream.read())
    for layers in (StoreLayers(bench.blobs, None, bench.state), StoreLayers(memory, None, bench.state)):
        index = layers.index(snapshot.layers[0])
        wrong = []

        def work(layers=layers, index=index, wrong=wrong):
            for row, path in enumerate(index.paths):
                size = index.entry(row).size
                if (
                    size
                    and layers.read(snapshot.layers[0], index.offset(row), size) != path[2:].encode() * 1000
                ):
                    wrong.append(path)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        layers.close()
    bench.close()


def test_nothing_temporary_stays(blobs, tmp_path):
    """After close the temporary directory is empty."""
    layers = StoreLayers(blobs, None, str(tmp_path))
    layer = pulled(blobs, archive())
    layers.index(layer)
    layers.read(layer, 0, 1)
    layers.close()
    layers.close()
    assert os.listdir(tmp_path / "tmp") == []
    assert Path(tmp_path / "tars" / layer.diff_id.hex).read_bytes() == archive()
