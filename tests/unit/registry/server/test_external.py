"""Tokens of other issuers."""

import base64
import hmac
import json
import time

import aiohttp
import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from registry.errors import InvalidConfiguration, Unauthorized
from registry.server.app import create_app
from registry.server.config import ExternalIssuer, RegistryConfig, TokenAuth
from registry.server.external import ExternalTokens
from registry.server.issuer import TokenIssuer
from registry.server.rights import Rights, Rule
from registry.server.store.memory import MemoryStore

ISSUER = "https://ci.example"
KEYS = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def public(algorithm, kid):
    encode = jwt.get_algorithm_by_name(algorithm).to_jwk
    return json.loads(encode(KEYS[algorithm].public_key())) | {"kid": kid, "use": "sig"}


def signed(algorithm="ES256", key=None, kid=None, **changes):
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "reg", "sub": "ci", "exp": now + 100, "groups": ["team"]} | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key or KEYS[algorithm], algorithm, headers={"kid": kid or algorithm})


@pytest.fixture
def jwks(tmp_path):
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [public(name, name) for name in KEYS]}))
    return path


def external(place, **changes):
    return ExternalIssuer(issuer=ISSUER, audience="reg", jwks=str(place), **changes)


@pytest.fixture
async def client(aiohttp_client, jwks):
    rules = (
        Rule(repositories="team/**", allow=("push",), groups=("team",)),
        Rule(repositories="**", allow=("pull",), anonymous=True),
    )
    config = RegistryConfig(auth=TokenAuth(issuers=(external(jwks),)), rights=rules)
    return await aiohttp_client(create_app(config, MemoryStore()))


@pytest.mark.parametrize("algorithm", KEYS)
async def test_tokens_of_an_issuer_name_callers(client, algorithm):
    """Rules decide what they may do, by the user and the groups of the token."""
    headers = {"Authorization": f"Bearer {signed(algorithm)}"}
    assert (await client.get("/v2/", headers=headers)).status == 200
    assert (await client.post("/v2/team/app/blobs/uploads/", headers=headers)).status == 202
    assert (await client.post("/v2/other/blobs/uploads/", headers=headers)).status == 403


