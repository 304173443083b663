"""Removing a repository as a whole, and what users are warned of."""

import base64

import pytest

from oci_image.digest import Digest
from registry.errors import InvalidConfiguration
from registry.server.app import create_app
from registry.server.config import BasicAuth, RegistryConfig
from registry.server.policies import Policy
from registry.server.rights import Rule
from tests.contract.distribution.exchange import CONFIG, errors, push_image, put

ALL = "/v2/lib/app/_pybuild/repository"


async def test_a_repository_goes_as_a_whole(client):
    """Tags, manifests and blobs; another repository with the same blobs keeps them."""
    raw = await push_image(client)
    await push_image(client, repository="lib/other")
    assert (await client.get("/v2/lib/app/manifests/1")).status == 200
    assert (await client.head(f"/v2/lib/app/blobs/{Digest.of(CONFIG)}")).status == 200
    assert (await client.delete(ALL)).status == 202
    for place in ("manifests/1", f"manifests/{Digest.of(raw)}", f"blobs/{Digest.of(CONFIG)}", "tags/list"):
        assert (await client.get(f"/v2/lib/app/{place}")).status == 404
    assert (await (await client.get("/v2/_catalog")).json())["repositories"] == ["lib/other"]
    assert (await client.get("/v2/lib/other/manifests/1")).status == 200
    assert (await client.get(f"/v2/lib/other/blobs/{Digest.of(CONFIG)}")).status == 200
    answer = await client.delete(ALL)
    assert (answer.status, await errors(answer)) == (404, ["NAME_UNKNOWN"])
    await push_image(client)
    assert (await client.get("/v2/lib/app/manifests/1")).status == 200


async def test_what_a_repository_holds(client):
    """Counts and bytes, what its images share counted once; a repository that is not there is a 404."""
    raw = await push_image(client)
    await push_image(client, "2")
    answer = await client.get(ALL)
    assert (answer.status, answer.content_type) == (200, "application/json")
    held = {"name": "lib/app", "tags": 2, "manifests": 1, "blobs": 1, "size": len(raw) + len(CONFIG)}
    assert await answer.json() == held
    assert (await client.head(ALL)).status == 200
    answer = await client.get("/v2/lib/none/_pybuild/repository")
    assert (answer.status, await errors(answer)) == (404, ["NAME_UNKNOWN"])


async def test_a_repository_has_no_other_use(client):
    """Other methods are refused, and a bad name is one here as well."""
    answer = await client.put(ALL)
    assert (answer.status, await errors(answer)) == (405, ["UNSUPPORTED"])
    assert answer.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS"
    answer = await client.delete("/v2/Lib/_pybuild/repository")
    assert (answer.status, await errors(answer)) == (400, ["NAME_INVALID"])


async def test_settings_that_keep_repositories(aiohttp_client, store):
    """Deletion that is disabled, and a tag that never changes."""
    client = await aiohttp_client(create_app(RegistryConfig(delete_enabled=False), store))
    await push_image(client)
    assert (await client.delete(ALL)).status == 405
    policies = (Policy(repositories="lib/*", immutable_tags=("v*",)),)
    client = await aiohttp_client(create_app(RegistryConfig(policies=policies), store))
    assert (await client.delete(ALL)).status == 202
    await push_image(client, tag="v1")
    answer = await client.delete(ALL)
    assert (answer.status, await errors(answer)) == (409, ["DENIED"])
    assert (await client.get("/v2/lib/app/manifests/v1")).status == 200


async def test_who_may_remove_a_repository(aiohttp_client, store, tmp_path):
    """Those who may delete from it."""
    import bcrypt

    users = ("ann", "bob")
    lines = [f"{user}:{bcrypt.hashpw(b'pw', bcrypt.gensalt(4)).decode()}" for user in users]
    (tmp_path / "users").write_text("\n".join(lines))
    rights = (
        Rule(repositories="**", allow=("push",), users=("*",)),
        Rule(repositories="**", allow=("delete",), users=("ann",)),
    )
    config = RegistryConfig(auth=BasicAuth(htpasswd=str(tmp_path / "users")), rights=rights)
    client = await aiohttp_client(create_app(config, store))
    known = {
        user: {"Authorization": "Basic " + base64.b64encode(f"{user}:pw".encode()).decode()} for user in users
    }
    headers = known["bob"] | {"Content-Type": "application/octet-stream"}
    pushed = await client.post(
        f"/v2/lib/app/blobs/uploads/?digest={Digest.of(b'x')}", data=b"x", headers=headers
    )
    assert pushed.status == 201
    assert (await client.delete(ALL)).status == 401
    assert (await client.delete(ALL, headers=known["bob"])).status == 403
    assert (await client.delete(ALL, headers=known["ann"])).status == 202


async def test_warnings(aiohttp_client, store):
    """What the policy says comes with every answer, how long something stays with its push."""
    policies = (
        Policy(repositories="old/**", warning="moved to new.example"),
        Policy(repositories="tmp/**", max_age=1.0, warning="for tests"),
    )
    if type(store).__name__ != "MemoryStore":
        policies += (Policy(repositories="brief/**", ttl=7200.0),)
    else:
        policies = policies[:1]
    client = await aiohttp_client(create_app(RegistryConfig(policies=policies), store))
    raw = await push_image(client, repository="old/app")
    answer = await client.get("/v2/old/app/manifests/1")
    assert answer.headers.getall("Warning") == ['299 - "moved to new.example"']
    assert "Warning" not in (await client.get("/v2/")).headers
    assert "Warning" not in (await client.get("/v2/lib/app/tags/list")).headers
    if len(policies) > 1:
        await push_image(client, repository="brief/app")
        answer = await put(client, "2", raw, "brief/app")
        assert answer.headers.getall("Warning") == ['299 - "this goes away after 2 hours"']
        assert "Warning" not in (await client.get("/v2/brief/app/manifests/2")).headers


@pytest.mark.parametrize("text", ['say "x"', "a\r\nb", "back\\slash", "ü", "x" * 1001])
def test_warnings_that_no_header_can_hold(text):
    """They are refused before the server starts."""
    with pytest.raises(InvalidConfiguration, match="does not fit a header"):
        Policy(repositories="**", warning=text)
