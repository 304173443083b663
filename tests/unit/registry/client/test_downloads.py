"""Pulling one blob from registries that break, lie and stall."""

import pytest

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from oci_image.errors import VerificationFailed
from oci_image.store.memory import MemoryBlobStore
from registry.client.client import RegistryClient
from registry.client.scripted import Reply, ScriptedRegistry, Seen
from registry.errors import ApiError, MalformedMessage, TransportProblem
from registry.protocol.headers import DIGEST_HEADER

DATA = bytes(range(256)) * 4096
BLOB = Descriptor(media_type="x", digest=Digest.of(DATA), size=len(DATA))
TARGET = f"/v2/app/blobs/{BLOB.digest}"


async def pull(client: RegistryClient, blob: Descriptor = BLOB) -> tuple[MemoryBlobStore, list[int]]:
    """Pull into a new store; it must be empty when that fails."""
    store, steps = MemoryBlobStore(), []
    try:
        with store.writer(blob.digest.algorithm) as sink:
            await client.get_blob("app", blob, sink, steps.append)
    except Exception:
        assert list(store.digests()) == []
        raise
    return store, steps


def ranged(seen: Seen) -> Reply:
    """Answer a range request as a good server does."""
    start = int(seen.headers["range"].removeprefix("bytes=").removesuffix("-"))
    fields = {"Content-Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"}
    return Reply(status=206, body=DATA[start:], headers=fields)


async def test_blob_is_pulled_and_committed(scripted, client):
    """All bytes arrive, progress ends at the size."""
    scripted.on("GET", TARGET, Reply(body=DATA))
    store, steps = await pull(client)
    assert store.open(BLOB.digest).read() == DATA
    assert steps[-1] == len(DATA)
    assert steps == sorted(steps)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_empty_blob_is_pulled(scripted, client, algorithm):
    """Nothing is also something."""
    blob = Descriptor(media_type="x", digest=Digest.of(b"", algorithm), size=0)
    scripted.on("GET", f"/v2/app/blobs/{blob.digest}", Reply())
    store, _ = await pull(client, blob)
    assert store.stat(blob.digest) == 0


async def test_broken_download_goes_on_where_it_broke(scripted, client):
    """After two breaks every byte was asked for once."""

    def broken_again(seen: Seen) -> Reply:
        reply = ranged(seen)
        return Reply(status=206, body=reply.body, headers=reply.headers, cut=300_000)

    scripted.on("GET", TARGET, Reply(body=DATA, cut=300_000), broken_again, ranged)
    store, _ = await pull(client)
    assert store.open(BLOB.digest).read() == DATA
    assert [seen.headers.get("range") for seen in scripted.asked("GET", TARGET)] == [
        None,
        "bytes=300000-",
        "bytes=600000-",
    ]


async def test_registry_without_ranges_starts_over(scripted, client):
    """A 200 to a range request is skipped up to where we were."""
    scripted.on("GET", TARGET, Reply(body=DATA, cut=1000), Reply(body=DATA))
    store, _ = await pull(client)
    assert store.open(BLOB.digest).read() == DATA


async def test_stalled_download_goes_on(scripted, client):
    """A connection without progress is given up, and continued on another one."""
    stalled = Reply(body=DATA[:5000], headers={"Content-Length": str(len(DATA))})
    scripted.on("GET", TARGET, stalled, ranged)
    store, _ = await pull(client)
    assert store.stat(BLOB.digest) == len(DATA)


async def test_breaks_without_progress_end(scripted, client):
    """A registry that always breaks is given up."""
    scripted.on("GET", TARGET, Reply(body=DATA, cut=0))
    with pytest.raises(TransportProblem, match=str(BLOB.digest)):
        await pull(client)
    assert len(scripted.asked("GET", TARGET)) <= 8


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(body=DATA[:-1] + b"!"), "other bytes"),
        (Reply(body=DATA + b"more"), "were promised"),
        (Reply(body=DATA[:-10]), "were promised"),
        (Reply(body=DATA, endless=True), "more than the promised"),
        (Reply(body=DATA, headers={DIGEST_HEADER: str(Digest.of(b"other"))}), "says that it is"),
    ],
)
async def test_lying_registry_leaves_nothing(scripted, client, reply, says):
    """Wrong bytes, wrong size, no end, wrong digest: one error that names everything, and an empty store."""
    scripted.on("GET", TARGET, reply)
    with pytest.raises(VerificationFailed, match=says) as caught:
        await pull(client)
    for part in (scripted.name, "app", str(BLOB.digest)):
        assert part in caught.value.message


@pytest.mark.parametrize("content_range", ["", "bytes 7-9/10", f"bytes 2000-{len(DATA) - 1}/{len(DATA)}"])
async def test_wrong_range_is_refused(scripted, client, content_range):
    """A 206 with another range cannot be joined to what we have."""
    scripted.on(
        "GET",
        TARGET,
        Reply(body=DATA, cut=1000),
        Reply(status=206, body=DATA[2000:], headers={"Content-Range": content_range}),
    )
    with pytest.raises((VerificationFailed, MalformedMessage), match=r"[Rr]ange"):
        await pull(client)


async def test_absent_blob_is_an_api_error(scripted, client):
    """404 is told, not tried again."""
    scripted.on("GET", TARGET, Reply(status=404))
    with pytest.raises(ApiError, match=str(BLOB.digest)):
        await pull(client)
    assert len(scripted.asked("GET", TARGET)) == 1


async def test_foreign_layer_comes_from_its_urls(scripted, client):
    """What the registry does not have is fetched, and verified, from where the descriptor says."""
    async with ScriptedRegistry() as elsewhere:
        elsewhere.on("GET", "/bad", Reply(status=404))
        elsewhere.on("GET", "/layer?x=%2F", Reply(body=DATA))
        urls = ("ftp://x/", f"{elsewhere.url}/bad", f"{elsewhere.url}/layer?x=%2F")
        blob = Descriptor(media_type="x", digest=BLOB.digest, size=BLOB.size, urls=urls)
        scripted.on("GET", TARGET, Reply(status=404))
        store, _ = await pull(client, blob)
        assert store.stat(BLOB.digest) == len(DATA)
