"""Caches between two stores by way of a directory: what is exported, what is a hit, and what damage does."""

import asyncio
import json
import os
from dataclasses import replace

import pytest
from stand_ins import graph, host, step

from builder.cachetransfer.document import CACHE_CONFIG, CacheDocument
from builder.cachetransfer.imported import absent_layers
from builder.cachetransfer.local import DirectoryDestination, DirectorySource
from builder.cachetransfer.options import read_exports, read_imports
from builder.cachetransfer.transfer import CacheTransfer, Needed
from builder.errors import BuildError, ExportProblem
from builder.events import Notice, StepCached, TaskDone
from builder.graph import Origin, Step
from builder.layersource import StoreLayers
from builder.ops import BaseImage
from builder.perform.base import Supplies
from builder.runner import run
from oci_image.descriptor import Descriptor
from oci_image.image import Layer
from oci_image.store.layout import LayoutBlobStore, LayoutTagStore
from oci_image.store.notes import Notes

NOTHING = Needed()
EVERYTHING = Needed(bytes=True, image=True)
IMAGE = Needed(image=True)


class Machine:
    """One store, and builds in it that use a cache directory."""

    def __init__(self, root, directory, recorder):
        self.blobs = LayoutBlobStore(root, durable=False)
        self.layers = StoreLayers(self.blobs, None, str(root / "pybuild"))
        self.host = host(root / "pybuild", blobs=self.blobs, layers=self.layers)
        self.directory = directory
        self.recorder = recorder
        self.recorder.events.clear()

    async def build(self, plan, *, imports=(), exports=(), needed=NOTHING, before=None):
        """Evaluate a plan with imports, and export; gives the snapshots."""
        options = read_exports(exports)
        transfer = CacheTransfer(
            sources=[DirectorySource(one) for one in read_imports(imports)],
            exports=[(one, DirectoryDestination(one, Notes(":memory:"))) for one in options],
            needed=needed,
        )

        async def evaluated(view, sink, mounts):
            assert mounts is None
            if before is not None:
                await before(view)
            return await run(plan, Supplies(host=view, sink=sink))

        transfer.add(plan, self.host)
        try:
            results = await transfer.evaluate(plan, self.host, self.recorder, evaluated)
        except BuildError:
            await transfer.export(self.recorder, failed=True)
            raise
        await transfer.export(self.recorder)
        return results.snapshots

    def has(self, layer):
        return self.blobs.stat(layer.descriptor.digest) is not None

    @property
    def notices(self):
        return [event.text for event in self.recorder.events if isinstance(event, Notice)]


@pytest.fixture
def machine(tmp_path, recorder):
    """Makes machines that share one directory."""
    return lambda name: Machine(tmp_path / name, tmp_path / "cache", recorder)


@pytest.fixture
def to(tmp_path):
    return f"type=local,dest={tmp_path / 'cache'}"


@pytest.fixture
def origin(tmp_path):
    return f"type=local,src={tmp_path / 'cache'}"


def document(directory):
    """The document of the cache in a directory, and its manifest."""
    (entry,) = LayoutTagStore(directory).entries()
    manifest = json.loads(blob(directory, entry.digest).read_bytes())
    config = blob(directory, manifest["config"]["digest"]).read_bytes()
    return CacheDocument.from_bytes(config, "it"), manifest


def blob(directory, digest):
    """The file of a blob."""
    return directory / "blobs" / str(digest).replace(":", "/")


def two_stages():
    base = Step(BaseImage((Layer(*_layer("base")),)), (), Origin(name="FROM"))
    tool = step("tool", step("fetch", base))
    return graph(step("run", step("copy", base, tool)))


def _layer(text):
    from cache_values import digest

    return digest(text), Descriptor(media_type="test", digest=digest(text), size=len(text))


async def test_everything_is_cached_elsewhere(machine, journal, recorder, to, origin):
    """With mode=max no step runs on another machine, and no layer comes there for it."""
    (first,) = await machine("a").build(two_stages(), exports=[f"{to},mode=max"])
    journal.ran.clear()
    other = machine("b")
    (second,) = await other.build(two_stages(), imports=[origin])
    assert journal.ran == []
    assert second.diff_ids == first.diff_ids
    assert recorder.told(StepCached) == ["FROM", "fetch", "tool", "copy", "run"]
    assert list(other.blobs.digests()) == []


