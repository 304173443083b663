"""What is killed at random moments: pushes, deletions and collections on one directory."""

WORKLOAD = """
import json, os, random, sys, threading
from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from registry.server.housekeeping.gc import Collector
from registry.server.store.base import StoredManifest
from registry.server.store.filesystem import FilesystemStore

store = FilesystemStore(sys.argv[1])
seed = int(sys.argv[2])
output = threading.Lock()

def say(*words):
    with output:
        os.write(1, (" ".join(words) + "\\n").encode())

def work(number):
    chance = random.Random(seed * 100 + number)
    repository = f"r{number}"
    turn = 0
    while True:
        turn += 1
        layer = f"{seed} {number} {turn}".encode() * chance.randrange(1, 3000)
        upload = store.uploads.create(repository)
        upload.write([layer])
        upload.commit(Digest.of(layer))
        rows = [{"digest": str(Digest.of(layer)), "size": len(layer), "mediaType": "x"}]
        raw = json.dumps({"schemaVersion": 2, "config": rows[0], "layers": rows}).encode()
        descriptor = Descriptor(media_type="application/x", digest=Digest.of(raw), size=len(raw))
        tag = f"t{chance.randrange(5)}"
        say("try", repository, tag, str(descriptor.digest))
        store.manifests.put(repository, StoredManifest(descriptor=descriptor, raw=raw), [tag])
        say("put", repository, tag, str(descriptor.digest))
        if chance.random() < 0.2:
            tag = f"t{chance.randrange(5)}"
            say("try", repository, tag, "-")
            store.tags.delete(repository, tag)
            say("put", repository, tag, "-")

say("started")
for number in range(3):
    threading.Thread(target=work, args=(number,), daemon=True).start()
collector = Collector(store, grace=0.3, undelete=0.5)
while True:
    collector.collect()
    store.settle_quiet()
"""
