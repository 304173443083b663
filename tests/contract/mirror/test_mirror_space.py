"""Whose rules hold for mirrored content, what becomes of it, and what is counted."""

import base64
import os
import re

import aiohttp
import bcrypt
import pytest

from oci_image.digest import Digest
from registry.errors import InvalidConfiguration
from registry.server.app import create_app
from registry.server.config import RegistryConfig, TokenAuth
from registry.server.housekeeping.gc import Collector
from registry.server.mirror.settings import Mirror
from registry.server.policies import Policy
from registry.server.rights import Rule
from registry.server.store.filesystem import FilesystemStore
from registry.server.store.memory import MemoryStore
from registry.upstreams import upstreams
from tests.contract.mirror.farside import FarSide, damage, digest_of, settled, until

LAYER = os.urandom(600_000)
NAME = "docker.io/library/app"


@pytest.mark.parametrize("store", ["filesystem"], indirect=True)
async def test_what_does_not_fit_is_delivered_and_not_kept(start, far, store):
    """A quota is about space, not about who may have what."""
    far.image("library/app", "1", LAYER, b"small")
    policy = Policy(repositories="docker.io/**", quota=100_000)
    client = await start(server={"policies": (policy,)})
    assert (await client.get(f"/v2/{NAME}/manifests/1")).status == 200

    for _ in range(2):
        answer = await client.get(f"/v2/{NAME}/blobs/{digest_of(LAYER)}")
        assert (await answer.read()) == LAYER
        await settled()
    assert far.count("GET", "/blobs/") == 2
    assert store.blobs.stat(NAME, Digest.parse(digest_of(LAYER))) is None
    assert (await client.get(f"/v2/{NAME}/blobs/{digest_of(b'small')}")).status == 200
    await settled()
    assert store.blobs.stat(NAME, Digest.parse(digest_of(b"small"))) == 5
    assert os.listdir(store.layout.temporary) == []


@pytest.mark.parametrize("store", ["filesystem"], indirect=True)
async def test_mirrored_content_is_collected(start, far, store):
    """What nobody used for a while goes, and comes again when it is asked for."""
    digest = far.image("library/app", "1", LAYER)
    client = await start()
    assert (await client.get(f"/v2/{NAME}/manifests/{digest}")).status == 200
    assert (await (await client.get(f"/v2/{NAME}/blobs/{digest_of(LAYER)}")).read()) == LAYER
    await settled()

    report = Collector(store, grace=-1.0, undelete=0.0).collect()
    assert {item.kind for item in report.deletions} >= {"manifest", "blob"}
    await client.close()
    again = await start()
    assert (await again.get(f"/v2/{NAME}/manifests/{digest}")).status == 200
    assert (await (await again.get(f"/v2/{NAME}/blobs/{digest_of(LAYER)}")).read()) == LAYER


def test_limits_become_a_policy():
    """One of the settings' own comes first."""
    assert Mirror(prefix="docker.io").policy is None
    assert Mirror(prefix="docker.io", quota=5, max_idle=7.0).policy == Policy(
        repositories="docker.io/**", quota=5, max_idle=7.0
    )


async def test_mirrors_need_a_client():
    """A server that was not given one says so at the start."""
    with pytest.raises(InvalidConfiguration, match="need a client"):
        create_app(RegistryConfig(mirrors=(Mirror(prefix="docker.io"),)), MemoryStore())


@pytest.fixture
def guarded(tmp_path):
    """Ann may have everything of the mirror, bob nothing; both may pull what dockerd calls library."""
    users = tmp_path / "users"
    users.write_text(
        "".join(f"{name}:{bcrypt.hashpw(b'x', bcrypt.gensalt(4)).decode()}\n" for name in ("ann", "bob"))
    )
    rules = (
        Rule(repositories="docker.io/**", allow=("pull",), users=("ann",)),
        Rule(repositories="library/**", allow=("pull",), users=("*",)),
    )
    return {"auth": TokenAuth(htpasswd=str(users)), "rights": rules}


