"""Who may do what, as clients experience it."""

import base64
import json
import time
from pathlib import Path

import aiohttp
import bcrypt
import pytest

from oci_image.digest import Digest
from registry.errors import Denied, InvalidConfiguration
from registry.protocol import tokens
from registry.protocol.challenges import Scope, parse_challenges, repository_scope
from registry.server.app import create_app
from registry.server.auth import Caller, read_basic
from registry.server.config import BasicAuth, RegistryConfig, TokenAuth
from registry.server.htpasswd import PasswordFile
from registry.server.refreshing import RefreshTokens
from registry.server.store.memory import MemoryStore

DATA = b"data"
D = Digest.of(DATA)


@pytest.fixture
def htpasswd(tmp_path):
    path = tmp_path / "htpasswd"
    path.write_text("alice:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode() + "\n")
    return str(path)


@pytest.fixture
async def basic(aiohttp_client, htpasswd):
    return await aiohttp_client(create_app(RegistryConfig(auth=BasicAuth(htpasswd=htpasswd)), MemoryStore()))


@pytest.fixture
async def bearer(aiohttp_client, htpasswd):
    return await aiohttp_client(create_app(RegistryConfig(auth=TokenAuth(htpasswd=htpasswd)), MemoryStore()))


ALICE = aiohttp.encode_basic_auth("alice", "secret")
REQUESTS = [
    ("GET", "/v2/"),
    ("HEAD", "/v2/"),
    ("GET", "/v2/_catalog"),
    ("GET", "/v2/a/tags/list"),
    ("HEAD", "/v2/a/manifests/1"),
    ("PUT", "/v2/a/manifests/1"),
    ("DELETE", "/v2/a/manifests/1"),
    ("GET", f"/v2/a/blobs/{D}"),
    ("HEAD", f"/v2/a/blobs/{D}"),
    ("DELETE", f"/v2/a/blobs/{D}"),
    ("POST", "/v2/a/blobs/uploads/"),
    ("GET", "/v2/a/blobs/uploads/x"),
    ("PATCH", "/v2/a/blobs/uploads/x"),
    ("PUT", "/v2/a/blobs/uploads/x"),
    ("DELETE", "/v2/a/blobs/uploads/x"),
    ("GET", f"/v2/a/referrers/{D}"),
]


@pytest.mark.parametrize(("method", "url"), REQUESTS)
async def test_g34_without_credentials_everything_is_401(basic, bearer, method, url):
    """With a challenge, also for HEAD, and nothing is said about the content."""
    for client, scheme in ((basic, "basic"), (bearer, "bearer")):
        answer = await client.request(method, url)
        assert answer.status == 401
        (challenge,) = parse_challenges(answer.headers["WWW-Authenticate"])
        assert challenge.scheme == scheme
        assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
        if method != "HEAD":
            assert (await answer.json())["errors"][0]["code"] == "UNAUTHORIZED"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"alice").decode(),
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        "Bearer abc",
        aiohttp.encode_basic_auth("alice", "wrong"),
        aiohttp.encode_basic_auth("nobody", "secret"),
    ],
)
async def test_bad_basic_credentials(basic, header):
    """A 401 with a challenge, whatever was sent."""
    answer = await basic.get("/v2/", headers={"Authorization": header})
    assert answer.status == 401
    assert "WWW-Authenticate" in answer.headers


async def test_basic_credentials(basic):
    """The right ones open everything."""
    answer = await basic.get("/v2/", headers={"Authorization": ALICE})
    assert answer.status == 200
    answer = await basic.post(f"/v2/a/blobs/uploads/?digest={D}", data=DATA, headers={"Authorization": ALICE})
    assert answer.status == 201


def test_basic_headers_are_read():
    """A password may contain colons; other schemes are none."""
    assert read_basic("basic " + base64.b64encode(b"u:p:q").decode()) == ("u", "p:q")
    assert read_basic("Bearer x") is None


async def fetch_token(client, scope, **kwargs):
    answer = await client.get("/token", params={"service": "registry", "scope": scope}, **kwargs)
    assert answer.status == 200
    value = await answer.json()
    assert value["token"] == value["access_token"]
    assert value["expires_in"] >= 60
    return {"Authorization": f"Bearer {value['token']}"}


