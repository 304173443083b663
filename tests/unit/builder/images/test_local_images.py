"""Finding, listing, removing and cleaning up the images of a local store."""

import io
import os
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from builder import cleanup
from builder.accounting import account
from builder.caching.cache import CacheRecord, SqliteCacheIndex
from builder.errors import InvalidOption
from builder.images import describe, history, image_set, remove, rows, tag
from builder.importers.rootfs import import_rootfs
from oci_image.digest import Digest
from oci_image.documents import Index, author_index
from oci_image.errors import ImageError, InvalidReference, NotFound
from oci_image.platform import Platform
from oci_image.reference import Reference
from tests.unit.builder.images.conftest import tar_of


def test_find(images):
    """A name, an ID and the beginning of one find the image; nothing else does."""
    image = images.add("app:1")

    for text in ("app:1", "docker.io/library/app:1", str(image.id), image.id.hex[:12]):
        assert images.store.image(images.store.find(text).descriptor).id == image.id
    assert images.store.find(f"app@{image.manifest.digest}").descriptor == replace(
        image.manifest.descriptor, annotations=images.store.find("app:1").descriptor.annotations
    )
    for text in ("app:2", "other", "ffffffffffff"):
        with pytest.raises(NotFound, match=r"no such image"):
            images.store.find(text)
    with pytest.raises(InvalidReference):
        images.store.find("UPPER CASE")


def test_ambiguous_prefix(images):
    """A prefix of several IDs finds none of them."""
    seen = {}
    for number in range(2000):
        image = images.add(f"app:{number}", {"f": str(number).encode()})
        for digest in (image.id, image.manifest.digest):
            other = seen.setdefault(digest.hex[:4], (digest, image.id))
            if other[1] != image.id:
                with pytest.raises(NotFound, match="the beginning of 2"):
                    images.store.find(digest.hex[:4])
                return
    raise AssertionError("no collision of four digits among 4000 digests")


def test_platforms_of_an_index(images):
    """Of an index the image for the platform is found, and the others are listed when there is none."""
    children = []
    for architecture in ("arm64", "amd64"):
        image = import_rootfs(
            io.BytesIO(tar_of({"a": architecture.encode()})),
            images.store.blobs,
            platform=Platform(os="linux", architecture=architecture),
            epoch=0,
        )
        platform = image.config.value.platform
        children.append(replace(image.manifest.descriptor, platform=platform))
    index = author_index(Index(manifests=tuple(children)))
    with images.store.blobs.writer() as writer:
        writer.write(index.raw)
        writer.commit()
    images.store.tags.set("docker.io/library/multi:1", index.descriptor)
    found = images.store.find("multi:1").descriptor

    assert images.store.image(found, Platform.parse("linux/arm64")).manifest.digest == children[0].digest
    with pytest.raises(NotFound) as caught:
        images.store.image(found, Platform.parse("linux/s390x"))
    assert "linux/arm64, linux/amd64" in caught.value.hint
    assert len(list(rows(images.store))) == 2


def test_tag_and_remove(images):
    """Content goes with its last name, not before."""
    image = images.add("app:1")
    tag(images.store, "app:1", "localhost:5000/other:2")

    first = remove(images.store, "app:1", force=False)
    assert (first.untagged, first.deleted) == ((Reference.parse("app:1"),), ())
    second = remove(images.store, "localhost:5000/other:2", force=False)
    assert set(second.deleted) == {image.id, image.manifest.digest, image.layers[0].diff_id}
    assert list(images.store.blobs.digests()) == []


def test_remove_by_id(images):
    """An ID with several names is removed on request only."""
    image = images.add("app:1")
    tag(images.store, "app:1", "app:2")

    with pytest.raises(InvalidOption, match=r"2 names: app:1, app:2"):
        remove(images.store, image.id.short, force=False)
    assert len(remove(images.store, image.id.short, force=True).untagged) == 2
    with pytest.raises(NotFound):
        remove(images.store, image.id.short, force=True)


def test_shared_layers_stay(images):
    """A layer that another image needs stays."""
    images.add("one:1", changes=("LABEL a=1",))
    kept = images.add("two:1", changes=("LABEL a=2",))

    remove(images.store, "one:1", force=False)

    assert kept.layers[0].diff_id in set(images.store.blobs.digests())


def test_names_with_digests_are_no_tags(images):
    """A digest cannot be given to an image."""
    image = images.add("app:1")

    with pytest.raises(InvalidReference, match="digest"):
        tag(images.store, "app:1", f"other@{image.manifest.digest}")


def test_describe_and_history(images):
    """Docker's members are there; history counts the bytes of layers."""
    image = images.add("app:1", changes=('CMD ["a"]', "ENV x=1"), message="made")
    told = describe(images.store, images.store.find("app:1"))

    assert told["Id"] == str(image.id)
    assert told["RepoTags"] == ["app:1"]
    assert told["Config"]["Cmd"] == ["a"]
    assert told["Config"]["Env"][-1] == "x=1"
    (row,) = history(image)
    assert (row.entry.comment, row.size) == ("made", image.layers[0].descriptor.size)


@pytest.mark.parametrize("change", ["RUN x", "FROM y", "NOPE", "ENV", "COPY a b"])
def test_changes_that_cannot_be_made(images, change):
    """A change that is no metadata, or no instruction, is refused by name."""
    with pytest.raises(InvalidOption, match="--change"):
        images.add("app:1", changes=(change,))


def test_import_refuses_what_is_no_archive(images):
    """Nothing is stored of something that is no archive."""
    with pytest.raises(ImageError):
        import_rootfs(
            io.BytesIO(b"certainly no archive" * 100),
            images.store.blobs,
            platform=Platform.parse("linux/amd64"),
            epoch=0,
        )

    assert list(images.store.blobs.digests()) == []


