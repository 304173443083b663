"""Fixtures: local stores with small images."""

import io
import tarfile

import pytest

from builder.importers.rootfs import import_rootfs
from builder.layersource import StoreLayers
from builder.local import LocalStore
from builder.request import DEFAULT_EPOCH
from oci_image.platform import Platform
from oci_image.reference import Reference


def tar_of(files):
    """An archive of files by name; None is a directory, a str starting with "->" a link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            elif isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content.removeprefix("->")
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


FILES = {"bin": None, "bin/sh": b"#!", "etc": None, "etc/os": b"one", "lib": "->usr/lib", "usr": None}


class Images:
    """A local store and short ways to fill it."""

    def __init__(self, root):
        self.store = LocalStore(str(root))
        self.layers = StoreLayers(self.store.blobs, self.store.notes, self.store.state)

    def add(self, name, files=FILES, **kwargs):
        """Import files as an image."""
        image = import_rootfs(
            io.BytesIO(tar_of(files)),
            self.store.blobs,
            platform=Platform(os="linux", architecture="amd64"),
            epoch=DEFAULT_EPOCH,
            **kwargs,
        )
        if name:
            self.store.tags.set(str(Reference.parse(name)), image.manifest.descriptor)
        return image


@pytest.fixture
def images(tmp_path):
    """An empty local store."""
    made = Images(tmp_path / "store")
    yield made
    made.store.notes.close()


@pytest.fixture
def another(tmp_path):
    """Another empty local store."""
    made = Images(tmp_path / "another")
    yield made
    made.store.notes.close()