async def test_minimal_caches_hold_the_layers_of_the_result(machine, to, tmp_path):
    """mode=min leaves the steps of other stages out, mode=max takes all of them; no base is taken along."""
    await machine("a").build(two_stages(), exports=[to, f"type=local,dest={tmp_path / 'max'},mode=max"])
    least, manifest = document(tmp_path / "cache")
    assert (len(least.results), len(least.layers)) == (2, 2)
    assert manifest["config"]["mediaType"] == manifest["artifactType"] == CACHE_CONFIG
    assert len(manifest["layers"]) == 2
    most, _ = document(tmp_path / "max")
    assert (len(most.results), len(most.layers)) == (4, 4)


async def test_the_same_cache_has_the_same_digest(machine, to, tmp_path):
    """Nothing in an export depends on when or where it was made."""
    await machine("a").build(two_stages(), exports=[f"{to},mode=max"])
    (one,) = LayoutTagStore(tmp_path / "cache").entries()
    await machine("b").build(two_stages(), exports=[f"type=local,dest={tmp_path / 'other'},mode=max"])
    (two,) = LayoutTagStore(tmp_path / "other").entries()
    assert one.digest == two.digest


async def test_a_cache_passes_through_a_machine_that_used_it(machine, journal, to, origin, tmp_path):
    """What was imported is exported again, also steps that nobody looked at."""
    await machine("a").build(two_stages(), exports=[f"{to},mode=max"])
    passed = tmp_path / "passed"
    await machine("b").build(two_stages(), imports=[origin], exports=[f"type=local,dest={passed},mode=max"])
    assert document(passed)[0] == document(tmp_path / "cache")[0]
    journal.ran.clear()
    await machine("c").build(two_stages(), imports=[f"type=local,src={passed}"], needed=EVERYTHING)
    assert journal.ran == []


async def test_content_keys_work_elsewhere(machine, journal, to, origin):
    """A step whose inputs are made in another way, but come to the same, is a hit there too."""
    await machine("a").build(graph(step("use", step("one", output="same"))), exports=[f"{to},mode=max"])
    journal.ran.clear()
    # Another definition of the step below: it runs, and then its content decides.
    changed = step("one", output="same", no_cache=True)
    (result,) = await machine("b").build(graph(step("use", changed)), imports=[origin])
    assert journal.ran == ["one"]
    assert len(result.layers) == 2


async def test_a_failed_build_exports_what_it_finished(machine, journal, to, origin):
    """The next one goes on from there."""
    broken = graph(step("last", step("good"), error=BuildError("no")))
    with pytest.raises(BuildError, match="no"):
        await machine("a").build(broken, exports=[f"{to},mode=max,ignore-error=false"])
    journal.ran.clear()
    await machine("b").build(graph(step("last", step("good"))), imports=[origin])
    assert journal.ran == ["last"]


async def test_nothing_is_written_for_nothing(machine, to, tmp_path):
    """A build that finished no step does not replace a cache that is there."""
    await machine("a").build(two_stages(), exports=[to])
    (before,) = LayoutTagStore(tmp_path / "cache").entries()
    with pytest.raises(BuildError):
        await machine("b").build(graph(step("bad", error=BuildError("no"))), exports=[to])
    assert LayoutTagStore(tmp_path / "cache").entries() == (before,)


async def test_a_missing_cache_is_no_problem(machine, journal, recorder, origin):
    """The first run of all has nothing to import; that is said, but is no warning."""
    await machine("a").build(two_stages(), imports=[origin])
    assert len(journal.ran) == 4
    details = [event.detail for event in recorder.events if isinstance(event, TaskDone)]
    assert details == ["nothing is there yet"]
    assert not [event for event in recorder.events if isinstance(event, Notice)]


@pytest.mark.parametrize("what", ["manifest", "config", "index"])
async def test_a_damaged_cache_is_a_warning_and_a_miss(machine, journal, to, origin, tmp_path, what):
    """Documents that are not what their digests say are not used."""
    await machine("a").build(two_stages(), exports=[f"{to},mode=max"])
    directory = tmp_path / "cache"
    (entry,) = LayoutTagStore(directory).entries()
    manifest = blob(directory, entry.digest)
    config = blob(directory, json.loads(manifest.read_bytes())["config"]["digest"])
    path = {"manifest": manifest, "config": config, "index": directory / "index.json"}[what]
    path.write_bytes(path.read_bytes().replace(b"{", b"[", 1))
    journal.ran.clear()
    other = machine("b")
    await other.build(two_stages(), imports=[origin])
    assert len(journal.ran) == 4
    (notice,) = other.notices
    assert str(directory) in notice


