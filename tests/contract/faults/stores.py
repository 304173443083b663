"""Short words for changes of a store without a server."""

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from registry.server.housekeeping.fsck import check
from registry.server.housekeeping.scrub import Scrubber
from registry.server.store.base import StoredManifest
from tests.contract.faults.serving import MANIFEST


def push(store, repository, data):
    upload = store.uploads.create(repository)
    upload.write([data])
    upload.commit(Digest.of(data))
    return Digest.of(data)


def manifest(raw):
    descriptor = Descriptor(media_type=MANIFEST, digest=Digest.of(raw), size=len(raw))
    return StoredManifest(descriptor=descriptor, raw=raw)


def findings(store):
    """What is wrong; a repository that is empty is not."""
    return [item for item in check(store, repair=False) if "is empty" not in item.problem]


def assert_sound(store):
    """Files, links, index and bytes are as they should be."""
    wrong = findings(store)
    assert wrong == [], wrong
    assert Scrubber(store).scrub().damaged == {}