@pytest.mark.parametrize(
    ("user", "scope", "path", "status"),
    [
        ("ann", NAME, f"{NAME}/manifests/1", 200),
        ("ann", NAME, "library/app/manifests/1?ns=docker.io", 200),
        ("ann", NAME, "library/app/manifests/1", 200),
        ("ann", "library/app", "library/app/manifests/1", 200),
        ("ann", "library/app", f"{NAME}/manifests/1", 401),
        ("bob", NAME, f"{NAME}/manifests/1", 403),
        ("bob", NAME, "library/app/manifests/1?ns=docker.io", 403),
        ("bob", "library/app", "library/app/manifests/1", 403),
        (None, NAME, "library/app/manifests/1", 401),
    ],
)
async def test_rights_are_those_of_the_kept_name(start, far, guarded, user, scope, path, status):
    """Whatever name a client uses, and whatever its token was asked for."""
    far.image("library/app", "1")
    client = await start(default=True, server=guarded)
    fields = {}
    if user is not None:
        query = {"service": "registry", "scope": f"repository:{scope}:pull"}
        token = await client.get("/token", params=query, headers=_basic(user))
        fields["Authorization"] = f"Bearer {(await token.json())['token']}"

    answer = await client.get(f"/v2/{path}", headers=fields)
    assert answer.status == status
    if status == 401:
        assert f'scope="repository:{NAME}:pull"' in answer.headers["WWW-Authenticate"]
    if status != 200:
        assert far.asked == []


def _basic(user):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:x".encode()).decode()}


async def test_nothing_is_said_before_callers_are_known(start, far, guarded):
    """Neither which registries are mirrored, nor which of their repositories."""
    client = await start(repositories=("library/*",), server=guarded)

    for path in ("library/app/manifests/1?ns=quay.io", "docker.io/other/app/manifests/1"):
        answer = await client.get(f"/v2/{path}")
        assert answer.status == 401
        assert "mirrored" not in await answer.text()


async def test_rights_to_delete_are_those_of_the_kept_name(start, far, guarded):
    """A token that was asked for by another name is good for reading only."""
    far.image("library/app", "1")
    rules = (*guarded["rights"], Rule(repositories="library/**", allow=("delete", "pull"), users=("ann",)))
    client = await start(server=guarded | {"rights": rules})
    query = {"service": "registry", "scope": "repository:library/app:pull,delete"}
    token = (await (await client.get("/token", params=query, headers=_basic("ann"))).json())["token"]
    fields = {"Authorization": f"Bearer {token}"}

    path = "/v2/library/app/manifests/1?ns=docker.io"
    assert (await client.get(path, headers=fields)).status == 200
    assert (await client.delete(path, headers=fields)).status == 403
    whole = "/v2/library/app/_pybuild/repository?ns=docker.io"
    assert (await (await client.get(whole, headers=fields)).json())["manifests"] == 1
    assert (await client.delete(whole, headers=fields)).status == 403


async def test_a_full_disk(aiohttp_client, far, tiny_disk):
    """What does not fit is refused or cut, and leaves room for what fits."""
    large = os.urandom(3_000_000)
    far.image("library/app", "1", large, b"small")
    store = FilesystemStore(str(tiny_disk))
    config = RegistryConfig(root=str(tiny_disk), mirrors=(Mirror(prefix="docker.io", upstream=far.url),))
    client = await aiohttp_client(create_app(config, store, upstreams=upstreams({})))
    try:
        answer = await client.get(f"/v2/{NAME}/blobs/{digest_of(large)}")
        if answer.status == 200:
            with pytest.raises(aiohttp.ClientError):
                await answer.read()
        else:
            assert answer.status == 507
        await settled()
        small = await client.get(f"/v2/{NAME}/blobs/{digest_of(b'small')}")
        assert (small.status, await small.read()) == (200, b"small")
    finally:
        await client.close()
        store.close()


async def test_figures(start, far):
    """Every answer is a hit, a miss, stale, missing or failed; questions to the upstream are counted."""
    far.image("library/app", "1", LAYER)
    client = await start(tag_ttl=0, server={"metrics": True, "metrics_public": True})
    path = f"/v2/{NAME}/manifests/1"
    assert (await client.get(path)).status == 200
    assert (await client.get(path)).status == 200
    assert (await client.get(f"/v2/{NAME}/manifests/2")).status == 404
    await (await client.get(f"/v2/{NAME}/blobs/{digest_of(LAYER)}")).read()
    far.broken = (500, {})
    assert (await client.get(path)).status == 200
    assert (await client.get(f"/v2/{NAME}/manifests/3")).status == 503

    text = await (await client.get("/metrics")).text()
    line = r'^pybuild_registry_mirror_requests_total\{mirror="docker.io",result="(\w+)"\} (\S+)'
    found = dict(re.findall(line, text, re.MULTILINE))
    assert found == {"hit": "1.0", "miss": "2.0", "missing": "1.0", "stale": "1.0", "failed": "1.0"}
    assert f'mirror_upstream_bytes_total{{mirror="docker.io"}} {float(len(LAYER))}' in text
    assert 'mirror_upstream_requests_total{mirror="docker.io",outcome="broken"} 2.0' in text


