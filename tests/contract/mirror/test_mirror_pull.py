"""What clients get through a mirror, and what the upstream is asked for."""

import asyncio
import json
import os

import pytest

from oci_image.digest import Digest
from tests.contract.mirror.farside import INDEX, digest_of, settled, until

LAYER = os.urandom(700_000)


async def test_everything_is_fetched_once(start, far):
    """A tag, its manifest and its blobs come from the upstream, and from then on from here."""
    digest = far.image("library/app", "1", LAYER)
    client = await start()

    for _ in range(2):
        answer = await client.get("/v2/docker.io/library/app/manifests/1")
        assert answer.status == 200
        assert answer.headers["Docker-Content-Digest"] == digest
        assert (await answer.read()) == far.manifests["library/app", digest][1]
        by_digest = await client.get(f"/v2/docker.io/library/app/manifests/{digest}")
        assert by_digest.status == 200
        blob = await client.get(f"/v2/docker.io/library/app/blobs/{digest_of(LAYER)}")
        assert (await blob.read()) == LAYER
        assert blob.headers["Docker-Content-Digest"] == digest_of(LAYER)
        assert "Warning" not in answer.headers

    assert far.count("GET", "/manifests/") == 1
    assert far.count("GET", "/blobs/") == 1
    assert far.count("HEAD") == 0


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("docker.io/library/app", ""),
        ("docker.io/app", ""),
        ("library/app", "?ns=docker.io"),
        ("library/app", ""),
    ],
)
async def test_forms_of_names(start, far, path, query):
    """A prefix, ns= and no hint at all lead to one repository, which is kept once."""
    digest = far.image("library/app", "1", b"layer")
    client = await start(default=True)

    assert (await client.get(f"/v2/{path}/manifests/1{query}")).status == 200
    assert (await client.head(f"/v2/{path}/manifests/1{query}")).status == 200
    assert (await client.get(f"/v2/{path}/manifests/{digest}{query}")).status == 200
    assert (await (await client.get(f"/v2/{path}/blobs/{digest_of(b'layer')}{query}")).read()) == b"layer"
    kept = json.loads(await (await client.get("/v2/_catalog")).read())
    assert kept == {"repositories": ["docker.io/library/app"]}


async def test_the_answer_says_whose_content_it_is(start, far):
    """As `ns=` asked for, on every kind of answer; not where nobody asked."""
    digest = far.image("library/app", "1", b"layer")
    client = await start(default=True)
    for path, status in (
        ("manifests/1", 200),
        (f"manifests/{digest}", 200),
        (f"blobs/{digest_of(b'layer')}", 200),
        (f"blobs/{digest_of(b'layer')}", 200),
        ("tags/list", 200),
        ("manifests/none", 404),
    ):
        answer = await client.get(f"/v2/library/app/{path}?ns=docker.io")
        await answer.read()
        assert (answer.status, answer.headers.get("OCI-Namespace")) == (status, "docker.io")
    for path in ("library/app/manifests/1", "docker.io/library/app/manifests/1", "x/manifests/1?ns=quay.io"):
        assert "OCI-Namespace" not in (await client.get(f"/v2/{path}")).headers


async def test_ns_of_others(start, far):
    """A registry that is not mirrored is not here, whatever the name; our own name is no mirror's."""
    far.image("library/app", "1")
    client = await start()

    assert (await client.get("/v2/library/app/manifests/1?ns=quay.io")).status == 404
    assert (await client.get(f"/v2/library/app/manifests/1?ns=127.0.0.1:{client.port}")).status == 404
    assert (await client.get("/v2/library/app/manifests/1")).status == 404
    assert far.asked == []


async def test_only_some_repositories(start, far):
    """What the patterns leave out is neither fetched nor asked for."""
    far.image("library/app", "1")
    far.image("evil/app", "1")
    client = await start(repositories=("library/*",), default=True)

    assert (await client.get("/v2/library/app/manifests/1")).status == 200
    refused = await client.get("/v2/docker.io/evil/app/manifests/1")
    assert refused.status == 404
    assert "not mirrored" in (await refused.text())
    assert (await client.get("/v2/evil/app/manifests/1")).status == 404
    assert far.count(part="evil") == 0