def cache(images, *layers):
    """Remember layers as results of steps."""
    index = SqliteCacheIndex(os.path.join(images.store.state, "cache.db"))
    for number, layer in enumerate(layers):
        record = CacheRecord(
            layers=(layer,),
            content=Digest.of(b"content"),
            created=1000.0 + number,
            layer_size=1,
            duration=0.1,
        )
        key = Digest.of(str(number).encode())
        index.store([(key, b"preimage")], record)
    index.close()


def test_an_image_for_another_platform(images):
    """Who asks for a platform does not get an image for another one."""
    images.add("app:1", {"a": b"1"})
    found = images.store.find("app:1")
    own = images.store.image(found.descriptor).config.value.platform
    assert describe(images.store, found, own)["Architecture"] == own.architecture
    for ask in (describe, image_set):
        with pytest.raises(NotFound, match=f"the image is for {own}, not for linux/riscv64"):
            ask(images.store, found, Platform.parse("linux/riscv64"))


def test_prune_for_free_space(images, monkeypatch):
    """As much of the cache goes as the disk lacks, what was unused for longest first."""
    cache(images, *(images.add(None, {name: name.encode() * 5000}).layers[0] for name in ("a", "b")))
    size = account(images.store).cache_size
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=10**9, used=0, free=10**6))

    def gone(**bounds):
        return cleanup.prune(images.store, cutoff=0.0, dry_run=True, **bounds).records

    assert (gone(free=10**6), gone(free=10**6 + 1), gone(free=10**6 + size)) == (0, 1, 2)
    assert gone(free=10**6, keep=size - 1) == gone(free=10**6 + 1, keep=size) == 1


def test_prune_and_usage(images):
    """Pruning spares what names and cached steps need, and all of the cache goes on request."""
    named = images.add("app:1", {"a": b"1"})
    cached = images.add(None, {"b": b"2"})
    images.add(None, {"c": b"3"})
    cache(images, cached.layers[0])
    unpacked = os.path.join(images.store.state, "rootfs", cached.layers[0].diff_id.hex)
    os.makedirs(unpacked)
    found = account(images.store)
    counted = Counter(one.type for one in found.holdings)
    assert counted == {"image": 1, "regular": 1, "unpacked": 1}
    assert len(found.sizes) == 4  # nobody holds the others

    young = cleanup.prune(images.store, everything=False, unused_since=None, cutoff=0.0, dry_run=False)
    assert young.blobs == 0
    later = time.time() + 10
    dry = cleanup.prune(images.store, everything=False, unused_since=None, cutoff=later, dry_run=True)
    done = cleanup.prune(images.store, everything=False, unused_since=None, cutoff=later, dry_run=False)
    assert dry == done
    assert (done.blobs, done.records, done.directories) == (5, 0, 0)
    assert set(images.store.blobs.digests()) == {
        named.id,
        named.manifest.digest,
        named.layers[0].diff_id,
        cached.layers[0].diff_id,
    }

    everything = cleanup.prune(images.store, everything=True, unused_since=None, cutoff=later, dry_run=False)
    assert (everything.blobs, everything.records, everything.directories) == (1, 1, 1)
    assert not os.path.exists(unpacked)


def test_prune_of_what_is_made_of_layers(images):
    """Lists and unpacked directories go with their layers, cache mounts on request only."""
    image = images.add("app:1")
    diff_id = image.layers[0].diff_id
    images.layers.index(image.layers[0])
    gone = "0" * 64
    for folder, name in (
        ("rootfs", f"{diff_id.hex}-u"),
        ("rootfs", gone),
        ("mounts", "cache"),
        ("tars", gone),
    ):
        os.makedirs(os.path.join(images.store.state, folder, name))

    def left():
        return {
            (folder, name.replace(diff_id.hex, "living").replace(gone, "gone"))
            for folder in ("rootfs", "mounts", "tars", "index")
            for name in os.listdir(os.path.join(images.store.state, folder))
        }

    cleanup.prune(images.store, everything=False, unused_since=None, cutoff=0.0, dry_run=False)
    assert left() == {("rootfs", "living-u"), ("mounts", "cache"), ("index", "living")}
    cleanup.prune(images.store, everything=True, unused_since=None, cutoff=0.0, dry_run=False)
    assert left() == set()


def test_prune_by_age(images):
    """Steps that were not used for long are forgotten."""
    old = images.add(None, {"a": b"1"})
    cache(images, old.layers[0])

    done = cleanup.prune(images.store, everything=False, unused_since=2000.0, cutoff=0.0, dry_run=False)

    assert done.records == 1


@pytest.mark.parametrize("part", ["manifest", "config"])
def test_damaged_images_can_be_seen_and_removed(images, part):
    """An image that cannot be read is listed as such, does not hide others, and can be removed."""
    image = images.add("bad:1")
    images.add("good:1", {"x": b"other"})
    digest = image.manifest.digest if part == "manifest" else image.id
    path = images.store.blobs.local_path(digest)
    raw = bytearray(Path(path).read_bytes())
    raw[10] ^= 1
    Path(path).write_bytes(raw)

    told = {row.name.familiar: row.platform for row in rows(images.store)}
    assert told == {"bad:1": "damaged", "good:1": "linux/amd64"}

    removed = remove(images.store, "bad:1", force=False)
    assert [name.familiar for name in removed.untagged] == ["bad:1"]
    assert image.manifest.digest in removed.deleted
    assert [row.name.familiar for row in rows(images.store)] == ["good:1"]
