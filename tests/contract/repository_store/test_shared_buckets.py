"""Two registries on one bucket, each with an index of its own."""

import threading

import aiohttp
import pytest

from registry.server.config import RegistryConfig
from registry.server.listening import listening
from registry.server.opening import open_indexed
from registry.server.store import bucket_layout as keys
from registry.server.store.base import ConditionFailed, TagCondition
from tests.contract.repository_store.storing import D, manifest, push, read
from tests.contract.storages import new_bucket


@pytest.fixture
def two(bucket_service, tmp_path):
    url, settings = new_bucket(bucket_service(), tmp_path)
    made = [
        open_indexed(
            RegistryConfig(
                root=url,
                state=str(tmp_path / name),
                bucket_endpoint=settings.endpoint,
                bucket_region=settings.region,
                bucket_credentials=settings.credentials,
                bucket_refresh=3600,
            )
        )
        for name in ("one", "two")
    ]
    yield made
    for store in made:
        store.close()


def test_what_one_keeps_the_other_gives_out(two):
    """By digest and by tag at once; in lists after the next look."""
    one, other = two
    push(one, "a")
    made = manifest(b'{"x": 1}', D)
    one.manifests.put("a", made, ["t"])
    assert read(other, "a", D) == b"some bytes"
    assert other.tags.get("a", "t") == made.digest
    assert other.manifests.get("a", made.digest) == made
    other.catch_up()
    assert other.tags.names("a") == ["t"]
    assert other.tags.repositories() == ["a"]
    assert other.manifests.referrers("a", D) == [made]
    assert list(other.blobs.holders(D)) == ["a"]


def test_a_tag_that_moved_is_seen_at_once(two):
    """Tags are read from the bucket, however often they were read before."""
    one, other = two
    first, second = manifest(b'{"x": 1}'), manifest(b'{"x": 2}')
    one.manifests.put("a", first, ["t"])
    assert other.tags.get("a", "t") == first.digest
    other.manifests.put("a", second, ["t"])
    assert one.tags.get("a", "t") == second.digest
    one.catch_up()
    assert one.index.tags_of("a", second.digest) == ["t"]


def test_what_one_removes_the_other_forgets(two):
    """Manifests, tags and blobs, after the next look; what came meanwhile stays."""
    one, other = two
    push(one, "a")
    one.manifests.put("a", manifest(), ["t"])
    other.catch_up()
    one.manifests.delete("a", manifest().digest)
    one.blobs.delete("a", D)
    kept = push(other, "b", b"kept")
    assert other.tags.get("a", "t") is None
    other.catch_up()
    assert other.tags.names("a") is None
    assert other.tags.repositories() == []
    assert other.blobs.stat("a", D) is None
    assert other.blobs.stat("b", kept) == 4


async def test_a_server_remembers_no_tag_that_others_move(two):
    """Nor that a blob is here: the bucket is asked each time."""
    first, second = manifest(b'{"config": 1}'), manifest(b'{"config": 2}')
    config = RegistryConfig(port=0, root="s3://x", bucket_refresh=3600, drain_seconds=0.1)
    push(two[0], "a")
    two[0].manifests.put("a", first, ["t"])
    async with listening(config, two[0]) as url, aiohttp.ClientSession(url) as client:
        for made in (first, second):
            two[1].manifests.put("a", made, ["t"])
            for _again in range(2):
                async with client.get("/v2/a/manifests/t") as answer:
                    assert await answer.read() == made.raw
        async with client.head(f"/v2/a/blobs/{D}") as answer:
            assert answer.status == 200
        two[1]._bucket.remove(keys.content(D))
        async with client.head(f"/v2/a/blobs/{D}") as answer:
            assert answer.status == 404


def test_writers_of_one_tag_lose_no_update(two):
    """Of those that saw the same, one is faster, whichever registry it asked (If-Match)."""
    first = manifest(b'{"n": 0}')
    two[0].manifests.put("a", first, ["t"])
    expected = TagCondition(match=frozenset({str(first.digest)}))
    results = []
    ready = threading.Barrier(2)

    def write(number):
        ready.wait()
        made = manifest(b'{"writer": %d}' % number)
        try:
            two[number].manifests.put("a", made, ["t"], expected)
            results.append(made.digest)
        except ConditionFailed:
            results.append(None)

    for _round in range(10):
        two[0].manifests.put("a", first, ["t"])
        results.clear()
        threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners = [digest for digest in results if digest is not None]
        assert len(winners) == 1
        assert two[0].tags.get("a", "t") == winners[0]


def test_a_new_tag_is_taken_once(two):
    """If-None-Match: * holds across registries: the slower one is refused although it saw nothing."""
    made = [manifest(b'{"n": 1}'), manifest(b'{"n": 2}')]
    _current, nothing = two[1].tags.look("a", "t")
    assert nothing is None
    two[0].manifests.put("a", made[0], ["t"], TagCondition(none_match=frozenset({"*"})))
    with pytest.raises(ConditionFailed):
        two[1].tags.set("a", "t", made[1].digest, nothing)
    assert two[1].tags.get("a", "t") == made[0].digest