async def test_the_challenge_of_the_token_mode(bearer):
    """It leads to the endpoint and asks for what the request needs."""
    answer = await bearer.put("/v2/lib/app/manifests/1", data=b"{}")
    (challenge,) = parse_challenges(answer.headers["WWW-Authenticate"])
    assert challenge.parameters == {
        "realm": str(bearer.make_url("/token")),
        "service": "registry",
        "scope": "repository:lib/app:pull,push",
    }


async def test_anonymous_pull_and_authenticated_push(bearer):
    """The flow of clients: a token without credentials reads, one with credentials writes."""
    writing = await fetch_token(bearer, "repository:a:pull,push", headers={"Authorization": ALICE})
    answer = await bearer.post(f"/v2/a/blobs/uploads/?digest={D}", data=DATA, headers=writing)
    assert answer.status == 201
    reading = await fetch_token(bearer, "repository:a:pull,push")
    assert (await bearer.get(f"/v2/a/blobs/{D}", headers=reading)).status == 200
    assert (await bearer.get("/v2/", headers=reading)).status == 200
    answer = await bearer.post("/v2/a/blobs/uploads/", headers=reading)
    assert answer.status == 401
    assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
    assert (await bearer.get(f"/v2/b/blobs/{D}", headers=reading)).status == 401


async def test_a_token_is_asked_for_by_post(bearer):
    """The password grant of OAuth2, as docker sends it; others are refused by name."""
    form = {"grant_type": "password", "username": "alice", "password": "secret", "service": "registry"}
    answer = await bearer.post("/token", data=form | {"scope": "repository:a:pull"})
    assert answer.status == 200
    assert (await bearer.post("/token", data=form | {"password": "wrong"})).status == 401
    for grant, message in (
        ("refresh_token", "send the password"),
        ("client_credentials", "must be password"),
    ):
        answer = await bearer.post("/token", data={"grant_type": grant})
        assert answer.status == 400
        assert message in (await answer.json())["errors"][0]["message"]
    answer = await bearer.delete("/token")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, POST")


async def test_passwords_are_accepted_where_tokens_are_asked_for(bearer):
    """People with curl need no token; wrong ones are refused with the challenge of the token mode."""
    url = f"/v2/a/blobs/uploads/?digest={D}"
    assert (await bearer.post(url, data=DATA, headers={"Authorization": ALICE})).status == 201
    for wrong in (aiohttp.encode_basic_auth("alice", "no"), aiohttp.encode_basic_auth("bob", "secret")):
        answer = await bearer.get("/v2/", headers={"Authorization": wrong})
        assert answer.status == 401
        (challenge,) = parse_challenges(answer.headers["WWW-Authenticate"])
        assert challenge.scheme == "bearer"
        assert "invalid user name" in (await answer.json())["errors"][0]["message"]


@pytest.mark.parametrize("header", ["Basic x", "Bearer x", aiohttp.encode_basic_auth("alice", "no")])
async def test_wrong_credentials_get_no_token(bearer, header):
    """Not even an anonymous one."""
    answer = await bearer.get("/token", headers={"Authorization": header})
    assert answer.status == 401


async def test_anonymous_tokens_can_be_turned_off(aiohttp_client, htpasswd):
    """Then a token without credentials grants nothing."""
    config = RegistryConfig(auth=TokenAuth(htpasswd=htpasswd, anonymous_pull=False))
    client = await aiohttp_client(create_app(config, MemoryStore()))
    token = await fetch_token(client, "repository:a:pull")
    assert (await client.get("/v2/a/tags/list", headers=token)).status == 401