async def test_deliveries_leave_nothing_behind(start, far, store):
    """Neither files nor uploads, whether they were right or wrong."""
    far.image("library/app", "1", LAYER)
    far.lies.add(digest_of(LAYER))
    client = await start()
    with pytest.raises(Exception, match=r"payload|closed|reset"):
        await (await client.get(f"/v2/{NAME}/blobs/{digest_of(LAYER)}")).read()
    assert (await client.get(f"/v2/{NAME}/blobs/{digest_of(b'none')}")).status == 404
    assert store.uploads.count() == 0
    if hasattr(store, "layout"):
        await until(lambda: os.listdir(store.layout.temporary) == [])


@pytest.mark.parametrize("store", ["filesystem"], indirect=True)
async def test_a_scrub_repairs_from_the_upstream(start, far, store):
    """What it finds to be damaged is here again before anybody asks; also where it was pushed."""
    far.image("library/app", "1", LAYER)
    client = await start(server={"scrub_interval": 0.2, "scrub_rate": 1e9, "verify_window": 0.0})
    assert (await (await client.get(f"/v2/{NAME}/blobs/{digest_of(LAYER)}")).read()) == LAYER
    await settled()
    assert (
        await client.post(f"/v2/team/app/blobs/uploads/?mount={digest_of(LAYER)}&from={NAME}")
    ).status == 201
    damage(store.layout.blob(Digest.parse(digest_of(LAYER))), lambda raw: bytes(len(raw)))

    await until(lambda: far.count("GET", "/blobs/") == 2)
    await settled()
    far.broken = (500, {})
    for name in (NAME, "team/app"):
        assert (await (await client.get(f"/v2/{name}/blobs/{digest_of(LAYER)}")).read()) == LAYER


@pytest.mark.parametrize("store", ["filesystem"], indirect=True)
async def test_what_no_upstream_has_stays_damaged(start, far, store):
    """Local content is nobody else's business."""
    client = await start(server={"scrub_interval": 0.2, "scrub_rate": 1e9})
    digest = digest_of(LAYER)
    assert (await client.post(f"/v2/team/app/blobs/uploads/?digest={digest}", data=LAYER)).status == 201
    damage(store.layout.blob(Digest.parse(digest)), lambda raw: bytes(len(raw)))

    await until(lambda: os.listdir(f"{store.layout.root}/quarantine"))
    assert (await client.get(f"/v2/team/app/blobs/{digest}")).status == 404
    assert far.asked == []


async def test_the_page_names_the_origin(start, far):
    """Of mirrored repositories, and of no others."""
    far.image("library/app", "1")
    client = await start(server={"verify_references": False})
    assert (await client.get(f"/v2/{NAME}/manifests/1")).status == 200
    raw = b'{"schemaVersion": 2, "manifests": []}'
    fields = {"Content-Type": "application/vnd.oci.image.index.v1+json"}
    assert (await client.put("/v2/team/app/manifests/1", data=raw, headers=fields)).status == 201

    page = await (await client.get(f"/r/{NAME}")).text()
    assert "Mirrored from" in page
    assert f"{far.url}/library/app" in page
    assert "Mirrored from" not in await (await client.get("/r/team/app")).text()


async def test_many_upstreams(aiohttp_client, aiohttp_server, far, store):
    """Each has its own names and credentials; blobs from elsewhere are fetched without any."""
    other = FarSide()
    other.server = await aiohttp_server(other.app())
    far.password = "ann:one"
    far.image("library/app", "1", LAYER)
    other.image("library/app", "1", b"other")
    other.image("team/only", "1")
    other.blobs["library/app", digest_of(LAYER)] = LAYER
    far.elsewhere = other.url
    mirrors = (
        Mirror(prefix="docker.io", upstream=far.url, username="ann", password_env="ONE", default=True),
        Mirror(prefix="quay.io", upstream=other.url),
    )
    app = create_app(RegistryConfig(mirrors=mirrors), store, upstreams=upstreams({"ONE": "one"}))
    client = await aiohttp_client(app)

    first = await client.get("/v2/library/app/manifests/1?ns=docker.io")
    second = await client.get("/v2/library/app/manifests/1?ns=quay.io")
    assert (first.status, second.status) == (200, 200)
    assert first.headers["Docker-Content-Digest"] != second.headers["Docker-Content-Digest"]
    assert (await client.get("/v2/docker.io/team/only/manifests/1")).status == 404
    assert (await client.get("/v2/quay.io/team/only/manifests/1")).status == 200
    blob = await client.get(f"/v2/{NAME}/blobs/{digest_of(LAYER)}")
    assert (await blob.read()) == LAYER
    assert other.count("GET", digest_of(LAYER)) == 1
    assert all("Authorization" not in fields for _method, _path, fields in other.asked)
    assert any("Authorization" in fields for _method, _path, fields in far.asked)
