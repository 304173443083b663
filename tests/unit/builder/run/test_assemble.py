"""Images out of targets and snapshots."""

import pytest
from stand_ins import PLATFORM, step, text_layer

from builder.assemble import assemble, matching_history
from builder.graph import Target
from builder.snapshots import Snapshot
from oci_image.config import History, ImageConfig, RunConfig
from oci_image.documents import read_config, read_manifest
from oci_image.store.memory import MemoryBlobStore

LAYER, EMPTY = History(created_by="layer"), History(created_by="metadata", empty_layer=True)


@pytest.fixture
def blobs():
    return MemoryBlobStore()


def target(*history):
    config = ImageConfig(platform=PLATFORM, config=RunConfig(cmd=("/x",)), history=history)
    return Target(name="app", head=step("head"), config=config, platform=PLATFORM)


def read(blobs, digest):
    with blobs.open(digest) as stream:
        return stream.read()


def test_manifest_and_configuration_are_stored(blobs):
    """What is in the store is what the image says, layer by layer."""
    snapshot = Snapshot((text_layer(blobs, "one"), text_layer(blobs, "two")))
    image = assemble(target(LAYER, EMPTY, LAYER), snapshot, blobs)
    raw = read(blobs, image.manifest.digest)
    assert read_manifest(raw, image.manifest.descriptor.media_type, "test").value == image.manifest.value
    config = read_config(read(blobs, image.id), image.config.descriptor, "test")
    assert config.value.diff_ids == snapshot.diff_ids
    assert config.value.config.cmd == ("/x",)
    assert image.layers == snapshot.layers


def test_equal_targets_give_equal_images(blobs):
    """Nothing but the target and the layers goes in."""
    snapshot = Snapshot((text_layer(blobs, "one"),))
    first = assemble(target(LAYER), snapshot, blobs)
    count = len(list(blobs.digests()))
    assert assemble(target(LAYER), snapshot, blobs) == first
    assert len(list(blobs.digests())) == count


def test_an_image_without_layers(blobs):
    """FROM scratch with metadata alone is an image."""
    image = assemble(target(EMPTY), Snapshot(), blobs)
    assert image.layers == ()
    assert b'"layers":[]' in image.manifest.raw


@pytest.mark.parametrize(
    ("history", "layers", "empty"),
    [
        ((), 2, []),
        ((LAYER, EMPTY, LAYER), 2, [False, True, False]),
        ((EMPTY, LAYER), 3, [False, False, True, False]),
        ((LAYER, LAYER, LAYER), 2, [True, False, False]),
        ((LAYER,), 0, [True]),
    ],
)
def test_the_history_tells_of_every_layer(history, layers, empty):
    """Incomplete histories of base images are completed at their beginning."""
    assert [entry.empty_layer for entry in matching_history(history, layers)] == empty