async def test_mounts_need_the_right_to_read_the_source(aiohttp_client):
    """A caller that may not pull from the source gets an upload instead of the content."""
    store = MemoryStore()

    async def limited(_request, scopes):
        caller = Caller("bob", (repository_scope("mine", "pull", "push"), repository_scope("open", "pull")))
        if not all(caller.may(scope) for scope in scopes):
            raise Denied
        return caller

    free = await aiohttp_client(create_app(RegistryConfig(), store))
    for name in ("open", "hidden"):
        data = name.encode()
        await free.post(f"/v2/{name}/blobs/uploads/?digest={Digest.of(data)}", data=data)
    client = await aiohttp_client(create_app(RegistryConfig(), store, authenticator=limited))
    for query, name, status in (
        ("&from=open", "open", 201),
        ("", "open", 201),
        ("&from=hidden", "hidden", 202),
        ("", "hidden", 202),
    ):
        digest = Digest.of(name.encode())
        answer = await client.post(f"/v2/mine/blobs/uploads/?mount={digest}{query}")
        assert answer.status == status
    answer = await client.get("/v2/hidden/tags/list")
    assert (answer.status, (await answer.json())["errors"][0]["code"]) == (403, "DENIED")


async def test_the_catalog_hides_what_the_caller_cannot_pull(aiohttp_client):
    """Unless the whole list was granted."""
    store = MemoryStore()
    free = await aiohttp_client(create_app(RegistryConfig(verify_references=False), store))
    for name in ("a", "b"):
        await free.put(f"/v2/{name}/manifests/1", data=b'{"manifests":[],"schemaVersion":2}')
    grants = [repository_scope("a", "pull")]

    async def limited(_request, _scopes):
        return Caller("bob", tuple(grants))

    client = await aiohttp_client(create_app(RegistryConfig(), store, authenticator=limited))
    assert await (await client.get("/v2/_catalog")).json() == {"repositories": ["a"]}
    grants.append(Scope("registry", "catalog", ("*",)))
    assert await (await client.get("/v2/_catalog")).json() == {"repositories": ["a", "b"]}


async def test_forged_and_expired_tokens(aiohttp_client, tmp_path):
    """A token of another key, service or time opens nothing; that of the configured key does."""
    key = tokens.generate_key()
    (tmp_path / "key.pem").write_bytes(tokens.key_pem(key))
    config = RegistryConfig(auth=TokenAuth(key=str(tmp_path / "key.pem"), service="s"))
    client = await aiohttp_client(create_app(config, MemoryStore()))
    now = int(time.time())

    def headers(key=key, **changes):
        values = {
            "issuer": "s",
            "audience": "s",
            "issued_at": now,
            "expires_at": now + 100,
            "access": (repository_scope("a", "pull"),),
        }
        return {"Authorization": "Bearer " + tokens.sign(tokens.Claims(**(values | changes)), key)}

    for _ in range(2):
        assert (await client.get("/v2/a/tags/list", headers=headers())).status == 404
    for bad in (
        headers(tokens.generate_key()),
        headers(audience="other"),
        headers(issuer="other"),
        headers(expires_at=now - 100),
        headers(not_before=now + 1000),
        {"Authorization": "Bearer nonsense"},
    ):
        answer = await client.get("/v2/a/tags/list", headers=bad)
        assert answer.status == 401
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_unusable_keys_are_refused(tmp_path):
    """At the start, with the reason."""
    path = tmp_path / "key.pem"
    config = RegistryConfig(auth=TokenAuth(key=str(path)))
    with pytest.raises(InvalidConfiguration, match="cannot read"):
        create_app(config, MemoryStore())
    path.write_text("noise")
    with pytest.raises(InvalidConfiguration, match="PEM"):
        create_app(config, MemoryStore())


async def test_a_token_grants_the_intersection(bearer):
    """What may not be had is left out, and that is no error."""
    answer = await bearer.get("/token", params={"scope": "repository:a:pull,push registry:catalog:*"})
    claims = json.loads(base64.urlsafe_b64decode((await answer.json())["token"].split(".")[1] + "=="))
    assert claims["access"] == [{"type": "repository", "name": "a", "actions": ["pull"]}]


# Refresh tokens


@pytest.fixture
def signing_key():
    return tokens.generate_key()


