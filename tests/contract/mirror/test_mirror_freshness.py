"""How long a mirror believes what it knows, and what it does when the upstream fails."""

import asyncio
import base64
import json
import logging
import os
import time

import pytest

from oci_image.digest import Digest
from registry.server.app import create_app
from registry.server.config import RegistryConfig
from registry.server.mirror.settings import Mirror
from registry.server.policies import Policy
from registry.server.store.filesystem import FilesystemStore
from registry.upstreams import upstreams
from tests.contract.mirror.farside import INDEX, damage, digest_of, settled, until

LAYER = os.urandom(300_000)
TAG = "/v2/docker.io/library/app/manifests/1"
NAME = "docker.io/library/app"


async def test_a_tag_that_did_not_move(start, far):
    """After its time a HEAD is enough, which registries do not count as a pull."""
    digest = far.image("library/app", "1")
    client = await start(tag_ttl=0)

    for _ in range(3):
        assert (await client.get(TAG)).headers["Docker-Content-Digest"] == digest
    assert far.count("GET", "/manifests/") == 1
    assert far.count("HEAD", "/manifests/1") == 2


async def test_a_tag_within_its_time(start, far):
    """Is not asked for, and does not move."""
    old = far.image("library/app", "1")
    client = await start(tag_ttl=60)
    assert (await client.get(TAG)).status == 200
    far.image("library/app", "1", b"new")

    assert (await client.get(TAG)).headers["Docker-Content-Digest"] == old
    assert len(far.asked) == 1


async def test_a_tag_that_moved(start, far):
    """The new manifest is fetched by the digest that the HEAD told; an old one again costs nothing."""
    old = far.image("library/app", "1")
    client = await start(tag_ttl=0)
    assert (await client.get(TAG)).status == 200
    new = far.image("library/app", "1", b"new")

    assert (await client.get(TAG)).headers["Docker-Content-Digest"] == new
    assert far.count("GET", f"/manifests/{new}") == 1
    far.tags["library/app", "1"] = old
    assert (await client.get(TAG)).headers["Docker-Content-Digest"] == old
    assert far.count("GET", "/manifests/") == 2


async def test_an_upstream_without_digests(start, far):
    """Is asked by its ETag, and may answer that nothing changed."""
    digest = far.image("library/app", "1")
    far.says_digest = False
    client = await start(tag_ttl=0)

    for _ in range(2):
        assert (await client.get(TAG)).headers["Docker-Content-Digest"] == digest
    assert far.asked[-1][0] == "GET"
    assert far.asked[-1][2]["If-None-Match"] == f'"{digest}"'
    new = far.image("library/app", "1", b"new")
    assert (await client.get(TAG)).headers["Docker-Content-Digest"] == new


async def test_a_tag_that_is_gone(start, far, store):
    """Is gone here too; what it stood for can still be had by its digest."""
    digest = far.image("library/app", "1")
    client = await start(tag_ttl=0)
    assert (await client.get(TAG)).status == 200
    del far.tags["library/app", "1"]

    assert (await client.get(TAG)).status == 404
    assert store.tags.get(NAME, "1") is None
    assert (await client.get(f"/v2/{NAME}/manifests/{digest}")).status == 200


