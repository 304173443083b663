"""Imported layers that rest in another form than they are used in: when they count as known here."""

import gzip

import pytest
from cache_values import digest
from stand_ins import graph, host, step

from builder.cachetransfer.document import CachedResult
from builder.cachetransfer.places import ImportedCache
from builder.cachetransfer.transfer import CacheTransfer, Needed
from builder.layersource import StoreLayers
from oci_image import mediatypes
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.store.layout import LayoutBlobStore
from oci_image.store.notes import Notes

BYTES = gzip.compress(b"content", mtime=0)
FORM = Descriptor(media_type=mediatypes.OCI_LAYER_GZIP, digest=Digest.of(BYTES), size=len(BYTES))


class Source:
    """A registry that holds one compressed layer for one step."""

    shown = "r/cache:1"
    registry = "r"

    def __init__(self, plan):
        self.result = CachedResult(
            definition=plan.targets[0].head.digest, content=digest("c"), base=(), layers=(digest("content"),)
        )
        self.fetched = []
        self.remembered = []

    async def read(self):
        return ImportedCache(results=(self.result,), layers={digest("content"): FORM})

    async def fetch(self, layers, blobs, sink):
        del sink
        self.fetched += layers
        with blobs.writer() as writer:
            writer.write(BYTES)
            writer.commit(FORM.digest)

    def remember(self, layers):
        self.remembered += layers


@pytest.fixture
def effects(tmp_path):
    blobs = LayoutBlobStore(tmp_path, durable=False)
    state = str(tmp_path / "pybuild")
    with Notes(":memory:") as notes:
        layers = StoreLayers(blobs, notes, state)
        yield host(state, blobs=blobs, layers=layers)
        layers.close()


async def evaluated(effects, recorder, needed):
    """Evaluate a step that only the source knows; gives the source."""
    plan = graph(step("one"))
    source = Source(plan)
    transfer = CacheTransfer([source], needed=needed)
    transfer.add(plan, effects)

    async def never(*effects):
        raise AssertionError("nothing has to run")

    results = await transfer.evaluate(plan, effects, recorder, never)
    assert [layer.descriptor for layer in results.snapshots[0].layers] == [FORM]
    return source


async def test_a_hit_that_stays_away_is_not_known_here(effects, recorder):
    """The local index does not get it; the notes do, so that the image can be used."""
    source = await evaluated(effects, recorder, Needed(image=True))
    assert source.fetched == []
    assert [layer.descriptor for layer in source.remembered] == [FORM]
    assert effects.cache.lookup(source.result.definition) is None


@pytest.mark.parametrize("needed", [Needed(bytes=True), Needed(pushed_to=frozenset({"other"}))])
async def test_a_hit_that_was_fetched_is_known_here(effects, recorder, needed):
    """Its content was looked into, so later builds need no import."""
    source = await evaluated(effects, recorder, needed)
    assert source.fetched == [FORM]
    record = effects.cache.lookup(source.result.definition)
    assert [layer.descriptor for layer in record.layers] == [FORM]
    assert record.content == source.result.content


async def test_pushing_to_the_same_registry_needs_no_bytes(effects, recorder):
    """The registry has the layer."""
    source = await evaluated(effects, recorder, Needed(image=True, pushed_to=frozenset({"r"})))
    assert source.fetched == []


async def test_what_is_here_is_fetched_once(effects, recorder):
    """A layer that an earlier build looked into is used without another look, and without its source."""
    await evaluated(effects, recorder, Needed(bytes=True))
    source = await evaluated(effects, recorder, Needed(bytes=True))
    assert source.fetched == []