async def ensured(view):
    """Let the layers of the last step but one be here, as a command would, if they are in the cache."""
    record = view.cache.lookup(two_stages().targets[0].head.inputs[0].digest)
    if record is not None and all(view.reachable(one.descriptor.digest) for one in record.layers[1:]):
        await view.layers.ensure(record.layers[1:])


@pytest.mark.parametrize("damage", ["other bytes", "gone"])
async def test_a_lost_layer_is_made_again(machine, journal, to, origin, tmp_path, damage):
    """A layer that cannot be had when it is needed costs the steps that need it, and a warning."""
    (first,) = await machine("a").build(two_stages(), exports=[f"{to},mode=max"])
    lost = first.layers[1].descriptor.digest
    path = tmp_path / "cache" / "blobs" / "sha256" / lost.hex
    path.unlink() if damage == "gone" else path.write_bytes(b"!" * 4)
    journal.ran.clear()
    other = machine("b")
    (second,) = await other.build(two_stages(), imports=[origin], needed=EVERYTHING)
    assert second.diff_ids == first.diff_ids
    assert journal.ran == ["copy"], "what follows is recognised by its content"
    assert all(other.has(layer) for layer in second.layers[1:])
    (notice,) = other.notices
    assert lost.short in notice
    assert str(tmp_path / "cache") in notice


async def test_a_layer_that_is_lost_in_the_middle_is_no_failure(machine, journal, to, origin, tmp_path):
    """The same when a step that runs finds it."""
    (first,) = await machine("a").build(two_stages(), exports=[f"{to},mode=max"])
    (tmp_path / "cache" / "blobs" / "sha256" / first.layers[1].descriptor.digest.hex).write_bytes(b"!")
    journal.ran.clear()
    changed = replace(two_stages().targets[0], head=step("new", two_stages().targets[0].head.inputs[0]))
    other = machine("b")
    await other.build(replace(two_stages(), targets=(changed,)), imports=[origin], before=ensured)
    assert journal.ran == ["copy", "new"]
    assert len(other.notices) == 1


def poison(directory, diff_id):
    """Let a cache say that a layer is something else; gives the digest of that."""
    blobs, tags = LayoutBlobStore(directory, durable=False), LayoutTagStore(directory)
    (entry,) = tags.entries()
    manifest = json.loads(blob(directory, entry.digest).read_bytes())
    with blobs.writer() as writer:
        writer.write(b"poison")
        false = writer.commit()
    for layer in manifest["layers"]:
        if layer["digest"] == str(diff_id):
            layer.update(digest=str(false), size=6)
    with blobs.writer() as writer:
        raw = json.dumps(manifest).encode()
        writer.write(raw)
        poisoned = writer.commit()
    tags.set("latest", Descriptor(media_type=entry.media_type, digest=poisoned, size=len(raw)))
    return false


async def test_a_layer_under_a_false_name_is_no_hit(machine, journal, to, origin, tmp_path):
    """A cache whose layer is not what its diff_id promises is found out before the layer is used."""
    (first,) = await machine("a").build(two_stages(), exports=[f"{to},mode=max"])
    false = poison(tmp_path / "cache", first.layers[1].diff_id)
    journal.ran.clear()
    other = machine("b")
    (second,) = await other.build(two_stages(), imports=[origin], needed=EVERYTHING)
    assert second.diff_ids == first.diff_ids
    assert journal.ran == ["copy"]
    assert other.blobs.stat(false) is None


async def test_a_false_name_for_something_that_is_here_is_no_hit(machine, journal, to, origin, tmp_path):
    """A cache may name a blob of another image as its layer; it is looked into, and stays what it is."""
    (first,) = await machine("a").build(two_stages(), exports=[f"{to},mode=max"])
    false = poison(tmp_path / "cache", first.layers[1].diff_id)
    journal.ran.clear()
    other = machine("b")
    with other.blobs.writer() as writer:
        writer.write(b"poison")
        assert writer.commit() == false
    (second,) = await other.build(two_stages(), imports=[origin], needed=Needed(pushed_to=frozenset("r")))
    assert (journal.ran, second.diff_ids) == (["copy"], first.diff_ids)
    assert other.blobs.stat(false) == 6


async def test_layers_of_an_image_that_stays_are_copied(machine, to, origin):
    """A directory may be gone tomorrow; an image with a name may not be without layers then."""
    await machine("a").build(two_stages(), exports=[f"{to},mode=max"])
    other = machine("b")
    (result,) = await other.build(two_stages(), imports=[origin], needed=IMAGE)
    assert [layer.diff_id for layer in absent_layers(result.layers, other.blobs)] == [result.diff_ids[0]]


