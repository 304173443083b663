"""What the tests of the storages put in and read back."""

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from registry.server.store.base import StoredManifest

DATA = b"some bytes"
D = Digest.of(DATA)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def push(store, repository, data=DATA, algorithm="sha256"):
    upload = store.uploads.create(repository, algorithm)
    upload.write([data])
    upload.commit(Digest.of(data, algorithm))
    return Digest.of(data, algorithm)


def manifest(content=b"{}", subject=None, artifact_type="", annotations=None):
    descriptor = Descriptor(
        media_type="application/x",
        digest=Digest.of(content),
        size=len(content),
        artifact_type=artifact_type,
        annotations=annotations or {},
    )
    return StoredManifest(descriptor=descriptor, raw=content, subject=subject)


def read(store, repository, digest):
    with store.blobs.open(repository, digest) as file:
        return file.read()