async def test_a_token_is_a_password(client):
    """So that `docker login` works with what a pipeline gets from its platform."""
    basic = {"Authorization": aiohttp.encode_basic_auth("oidc", signed())}
    scope = {"scope": "repository:team/app:pull,push"}
    answer = await client.get("/token", params=scope, headers=basic)
    token = (await answer.json())["token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert (await client.post("/v2/team/app/blobs/uploads/", headers=headers)).status == 202
    bad = {"Authorization": aiohttp.encode_basic_auth("oidc", signed(aud="other"))}
    assert (await client.get("/token", params=scope, headers=bad)).status == 401


def encoded(value):
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def confused(_jwks):
    """A token that is signed with the public key as if that were a shared secret."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    secret = KEYS["RS256"].public_key().public_bytes(serialization.Encoding.PEM, form)
    claims = {"iss": ISSUER, "aud": "reg", "sub": "x", "exp": 2**33}
    parts = [encoded(json.dumps(p).encode()) for p in ({"alg": "HS256", "kid": "RS256"}, claims)]
    return ".".join([*parts, encoded(hmac.digest(secret, ".".join(parts).encode(), "sha256"))])


def unsigned():
    parts = ({"alg": "none", "kid": "ES256"}, {"iss": ISSUER, "aud": "reg", "sub": "x", "exp": 2**33})
    return (
        ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts) + "."
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda _: signed(iss="https://else.example"),
        lambda _: signed(aud="other"),
        lambda _: signed(exp=int(time.time()) - 1000),
        lambda _: signed(exp=None),
        lambda _: signed(nbf=int(time.time()) + 1000),
        lambda _: signed(sub=None),
        lambda _: signed(sub=""),
        lambda _: signed(kid="unknown"),
        lambda _: signed(key=ec.generate_private_key(ec.SECP256R1())),
        lambda _: signed("ES256", kid="RS256"),
        confused,
        lambda _: unsigned(),
        lambda _: "a.b.c",
        lambda _: "a.W10.c",
        lambda _: "nonsense",
        lambda _: "x" * 100_000,
    ],
)
async def test_bad_tokens_are_refused(client, jwks, make):
    """With 401, whichever check fails."""
    if len(make(jwks)) > 10_000:
        with pytest.raises(Exception, match="three parts"):
            await ExternalTokens((external(jwks),)).verify(make(jwks))
        return
    answer = await client.get("/v2/", headers={"Authorization": f"Bearer {make(jwks)}"})
    assert answer.status == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


async def test_a_key_that_was_withdrawn_ends_its_tokens(jwks):
    """Within a minute, and not only when they would end by themselves."""
    now = [time.time()]
    config = TokenAuth(issuers=(external(jwks),))
    issuer = TokenIssuer(config, Rights(()), clock=lambda: now[0])
    request = make_mocked_request(
        "GET", "/v2/", headers={"Authorization": f"Bearer {signed(exp=int(now[0]) + 36000)}"}
    )
    assert (await issuer(request, ())).name == "ci"
    withdraw(jwks, "ES256")
    now[0] += 61
    with pytest.raises(Unauthorized, match="unknown key"):
        await issuer(request, ())


def withdraw(jwks, name):
    jwks.write_text(json.dumps({"keys": [public(other, other) for other in KEYS if other != name]}))


async def test_an_issuer_may_decide_itself(aiohttp_client, jwks):
    """A separate token server says what is allowed; without being trusted to, it does not."""
    access = [{"type": "repository", "name": "x", "actions": ["pull", "push"]}]
    headers = {"Authorization": f"Bearer {signed(access=access)}"}
    for trusted, status in ((True, 202), (False, 403)):
        issuer = external(jwks, trust_access=trusted)
        rules = (Rule(repositories="**", allow=("pull",), users=("*",)),)
        config = RegistryConfig(auth=TokenAuth(issuers=(issuer,)), rights=rules)
        client = await aiohttp_client(create_app(config, MemoryStore()))
        assert (await client.post("/v2/x/blobs/uploads/", headers=headers)).status == status


async def test_key_files_are_read_again(jwks):
    """Rotation needs no restart, and a broken file leaves the last keys in force."""
    tokens = ExternalTokens((external(jwks),))
    jwks.write_text(json.dumps({"keys": [public("ES256", "new")]}))
    assert (await tokens.verify(signed(kid="new"))).who.name == "ci"
    with pytest.raises(Exception, match="unknown key"):
        await tokens.verify(signed("RS256"))
    jwks.write_text("broken")
    assert (await tokens.verify(signed(kid="new"))).who.groups == {"team"}


async def test_keys_are_fetched_once_and_again_when_due(aiohttp_server):
    """An unknown key asks for new ones, but not more often than every half minute."""
    served, asked, now = [public("ES256", "a")], [], [0.0]

    async def answer(_request):
        asked.append(1)
        return web.json_response({"keys": served}) if served else web.Response(status=500)

    app = web.Application()
    app.router.add_get("/jwks", answer)
    server = await aiohttp_server(app)
    tokens = ExternalTokens((external(server.make_url("/jwks")),), lambda: now[0])
    for _ in range(3):
        await tokens.verify(signed(kid="a"))
    assert len(asked) == 1
    served[:] = [public("ES256", "b")]
    with pytest.raises(Exception, match="unknown key"):
        await tokens.verify(signed(kid="b"))
    assert len(asked) == 1
    now[0] = 31.0
    assert (await tokens.verify(signed(kid="b"))).who.name == "ci"
    now[0] = 4000.0
    served.clear()
    assert (await tokens.verify(signed(kid="b"))).who.name == "ci"
    assert len(asked) == 3


async def test_keys_that_nobody_here_understands_are_skipped(jwks):
    """One of another curve or use must not make the others useless, and a shared secret is never a key."""
    rows = [
        {"kty": "OKP", "crv": "X25519", "x": "AA", "kid": "x"},
        {"kty": "oct", "k": "AAAA", "kid": "o"},
        public("RS256", "enc") | {"use": "enc"},
        public("ES256", "good"),
    ]
    jwks.write_text(json.dumps({"keys": rows}))
    tokens = ExternalTokens((external(jwks),))
    assert (await tokens.verify(signed(kid="good"))).who.name == "ci"
    with pytest.raises(Exception, match="unknown key"):
        await tokens.verify(signed("RS256", kid="enc"))


@pytest.mark.parametrize(
    ("text", "message"), [(None, "cannot read"), ("[]", "not a set"), ('{"keys": [3]}', "not a set")]
)
def test_unusable_key_files_are_refused(tmp_path, text, message):
    """At the start, with the file's name."""
    path = tmp_path / "jwks.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidConfiguration, match=message):
        ExternalTokens((external(path),))


def test_keys_are_not_fetched_without_encryption():
    """Whoever is on the way could put a key of their own there."""
    with pytest.raises(InvalidConfiguration, match="https"):
        ExternalTokens((external("http://ci.example/jwks"),))