FAILURES = {
    "broken": ((500, {}), 503),
    "gateway": ((502, {}), 503),
    "limited": ((429, {"Retry-After": "17"}), 429),
    "busy": ((503, {"Retry-After": "17"}), 429),
    "refused": ((403, {}), 403),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_stale_rather_than_nothing(start, far, name):
    """What is here is served with warnings and its age; what is not is an honest error."""
    broken, status = FAILURES[name]
    digest = far.image("library/app", "1", b"layer")
    client = await start(tag_ttl=0)
    assert (await client.get(TAG)).status == 200
    assert (await client.get(f"/v2/{NAME}/blobs/{digest_of(b'layer')}")).status == 200
    far.broken = broken

    for _ in range(3):
        answer = await client.get(TAG)
        assert (answer.status, answer.headers["Docker-Content-Digest"]) == (200, digest)
        warnings = answer.headers.getall("Warning")
        assert warnings[:2] == ['110 - "Response is Stale"', '111 - "Revalidation Failed"']
        assert warnings[2].startswith('299 - "served from the mirror: ')
        assert answer.headers["Age"] == "0"
    by_digest = await client.get(f"/v2/{NAME}/manifests/{digest}")
    assert by_digest.status == 200
    assert "Warning" not in by_digest.headers
    assert (await client.get(f"/v2/{NAME}/blobs/{digest_of(b'layer')}")).status == 200
    other = await client.get(f"/v2/{NAME}/manifests/2")
    assert other.status == status
    if status == 429:
        assert 15 <= int(other.headers["Retry-After"]) <= 17
    assert json.loads(await other.read())["errors"]


async def test_an_upstream_that_is_not_there(start, far):
    """The same, and not every client waits for the connection."""
    digest = far.image("library/app", "1")
    client = await start(tag_ttl=0)
    assert (await client.get(TAG)).status == 200
    await far.server.close()

    for _ in range(3):
        answer = await client.get(TAG)
        assert (answer.status, answer.headers["Docker-Content-Digest"]) == (200, digest)
        assert "Warning" in answer.headers
    missing = await client.get(f"/v2/{NAME}/manifests/2")
    assert missing.status == 503
    assert int(missing.headers["Retry-After"]) >= 1


async def test_limits_are_respected(start, far):
    """An upstream that says 429 is left alone for as long as it says; blobs are counted by themselves."""
    far.image("library/app", "1", b"layer")
    client = await start(tag_ttl=0)
    assert (await client.get(TAG)).status == 200
    far.broken = (429, {"Retry-After": "1"})
    for _ in range(3):
        assert "Warning" in (await client.get(TAG)).headers
    asked = len(far.asked)
    assert asked == 2
    far.broken = None

    assert (await client.get(f"/v2/{NAME}/blobs/{digest_of(b'layer')}")).status == 200
    assert "Warning" in (await client.get(TAG)).headers
    assert far.count(part="/manifests/") == asked
    await asyncio.sleep(1.1)
    assert "Warning" not in (await client.get(TAG)).headers


async def test_an_upstream_that_keeps_silent(start, far):
    """Is given up; what is here does not wait for it again at once."""
    far.image("library/app", "1")
    client = await start(tag_ttl=0, timeout=0.3)
    assert (await client.get(TAG)).status == 200
    far.silence = 1.0

    began = time.monotonic()
    for _ in range(5):
        assert "Warning" in (await client.get(TAG)).headers
    assert time.monotonic() - began < 2.5  # two attempts, once


async def test_a_blob_that_stops_arriving(start, far):
    """Goes on by another connection."""
    far.image("library/app", "1", LAYER)
    far.gate = asyncio.Event()
    client = await start(timeout=0.5)

    answer = await client.get(f"/v2/{NAME}/blobs/{digest_of(LAYER)}")
    await answer.content.readexactly(len(LAYER) // 2)
    asked = far.count("GET", "/blobs/")
    await until(lambda: far.count("GET", "/blobs/") > asked)
    far.gate.set()
    rest = await answer.read()
    assert rest == LAYER[len(LAYER) // 2 :]


async def test_not_stale_for_ever(start, far):
    """Where the settings say so, an old tag is not served any more."""
    far.image("library/app", "1")
    client = await start(tag_ttl=0, stale_for=0.2)
    assert (await client.get(TAG)).status == 200
    far.broken = (500, {})

    assert (await client.get(TAG)).status == 200
    await asyncio.sleep(0.25)
    assert (await client.get(TAG)).status == 503


async def test_offline(start, far, store):
    """Nothing is asked; what is here is served, and says that nobody was asked."""
    digest = far.image("library/app", "1")
    client = await start()
    assert (await client.get(TAG)).status == 200
    asked = len(far.asked)
    await client.close()

    offline = await start(offline=True, tag_ttl=0)
    answer = await offline.get(TAG)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (200, digest)
    assert answer.headers["Warning"] == '112 - "Disconnected Operation"'
    missing = await offline.get(f"/v2/{NAME}/manifests/2")
    assert missing.status == 404
    assert "offline" in (await missing.text())
    assert (await offline.get(f"/v2/{NAME}/blobs/{digest_of(b'x')}")).status == 404
    assert json.loads(await (await offline.get(f"/v2/{NAME}/tags/list")).read())["tags"] == ["1"]
    assert len(far.asked) == asked


async def test_immutable_tags_are_not_asked_for(start, far):
    """A policy that lets a tag stand for one manifest holds for what upstreams say, too."""
    old = far.image("library/app", "1")
    policy = Policy(repositories="docker.io/**", immutable_tags=("1",))
    client = await start(tag_ttl=0, server={"policies": (policy,)})
    assert (await client.get(TAG)).status == 200
    far.image("library/app", "1", b"new")

    assert (await client.get(TAG)).headers["Docker-Content-Digest"] == old
    assert len(far.asked) == 1


async def test_a_restart_asks_for_nothing(aiohttp_client, far, tmp_path):
    """When a tag was checked is remembered."""
    digest = far.image("library/app", "1", LAYER)
    config = RegistryConfig(
        root=str(tmp_path / "r"), mirrors=(Mirror(prefix="docker.io", upstream=far.url, tag_ttl=60),)
    )
    for _ in range(2):
        store = FilesystemStore(config.root)
        client = await aiohttp_client(create_app(config, store, upstreams=upstreams({})))
        assert (await client.get(TAG)).headers["Docker-Content-Digest"] == digest
        assert (await (await client.get(f"/v2/{NAME}/blobs/{digest_of(LAYER)}")).read()) == LAYER
        await client.close()
        store.close()
    assert len(far.asked) == 2


async def test_without_records_everything_still_works(aiohttp_client, far, tmp_path):
    """The tag is checked once more; one that may have been pushed here does not go."""
    far.image("library/app", "1")
    config = RegistryConfig(
        root=str(tmp_path / "r"), mirrors=(Mirror(prefix="docker.io", upstream=far.url, tag_ttl=60),)
    )
    for turn in range(3):
        store = FilesystemStore(config.root)
        client = await aiohttp_client(create_app(config, store, upstreams=upstreams({})))
        if turn == 2:  # nobody knows whose it was
            far.tags.clear()
        assert (await client.get(TAG)).status == 200
        await client.close()
        store.close()
        if turn < 2:
            for path in (tmp_path / "r").glob("mirror.db*"):
                path.unlink()
    assert far.count("GET", "/manifests/") == 1
    assert far.count("HEAD", "/manifests/1") == 2


@pytest.mark.parametrize("store", ["filesystem"], indirect=True)
@pytest.mark.parametrize("size", [1000, 300_000])
async def test_damaged_content_is_fetched_again(start, far, store, size):
    """Whoever meets damage is not served it, and the next one gets the upstream's bytes."""
    layer = os.urandom(size)
    far.image("library/app", "1", layer)
    client = await start(server={"verify_window": 0.0})
    path = f"/v2/{NAME}/blobs/{digest_of(layer)}"
    assert (await (await client.get(path)).read()) == layer
    file = store.layout.blob(Digest.parse(digest_of(layer)))
    await settled()
    damage(file, lambda raw: raw[:10] + bytes(len(raw) - 10))

    try:
        first = await (await client.get(path)).read()
    except Exception:  # noqa: BLE001 - a large one is cut
        first = layer
    assert first == layer
    assert (await (await client.get(path)).read()) == layer
    assert far.count("GET", "/blobs/") == 2


@pytest.mark.parametrize("store", ["filesystem"], indirect=True)
async def test_a_damaged_manifest_is_fetched_again(start, far, store):
    """By its digest, without asking for the tag's."""
    digest = far.image("library/app", "1")
    client = await start()
    assert (await client.get(TAG)).status == 200
    file = store.layout.member(NAME, "manifests", Digest.parse(digest))
    damage(file, lambda raw: raw[:-3] + b"xxx")
    await client.close()

    again = await start()
    assert (await again.get(TAG)).headers["Docker-Content-Digest"] == digest
    assert (await again.get(f"/v2/{NAME}/manifests/{digest}")).status == 200


async def test_lists_of_tags(start, far):
    """In pages, by the name that the client uses; asked for once in a while; old ones rather than none."""
    for tag in ("a", "b", "c"):
        far.image("library/app", tag)
    client = await start(tag_ttl=0.3, missing_ttl=0)

    answer = await client.get("/v2/library/app/tags/list?ns=docker.io&n=2")
    assert json.loads(await answer.read()) == {"name": "library/app", "tags": ["a", "b"]}
    link = answer.headers["Link"]
    assert link == '</v2/library/app/tags/list?last=b&n=2&ns=docker.io>; rel="next"'
    rest = await client.get(link[1:].partition(">")[0])
    assert json.loads(await rest.read())["tags"] == ["c"]
    assert "Link" not in rest.headers
    assert far.count("GET", "/tags/list") == 1
    assert (await client.get("/v2/docker.io/library/none/tags/list")).status == 404

    far.broken = (500, {})
    await asyncio.sleep(0.35)
    stale = await client.get(f"/v2/{NAME}/tags/list")
    assert json.loads(await stale.read())["tags"] == ["a", "b", "c"]
    assert "Warning" in stale.headers


async def test_lists_without_an_upstream(start, far):
    """What was fetched can be listed."""
    far.image("library/app", "1")
    client = await start()
    assert (await client.get(TAG)).status == 200
    far.broken = (500, {})

    answer = await client.get(f"/v2/{NAME}/tags/list")
    assert json.loads(await answer.read())["tags"] == ["1"]
    assert "Warning" in answer.headers
    assert (await client.get("/v2/docker.io/library/none/tags/list")).status == 503


@pytest.mark.parametrize("knows", [True, False])
async def test_referrers(start, far, knows):
    """Those that the upstream lists or keeps under a tag, with those that are here; the type filters them."""
    digest = far.image("library/app", "1")
    signature = far.image("library/app", "sig", subject=digest)
    row = {"mediaType": "m/x", "digest": digest_of(b"r"), "size": 1, "artifactType": "a/sbom"}
    far.knows_referrers = knows
    far.referrers[digest] = [row]
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [row]}).encode()
    far.put("library/app", digest.replace(":", "-"), index, INDEX)
    client = await start()
    assert (await client.get(f"/v2/{NAME}/manifests/{signature}")).status == 200

    path = f"/v2/{NAME}/referrers/{digest}"
    found = json.loads(await (await client.get(path)).read())["manifests"]
    assert {item["digest"] for item in found} == {signature, digest_of(b"r")}
    one = await client.get(f"{path}?artifactType=a/sbom")
    assert [item["digest"] for item in json.loads(await one.read())["manifests"]] == [digest_of(b"r")]
    assert one.headers["OCI-Filters-Applied"] == "artifactType"
    far.broken = (500, {})
    other = await client.get(f"/v2/{NAME}/referrers/{signature}")
    assert other.status == 200
    assert "Warning" in other.headers


@pytest.fixture
def docker_config(tmp_path, far):
    def write(password):
        far.password = password
        auth = base64.b64encode(password.encode()).decode()
        path = tmp_path / "config.json"
        path.write_text(json.dumps({"auths": {f"127.0.0.1:{far.server.port}": {"auth": auth}}}))
        return str(path)

    return write


@pytest.mark.parametrize("place", ["file", "variable", "docker"])
async def test_credentials(start, far, tmp_path, docker_config, caplog, place):
    """From each place; they go to the upstream's token endpoint, and are seen nowhere else."""
    caplog.set_level(logging.DEBUG)
    far.password = "ann:hunter2"
    (tmp_path / "password").write_text("hunter2\n")
    settings = {
        "file": {"username": "ann", "password_file": str(tmp_path / "password")},
        "variable": {"username": "ann", "password_env": "FAR"},
        "docker": {"docker_config": docker_config("ann:hunter2"), "prefix": "far"},
    }[place]
    far.image("library/app", "1", LAYER)
    client = await start({"FAR": "hunter2"}, **settings)
    name = f"{'far' if place == 'docker' else 'docker.io'}/library/app"

    answer = await client.get(f"/v2/{name}/manifests/1", headers={"Authorization": "Basic bWU6bXk="})
    assert answer.status == 200
    assert "WWW-Authenticate" not in answer.headers
    assert (await (await client.get(f"/v2/{name}/blobs/{digest_of(LAYER)}")).read()) == LAYER
    assert all("bWU6bXk" not in str(asked) for asked in far.asked)
    assert "hunter2" not in caplog.text
    assert "let-me-in" not in caplog.text
    assert far.count("GET", "/token") == 1


async def test_wrong_credentials(start, far, caplog):
    """The client learns that the mirror was refused, but no password and no challenge of the upstream."""
    far.password = "ann:hunter2"
    far.image("library/app", "1")
    client = await start({"FAR": "wrong-one"}, username="ann", password_env="FAR")

    answer = await client.get(TAG)
    text = await answer.text()
    assert answer.status == 403
    assert "refused" in text
    assert "WWW-Authenticate" not in answer.headers
    assert "wrong-one" not in text + caplog.text


@pytest.mark.parametrize("place", [{"password_env": "NOWHERE"}, {"password_file": "/nowhere/at/all"}])
async def test_a_password_that_is_not_there(start, far, caplog, place):
    """The client learns that it is the mirror's fault; where the password should be is for the log."""
    far.password = "ann:x"
    far.image("library/app", "1")
    client = await start(username="ann", **place)

    answer = await client.get(TAG)
    assert answer.status == 403
    text = await answer.text()
    assert "credentials for the upstream cannot be used" in text
    assert "nowhere" not in text.lower()
    assert next(iter(place.values())) in caplog.text