async def test_hits_last_without_the_cache_once_their_layers_are_here(machine, journal, to, origin, tmp_path):
    """Later builds need no import for what was fetched, and do not trust in what was not."""
    await machine("a").build(two_stages(), exports=[f"{to},mode=max"])
    fetched, lazy = machine("b"), machine("c")
    await fetched.build(two_stages(), imports=[origin], needed=EVERYTHING)
    await lazy.build(two_stages(), imports=[origin])
    journal.ran.clear()
    await fetched.build(two_stages())
    assert journal.ran == []
    await lazy.build(two_stages())
    assert len(journal.ran) == 4


async def test_several_caches(machine, journal, to, origin, tmp_path):
    """Each one contributes; the first that has a result is taken."""
    other = f"type=local,dest={tmp_path / 'second'}"
    await machine("a").build(graph(step("one")), exports=[to])
    await machine("b").build(graph(step("two")), exports=[other])
    journal.ran.clear()
    both = [origin, f"type=local,src={tmp_path / 'second'}"]
    await machine("c").build(graph(step("one"), step("two")), imports=both)
    assert journal.ran == []


async def test_two_builds_write_to_one_directory(machine, journal, to, origin):
    """The last one has the tag, and what it names is complete."""
    await asyncio.gather(
        *(machine(name).build(two_stages(), exports=[f"{to},mode=max"]) for name in ("a", "b", "c"))
    )
    journal.ran.clear()
    await machine("d").build(two_stages(), imports=[origin], needed=EVERYTHING)
    assert journal.ran == []


async def test_earlier_caches_stay_until_a_reset(machine, journal, to, origin, tmp_path):
    """They can be had by digest; reset=true leaves only what the index names."""
    await machine("a").build(graph(step("one")), exports=[to])
    (early,) = LayoutTagStore(tmp_path / "cache").entries()
    await machine("b").build(graph(step("two")), exports=[to])
    journal.ran.clear()
    await machine("c").build(graph(step("one")), imports=[f"{origin},digest={early.digest}"])
    assert journal.ran == []
    await machine("d").build(graph(step("two")), exports=[f"{to},reset=true"])
    blobs = LayoutBlobStore(tmp_path / "cache", durable=False)
    assert blobs.stat(early.digest) is None
    assert len(list(blobs.digests())) == 3, "manifest, configuration and one layer"


async def test_tags_in_a_directory(machine, journal, to, origin):
    """Several caches may lie in one directory."""
    await machine("a").build(graph(step("one")), exports=[f"{to},tag=one"])
    await machine("b").build(graph(step("two")), exports=[f"{to},tag=two"])
    journal.ran.clear()
    await machine("c").build(graph(step("one")), imports=[f"{origin},tag=one"])
    assert journal.ran == []
    await machine("c").build(graph(step("two")), imports=[origin])
    assert journal.ran == ["two"], "nothing has the tag latest"


async def test_problems_of_exports_are_warnings(machine, recorder, tmp_path):
    """Unless ignore-error=false says that they are errors; the build itself is done in both cases."""
    (tmp_path / "file").write_text("")
    exports = [f"type=local,dest={tmp_path / 'file'}"]
    tidy = machine("a")
    await tidy.build(graph(step("one")), exports=exports)
    (notice,) = tidy.notices
    assert str(tmp_path / "file") in notice
    with pytest.raises(ExportProblem, match="cannot export the cache to local:"):
        await machine("b").build(graph(step("one")), exports=[f"{exports[0]},ignore-error=false"])


async def test_a_failure_is_not_hidden_by_its_export(machine, tmp_path):
    """The error of the build comes out, whatever happens to the cache."""
    (tmp_path / "file").write_text("")
    plan = graph(step("bad", step("good"), error=BuildError("the reason")))
    with pytest.raises(BuildError, match="the reason"):
        await machine("a").build(plan, exports=[f"type=local,dest={tmp_path / 'file'},ignore-error=false"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_directory_without_permission(machine, tmp_path):
    """It is a warning, too."""
    (tmp_path / "closed").mkdir(mode=0o500)
    tidy = machine("a")
    await tidy.build(graph(step("one")), exports=[f"type=local,dest={tmp_path / 'closed'}"])
    assert len(tidy.notices) == 1
