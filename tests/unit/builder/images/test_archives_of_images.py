"""Images leave in archives and come back."""

import gzip
import io
import json
import tarfile

import pytest

from builder.exporters.archive import write_archive
from builder.importers.archive import load_archive
from builder.request import single
from oci_image.errors import ImageError, InvalidDocument, VerificationFailed
from oci_image.reference import Reference
from oci_image.verify import check_image

NAME = Reference.parse("team/app:1")


def saved(images, image, *, docker, compression, names=(NAME,)):
    out = io.BytesIO()
    write_archive(
        out,
        [(single(image), names)],
        images.store.blobs,
        docker=docker,
        compression=compression,
        scratch=images.store.state,
    )
    return out.getvalue()


def loaded(images, raw):
    return load_archive(io.BytesIO(raw), images.store.blobs, scratch=images.store.state)


@pytest.mark.parametrize("docker", [True, False])
@pytest.mark.parametrize("compression", ["uncompressed", "gzip", "gzip-fast", "zstd"])
def test_round_trip(images, another, docker, compression):
    """The image that comes back has the same ID and names, and every digest is right."""
    image = images.add("team/app:1")

    (one,) = loaded(another, saved(images, image, docker=docker, compression=compression))

    assert another.store.image(one.descriptor).id == image.id
    assert one.names == (NAME,)
    assert check_image(another.store.blobs, one.descriptor) == []


def test_same_image_same_archive(images, another):
    """An archive holds no trace of when and where it was written."""
    first = saved(images, images.add("a"), docker=False, compression="gzip")
    second = saved(another, another.add("b"), docker=False, compression="gzip")

    assert first == second


def test_members_are_what_docker_expects(images):
    """manifest.json names the configuration and the layers in order; everything is there."""
    raw = saved(images, images.add("x"), docker=True, compression="uncompressed")
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        (entry,) = json.load(archive.extractfile("manifest.json"))
        names = archive.getnames()

    assert entry["RepoTags"] == ["team/app:1"]
    assert {entry["Config"], *entry["Layers"]} <= set(names)
    assert {"oci-layout", "index.json", "manifest.json"} <= set(names)


def legacy(image, store, *, tamper=b""):
    """The archive that docker 20.10 writes: one folder for each layer, one of them a link."""
    with store.open(image.layers[0].descriptor.digest) as stream:
        layer = stream.read() + tamper
    files = {
        f"{image.id.hex}.json": image.config.raw,
        "aaaa/layer.tar": layer,
        "aaaa/VERSION": b"1.0",
        "repositories": b"{}",
    }
    manifest = [{"Config": f"{image.id.hex}.json", "RepoTags": ["old:2"], "Layers": ["bbbb/layer.tar"]}]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in {**files, "manifest.json": json.dumps(manifest).encode()}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        member = tarfile.TarInfo("bbbb/layer.tar")
        member.type, member.linkname = tarfile.SYMTYPE, "../aaaa/layer.tar"
        archive.addfile(member)
    return out.getvalue()


def test_legacy_archive(images, another):
    """Docker's older archives load, compressed or not."""
    image = images.add("x")
    raw = legacy(image, images.store.blobs)

    (one,) = loaded(another, gzip.compress(raw))

    assert another.store.image(one.descriptor).id == image.id
    assert [name.familiar for name in one.names] == ["old:2"]
    assert check_image(another.store.blobs, one.descriptor) == []


def test_wrong_layer_is_refused(images, another):
    """A layer that is not the one of the configuration stops the load, and is not kept."""
    image = images.add("x")

    with pytest.raises(VerificationFailed, match="the configuration says"):
        loaded(another, legacy(image, images.store.blobs, tamper=b"x"))

    assert list(another.store.blobs.digests()) == []


def test_wrong_blob_is_refused(images, another):
    """A blob that does not have the digest in its name stops the load."""
    raw = saved(images, images.add("x"), docker=False, compression="uncompressed")
    tampered = raw.replace(b"one", b"two")
    assert tampered != raw

    with pytest.raises(VerificationFailed):
        loaded(another, tampered)


@pytest.mark.parametrize("missing", ["config", "layer"])
def test_incomplete_archive_is_refused(images, another, missing):
    """A blob that the archive names but does not hold is missed."""
    image = images.add("x")
    raw = saved(images, image, docker=False, compression="uncompressed")
    digest = image.config.digest if missing == "config" else image.layers[0].descriptor.digest
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(raw)) as old, tarfile.open(fileobj=out, mode="w") as new:
        for member in old:
            if not member.name.endswith(digest.hex):
                new.addfile(member, old.extractfile(member) if member.isfile() else None)

    with pytest.raises(InvalidDocument, match=str(digest)):
        loaded(another, out.getvalue())


@pytest.mark.parametrize("raw", [b"", b"no archive", bytes(1024), gzip.compress(b"x" * 2000)], ids=range(4))
def test_no_image_archive(another, raw):
    """Anything else is refused in one sentence."""
    with pytest.raises(ImageError):
        loaded(another, raw)


def test_links_in_a_circle_end(another):
    """Links that lead nowhere are an error, not a loop."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, target in (("manifest.json", "other"), ("other", "manifest.json")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)

    with pytest.raises(InvalidDocument):
        loaded(another, out.getvalue())