async def test_local_names_come_first(start, far):
    """A repository that was pushed here is not looked for at the default upstream; a push asks only here."""
    far.image("team/app", "1", b"theirs")
    client = await start(default=True)
    digest = digest_of(b"theirs")

    assert (await client.head(f"/v2/team/app/blobs/{digest}")).status == 404
    assert (await client.get("/v2/team/app/manifests/1")).status == 200
    posted = await client.post(f"/v2/team/app/blobs/uploads/?digest={digest_of(b'{}')}", data=b"{}")
    assert posted.status == 201
    assert (await client.get("/v2/team/app/manifests/1")).status == 404
    assert (await client.get("/v2/docker.io/team/app/manifests/1")).status == 200


async def test_head_of_a_blob(start, far):
    """It tells the size without fetching the blob."""
    far.image("library/app", "1", LAYER)
    client = await start()

    answer = await client.head(f"/v2/docker.io/library/app/blobs/{digest_of(LAYER)}")
    assert answer.status == 200
    assert answer.headers["Content-Length"] == str(len(LAYER))
    assert far.count("GET", "/blobs/") == 0
    assert (await client.head(f"/v2/docker.io/library/app/blobs/{digest_of(b'x')}")).status == 404


async def test_a_hundred_clients_and_one_fetch(start, far):
    """All of them get the bytes while they arrive, and none gets the last one before they were verified."""
    far.image("library/app", "1", LAYER)
    far.gate = asyncio.Event()
    client = await start()
    path = f"/v2/docker.io/library/app/blobs/{digest_of(LAYER)}"

    answers = await asyncio.gather(*(client.get(path) for _ in range(100)))
    firsts = await asyncio.gather(*(answer.content.readexactly(len(LAYER) // 2) for answer in answers))
    assert set(firsts) == {LAYER[: len(LAYER) // 2]}
    far.gate.set()
    rests = await asyncio.gather(*(answer.read() for answer in answers))
    assert {first + rest for first, rest in zip(firsts, rests, strict=True)} == {LAYER}
    assert far.count("GET", "/blobs/") == 1


async def test_a_hundred_clients_and_one_tag(start, far):
    """One question about a tag is everybody's."""
    far.image("library/app", "1")
    client = await start()

    answers = await asyncio.gather(*(client.get("/v2/docker.io/library/app/manifests/1") for _ in range(100)))
    assert {answer.status for answer in answers} == {200}
    assert far.count("GET", "/manifests/") == 1


async def test_fetches_outlive_their_clients(start, far, store):
    """Who asks next finds what the one who went away began."""
    far.image("library/app", "1", LAYER)
    far.gate = asyncio.Event()
    client = await start()
    path = f"/v2/docker.io/library/app/blobs/{digest_of(LAYER)}"

    leaving = await client.get(path)
    await leaving.content.readany()
    leaving.close()
    far.gate.set()
    answer = await client.get(path)
    assert (await answer.read()) == LAYER
    assert far.count("GET", "/blobs/") == 1


async def test_ranges(start, far):
    """A part of a blob that is not here yet is that part."""
    far.image("library/app", "1", LAYER)
    client = await start()
    path = f"/v2/docker.io/library/app/blobs/{digest_of(LAYER)}"

    for _ in range(2):
        answer = await client.get(path, headers={"Range": "bytes=100-199"})
        assert answer.status == 206
        assert (await answer.read()) == LAYER[100:200]


@pytest.mark.parametrize("knows_ranges", [True, False])
async def test_interrupted_fetches_go_on(start, far, knows_ranges):
    """By a range where the upstream knows them, else by what comes after the bytes that are here."""
    far.image("library/app", "1", LAYER)
    far.cuts = [200_000, 300_000]
    far.knows_ranges = knows_ranges
    client = await start()

    answer = await client.get(f"/v2/docker.io/library/app/blobs/{digest_of(LAYER)}")
    assert (await answer.read()) == LAYER
    asked = [headers.get("Range", "") for method, path, headers in far.asked if "/blobs/" in path]
    assert len(asked) == 3
    assert asked[0] == ""
    assert all(text.startswith("bytes=") for text in asked[1:])


async def test_unknown_length(start, far):
    """A body without a length is delivered with one."""
    far.blobs["library/app", digest_of(LAYER)] = LAYER
    far.says_length = False
    client = await start()

    answer = await client.get(f"/v2/docker.io/library/app/blobs/{digest_of(LAYER)}")
    assert answer.headers["Content-Length"] == str(len(LAYER))
    assert (await answer.read()) == LAYER


async def test_an_empty_blob(start, far):
    """Has no last byte to hold back."""
    far.blobs["library/app", digest_of(b"")] = b""
    client = await start()

    answer = await client.get(f"/v2/docker.io/library/app/blobs/{digest_of(b'')}")
    assert (answer.status, await answer.read()) == (200, b"")


async def test_a_wrong_large_blob(start, far, store):
    """The delivery is cut short, and nothing is kept."""
    far.image("library/app", "1", LAYER)
    far.lies.add(digest_of(LAYER))
    client = await start(missing_ttl=0)
    path = f"/v2/docker.io/library/app/blobs/{digest_of(LAYER)}"

    answer = await client.get(path)
    assert answer.headers["Content-Length"] == str(len(LAYER))
    with pytest.raises(Exception, match=r"payload|closed|reset"):
        await answer.read()
    assert list(store.blobs.holders(Digest.parse(digest_of(LAYER)))) == []
    far.lies.clear()
    await asyncio.sleep(2.1)  # a wrong answer is remembered so long
    assert (await (await client.get(path)).read()) == LAYER


async def test_a_wrong_small_blob(start, far):
    """There is time for an honest status."""
    far.image("library/app", "1", b"small")
    far.lies.add(digest_of(b"small"))
    client = await start()

    answer = await client.get(f"/v2/docker.io/library/app/blobs/{digest_of(b'small')}")
    assert answer.status == 502
    assert "delivered" in (await answer.text())


async def test_a_wrong_size(start, far):
    """What a manifest promised counts, not what the upstream says later."""
    far.image("library/app", "1", LAYER)
    client = await start()
    assert (await client.get("/v2/docker.io/library/app/manifests/1")).status == 200
    far.blobs["library/app", digest_of(LAYER)] = LAYER + b"more"

    assert (await client.get(f"/v2/docker.io/library/app/blobs/{digest_of(LAYER)}")).status == 502


@pytest.mark.parametrize("by", ["tag", "digest"])
async def test_a_wrong_manifest(start, far, store, by):
    """It is neither delivered nor kept."""
    digest = far.image("library/app", "1")
    far.lies.add(digest)
    client = await start()

    answer = await client.get(f"/v2/docker.io/library/app/manifests/{'1' if by == 'tag' else digest}")
    assert answer.status == 502
    assert store.manifests.get("docker.io/library/app", Digest.parse(digest)) is None


async def test_what_is_no_manifest(start, far):
    """Nothing that a push of it would be refused for gets in."""
    far.put(
        "library/app", "1", b'{"schemaVersion": 1}', "application/vnd.docker.distribution.manifest.v1+json"
    )
    far.put("library/app", "2", b"<html>", "text/html")
    far.put("library/app", "3", b" " * (5 * 1024 * 1024))
    client = await start()

    for tag in "123":
        answer = await client.get(f"/v2/docker.io/library/app/manifests/{tag}")
        assert answer.status == 503, tag


async def test_all_media_types(start, far):
    """An index and what no image is come as they are, and are asked for."""
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()
    other = json.dumps({"config": {"mediaType": "a/b", "digest": digest_of(b""), "size": 0}}).encode()
    far.put("library/app", "index", index, INDEX)
    far.put("library/app", "other", other, "application/vnd.example+json")
    client = await start()

    for tag, raw, media_type in (("index", index, INDEX), ("other", other, "application/vnd.example+json")):
        answer = await client.get(f"/v2/docker.io/library/app/manifests/{tag}")
        assert (answer.status, await answer.read()) == (200, raw)
        assert answer.headers["Content-Type"] == media_type
    accepted = far.asked[0][2]["Accept"]
    for media_type in (INDEX, "application/vnd.docker.distribution.manifest.list.v2+json", "*/*"):
        assert media_type in accepted


async def test_missing_things_stay_missing_for_a_while(start, far):
    """The upstream is asked once, and again after that."""
    far.image("library/app", "1")
    client = await start(missing_ttl=0.3)
    paths = [
        "/v2/docker.io/library/app/manifests/none",
        f"/v2/docker.io/library/app/manifests/{digest_of(b'none')}",
        f"/v2/docker.io/library/app/blobs/{digest_of(b'none')}",
    ]

    for _ in range(3):
        for path in paths:
            assert (await client.get(path)).status == 404
    assert len(far.asked) == 3
    await asyncio.sleep(0.35)
    for path in paths:
        assert (await client.get(path)).status == 404
    assert len(far.asked) == 6


async def test_pushes_are_refused(start, far):
    """With words that say where to push; deletions empty the cache."""
    far.image("library/app", "1", b"layer")
    client = await start()
    prefix = "/v2/docker.io/library/app"

    for method, path in (
        ("POST", f"{prefix}/blobs/uploads/"),
        ("PUT", f"{prefix}/manifests/1"),
        ("PATCH", f"{prefix}/blobs/uploads/x"),
        ("POST", "/v2/library/app/blobs/uploads/?ns=docker.io"),
    ):
        answer = await client.request(method, path, data=b"{}")
        assert answer.status == 403, path
        error = json.loads(await answer.read())["errors"][0]
        assert error["code"] == "DENIED"
        assert f"mirrored from {far.url}" in error["message"]
    assert (await client.get(f"{prefix}/manifests/1")).status == 200
    assert (await client.delete(f"{prefix}/manifests/1")).status == 202
    assert (await client.get(f"{prefix}/manifests/1")).status == 200
    assert far.count("GET", "/manifests/1") == 2


@pytest.mark.parametrize("prefer", ["local", "upstream"])
async def test_pushes_where_they_are_allowed(start, far, prefer):
    """Whose tag counts is a setting; what is only here stays."""
    theirs = far.image("library/app", "1")
    client = await start(push=True, prefer=prefer, tag_ttl=0, server={"verify_references": False})
    prefix = "/v2/docker.io/library/app"
    raw = json.dumps({"schemaVersion": 2, "manifests": []}).encode()

    for tag in ("1", "mine"):
        put = await client.put(f"{prefix}/manifests/{tag}", data=raw, headers={"Content-Type": INDEX})
        assert put.status == 201
    got = await client.get(f"{prefix}/manifests/1")
    assert got.headers["Docker-Content-Digest"] == (digest_of(raw) if prefer == "local" else theirs)
    assert (await client.get(f"{prefix}/manifests/mine")).headers["Docker-Content-Digest"] == digest_of(raw)
    listed = json.loads(await (await client.get(f"{prefix}/tags/list")).read())
    assert listed["tags"] == ["1", "mine"]


async def test_layers_are_shared(start, far):
    """What one repository has, another one gets without a fetch, once its manifest refers to it."""
    far.image("library/a", "1", LAYER)
    far.image("library/b", "1", LAYER)
    client = await start()

    for name in ("a", "b"):
        assert (await client.get(f"/v2/docker.io/library/{name}/manifests/1")).status == 200
        answer = await client.get(f"/v2/docker.io/library/{name}/blobs/{digest_of(LAYER)}")
        assert (await answer.read()) == LAYER
        await settled()
    assert far.count("GET", "/blobs/") == 1
    # Without such a manifest, the upstream has to say that it is there.
    assert (await client.get(f"/v2/docker.io/library/c/blobs/{digest_of(LAYER)}")).status == 404


async def test_a_server_that_stops_ends_its_fetches(start, far):
    """Nothing is left behind."""
    far.image("library/app", "1", LAYER)
    far.gate = asyncio.Event()
    client = await start()
    answer = await client.get(f"/v2/docker.io/library/app/blobs/{digest_of(LAYER)}")
    await answer.content.readany()
    await until(lambda: far.count("GET", "/blobs/") == 1)
    await client.close()
    far.gate.set()