@pytest.fixture
def refreshing_config(tmp_path, htpasswd, signing_key):
    path = tmp_path / "signing.pem"
    path.write_bytes(tokens.key_pem(signing_key))
    return RegistryConfig(auth=TokenAuth(htpasswd=htpasswd, key=str(path), refresh_lifetime=3600))


@pytest.fixture
async def refreshing(aiohttp_client, refreshing_config):
    return await aiohttp_client(create_app(refreshing_config, MemoryStore()))


def write(path, *lines):
    Path(path).write_text("".join(f"{line}\n" for line in lines))


def entry(password):
    return "alice:" + bcrypt.hashpw(password, bcrypt.gensalt(4)).decode()


async def log_in(client):
    """As docker does it."""
    query = {"account": "alice", "client_id": "docker", "offline_token": "true", "service": "registry"}
    answer = await client.get("/token", params=query, headers={"Authorization": ALICE})
    return (await answer.json())["refresh_token"]


async def refresh(client, token, **more):
    form = {"grant_type": "refresh_token", "refresh_token": token, "service": "registry"} | more
    return await client.post("/token", data=form)


async def test_a_refresh_token_takes_the_place_of_the_password(refreshing):
    """For tokens only, and for what its user may do; it is given back, so clients keep it."""
    token = await log_in(refreshing)
    answer = await refresh(refreshing, token, scope="repository:a:pull,push")
    assert answer.status == 200
    value = await answer.json()
    assert value["refresh_token"] == token
    bearer = {"Authorization": f"Bearer {value['access_token']}"}
    assert (
        await refreshing.post(f"/v2/a/blobs/uploads/?digest={D}", data=DATA, headers=bearer)
    ).status == 201
    for wrong in (token, f"{token}x"):
        answer = await refreshing.get("/v2/", headers={"Authorization": f"Bearer {wrong}"})
        assert answer.status == 401
    for wrong in ("", "x", value["token"]):
        assert (await refresh(refreshing, wrong)).status == 401


async def test_refresh_tokens_are_for_those_who_ask_and_have_a_password(refreshing, bearer):
    """In both forms of the request; where none are issued nobody gets one."""
    form = {"grant_type": "password", "username": "alice", "password": "secret", "service": "registry"}
    for client, more, has_one in (
        (refreshing, {"access_type": "offline"}, True),
        (refreshing, {}, False),
        (bearer, {"access_type": "offline"}, False),
    ):
        answer = await client.post("/token", data=form | more)
        assert ("refresh_token" in await answer.json()) is has_one
    answer = await refreshing.get("/token", params={"offline_token": "true"})
    assert "refresh_token" not in await answer.json()


async def test_a_new_password_ends_refresh_tokens(refreshing, htpasswd):
    """So does the removal of the user; the same entry written again does not."""
    kept = entry(b"secret")
    write(htpasswd, kept)
    token = await log_in(refreshing)
    write(htpasswd, "# the same", kept)
    assert (await refresh(refreshing, token)).status == 200
    for others in (entry(b"new"), "# nobody"):
        write(htpasswd, others)
        answer = await refresh(refreshing, token)
        assert answer.status == 401
        assert "password has changed" in (await answer.json())["errors"][0]["message"]


async def test_refresh_tokens_survive_a_restart(aiohttp_client, refreshing_config, refreshing):
    """The key decides, not the process."""
    token = await log_in(refreshing)
    again = await aiohttp_client(create_app(refreshing_config, MemoryStore()))
    assert (await refresh(again, token)).status == 200


async def test_refresh_tokens_end_in_time(refreshing, htpasswd, signing_key):
    """And nobody else can make one."""
    token, now = await log_in(refreshing), time.time()
    passwords = PasswordFile(htpasswd)
    ours = RefreshTokens(signing_key, passwords, service="registry", lifetime=3600)
    assert ours.redeem(token, now) == "alice"
    with pytest.raises(tokens.InvalidToken, match="expired"):
        ours.redeem(token, now + 3600 + 2 * tokens.LEEWAY)
    theirs = RefreshTokens(tokens.generate_key(), passwords, service="registry", lifetime=3600)
    with pytest.raises(tokens.InvalidToken, match="unknown key"):
        theirs.redeem(token, now)
