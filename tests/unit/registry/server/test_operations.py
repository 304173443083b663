"""What operators look at: health, metrics, the access log, limits, proxies."""

import asyncio
import errno
import json
import logging
import os
import sys

import aiohttp
import bcrypt
import pytest
from aiohttp.test_utils import make_mocked_request

from oci_image.digest import Digest
from registry.errors import ApiError, InvalidConfiguration
from registry.protocol.challenges import parse_challenges
from registry.server import accesslog, forwarded, health
from registry.server.app import create_app
from registry.server.config import BasicAuth, RegistryConfig, TokenAuth
from registry.server.metrics import Metrics
from registry.server.ratelimit import RateLimit
from registry.server.rights import Rule
from registry.server.state import STATE
from registry.server.store.filesystem import FilesystemStore
from registry.server.store.memory import MemoryStore

DATA = b"data"
D = Digest.of(DATA)


@pytest.fixture
def htpasswd(tmp_path):
    path = tmp_path / "htpasswd"
    encoded = bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode()
    path.write_text(f"ann:{encoded}\nbob:{encoded}\n")
    return str(path)


def as_user(name, password="pw"):
    return {"Authorization": aiohttp.encode_basic_auth(name, password)}


# Health


async def test_a_healthy_server(aiohttp_client, tmp_path, htpasswd):
    """Both answers are 200, without credentials."""
    store = FilesystemStore(str(tmp_path / "root"))
    config = RegistryConfig(root=str(tmp_path / "root"), auth=BasicAuth(htpasswd=htpasswd), reserve_bytes=1)
    client = await aiohttp_client(create_app(config, store))
    for path in ("/livez", "/readyz"):
        answer = await client.get(path)
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    await client.close()
    store.close()


async def test_a_full_disk_is_not_ready(aiohttp_client, tmp_path):
    """But it lives, and it serves; no path is told."""
    store = FilesystemStore(str(tmp_path / "root"))
    config = RegistryConfig(root=str(tmp_path / "root"), reserve_bytes=2**62)
    client = await aiohttp_client(create_app(config, store))
    answer = await client.get("/readyz")
    assert answer.status == 503
    assert await answer.json() == {"status": "not ready", "reason": "the storage is nearly full"}
    assert (await client.get("/livez")).status == 200
    assert (await client.get("/v2/")).status == 200
    await client.close()
    store.close()


def test_storage_that_cannot_be_written_is_not_ready(tmp_path, monkeypatch):
    """A read-only file system is found by writing; a server that only reads does not mind."""
    assert "No such file" in health.probe(str(tmp_path / "none"), reserve=0, read_only=False)
    (tmp_path / "incoming").mkdir()
    assert health.probe(str(tmp_path), reserve=0, read_only=False) == ""
    assert os.listdir(tmp_path / "incoming") == []

    def refuse(*_args):
        raise OSError(errno.EROFS, "Read-only file system", str(tmp_path))

    monkeypatch.setattr(health.os, "open", refuse)
    problem = health.probe(str(tmp_path), reserve=0, read_only=False)
    assert problem == "the storage cannot be written: Read-only file system"
    assert health.probe(str(tmp_path), reserve=0, read_only=True) == ""
    assert health.probe("", reserve=0, read_only=False) == ""


async def test_a_stopping_server_is_not_ready(aiohttp_client):
    """So that it gets no new work while it finishes."""
    client = await aiohttp_client(create_app(RegistryConfig(), MemoryStore()))
    assert (await client.get("/readyz")).status == 200
    await client.app[STATE].running.drain(0)
    assert (await client.get("/readyz")).status == 503


# Metrics


async def figures(client, **kwargs):
    answer = await client.get("/metrics", **kwargs)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = [line for line in (await answer.text()).splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def test_requests_are_counted(aiohttp_client, tmp_path):
    """By method, resource and status; what clients make up is no label."""
    store = FilesystemStore(str(tmp_path / "root"))
    config = RegistryConfig(metrics=True, root=str(tmp_path / "root"))
    client = await aiohttp_client(create_app(config, store))
    await client.post(f"/v2/a/blobs/uploads/?digest={D}", data=DATA)
    await client.get(f"/v2/a/blobs/{D}")
    await client.get("/v2/a/blobs/nonsense")
    await client.post("/v2/a/blobs/uploads/")
    await client.request("PROPFIND", "/coffee")
    seen = await figures(client)
    name = "pybuild_registry_"
    assert seen[f'{name}requests_total{{method="POST",resource="uploads",status="201"}}'] == 1
    assert seen[f'{name}requests_total{{method="GET",resource="blob",status="200"}}'] == 1
    assert seen[f'{name}requests_total{{method="GET",resource="blob",status="400"}}'] == 1
    assert seen[f'{name}requests_total{{method="other",resource="other",status="404"}}'] == 1
    assert seen[f'{name}request_seconds_count{{resource="blob"}}'] == 2
    assert seen[f"{name}received_bytes_total"] == len(DATA)
    assert seen[f"{name}sent_bytes_total"] >= len(DATA)
    assert seen[f"{name}uploads"] == 1
    assert 0 < seen[f"{name}storage_free_bytes"] <= seen[f"{name}storage_size_bytes"]
    assert not [key for key in seen if "coffee" in key or "PROPFIND" in key]
    await client.close()
    store.close()


async def test_metrics_are_for_administrators(aiohttp_client, htpasswd):
    """Unless they are public; without being asked for they do not exist."""
    rules = (
        Rule(repositories="**", allow=("admin",), users=("ann",)),
        Rule(repositories="**", allow=("pull",), users=("bob",)),
    )
    config = RegistryConfig(auth=TokenAuth(htpasswd=htpasswd), rights=rules, metrics=True)
    client = await aiohttp_client(create_app(config, MemoryStore()))
    answer = await client.get("/metrics")
    assert answer.status == 401
    assert parse_challenges(answer.headers["WWW-Authenticate"])[0].scheme == "basic"
    assert (await client.get("/metrics", headers=as_user("ann", "wrong"))).status == 401
    assert (await client.get("/metrics", headers=as_user("bob"))).status == 403
    await figures(client, headers=as_user("ann"))
    config = RegistryConfig(auth=TokenAuth(htpasswd=htpasswd), metrics=True, metrics_public=True)
    await figures(await aiohttp_client(create_app(config, MemoryStore())))
    client = await aiohttp_client(create_app(RegistryConfig(), MemoryStore()))
    assert (await client.get("/metrics")).status == 404


def test_metrics_without_their_library(monkeypatch):
    """The message says what to install."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(InvalidConfiguration, match="prometheus-client") as caught:
        Metrics()
    assert "pybuild[registry]" in caught.value.hint


# The access log


async def test_the_access_log(aiohttp_client, htpasswd, caplog):
    """Who did what with which outcome, without secrets; as text and as JSON."""
    config = RegistryConfig(auth=BasicAuth(htpasswd=htpasswd))
    client = await aiohttp_client(create_app(config, MemoryStore()))
    caplog.set_level(logging.INFO, "registry.access")
    await client.post(f"/v2/a/blobs/uploads/?digest={D}&token=hush", data=DATA, headers=as_user("ann"))
    await client.get("/v2/")
    first, second = caplog.records
    assert first.getMessage().startswith("127.0.0.1 ann POST /v2/a/blobs/uploads/ 201 ")
    assert second.getMessage().startswith("127.0.0.1 - GET /v2/ 401 ")
    line = json.loads(accesslog.JsonFormatter().format(first))
    assert line.pop("time").endswith("+00:00")
    assert line.pop("milliseconds") >= 0
    assert "aiohttp" in line.pop("agent")
    assert line == {
        "client": "127.0.0.1",
        "user": "ann",
        "method": "POST",
        "path": "/v2/a/blobs/uploads/",
        "status": 201,
        "received": 4,
        "sent": 0,
        "resource": "uploads",
        "repository": "a",
    }
    assert "hush" not in caplog.text
    assert "pw" not in caplog.text


def test_formats_of_the_access_log():
    """Each has its own formatter."""
    assert isinstance(accesslog.handler("json").formatter, accesslog.JsonFormatter)
    assert not isinstance(accesslog.handler("text").formatter, accesslog.JsonFormatter)


# Limits


def test_an_allowance_refills():
    """Steadily, up to the burst, and each caller has an own one."""
    now = [0.0]
    rate = RateLimit(2.0, 3, lambda: now[0])
    for _ in range(3):
        rate.spend("ann", "1.1.1.1")
    with pytest.raises(ApiError) as caught:
        rate.spend("ann", "2.2.2.2")
    assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "1"})
    rate.spend("bob", "1.1.1.1")
    rate.spend("", "1.1.1.1")
    now[0] = 0.5
    rate.spend("ann", "1.1.1.1")
    with pytest.raises(ApiError):
        rate.spend("ann", "1.1.1.1")
    now[0] = 1000.0
    for _ in range(3):
        rate.spend("ann", "1.1.1.1")
    slow = RateLimit(0.01, 1, lambda: now[0])
    slow.spend("", "x")
    with pytest.raises(ApiError) as caught:
        slow.spend("", "x")
    assert caught.value.headers["Retry-After"] == "100"


async def test_callers_are_limited_one_by_one(aiohttp_client, htpasswd):
    """429 with the protocol's code; others go on."""
    config = RegistryConfig(auth=BasicAuth(htpasswd=htpasswd), requests_per_second=0.001, burst=2)
    client = await aiohttp_client(create_app(config, MemoryStore()))
    statuses = [(await client.get("/v2/", headers=as_user("ann"))).status for _ in range(2)]
    answer = await client.get("/v2/", headers=as_user("ann"))
    assert statuses == [200, 200]
    assert (answer.status, (await answer.json())["errors"][0]["code"]) == (429, "TOOMANYREQUESTS")
    assert int(answer.headers["Retry-After"]) > 0
    assert (await client.get("/v2/", headers=as_user("bob"))).status == 200
    assert (await client.get("/livez")).status == 200


async def test_guessing_passwords_is_slow(aiohttp_client, htpasswd):
    """Also at the token endpoint; after too many wrong ones not even the right one is tried."""
    config = RegistryConfig(auth=TokenAuth(htpasswd=htpasswd), requests_per_second=0.001, burst=2)
    client = await aiohttp_client(create_app(config, MemoryStore()))
    statuses = [(await client.get("/token", headers=as_user("ann", str(n)))).status for n in range(3)]
    assert statuses == [401, 401, 429]
    assert (await client.get("/token", headers=as_user("ann"))).status == 429
    assert (await client.get("/token")).status == 200


async def test_guessing_passwords_in_forms_is_slow(aiohttp_client, htpasswd):
    """Where they are in the body of the request they count as much."""
    config = RegistryConfig(auth=TokenAuth(htpasswd=htpasswd), requests_per_second=0.001, burst=2)
    client = await aiohttp_client(create_app(config, MemoryStore()))
    form = {"grant_type": "password", "username": "ann"}
    statuses = [(await client.post("/token", data=form | {"password": str(n)})).status for n in range(3)]
    assert statuses == [401, 401, 429]
    assert (await client.post("/token", data=form | {"password": "pw"})).status == 429


async def test_tokens_count_for_their_user(aiohttp_client, htpasswd):
    """Users at one address do not take the tokens of each other, and the log names them."""
    config = RegistryConfig(auth=TokenAuth(htpasswd=htpasswd), requests_per_second=0.001, burst=2)
    client = await aiohttp_client(create_app(config, MemoryStore()))
    statuses = [(await client.get("/token", headers=as_user("ann"))).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert (await client.get("/token", headers=as_user("bob"))).status == 200
    assert [(await client.get("/token")).status for _ in range(3)] == [200, 200, 429]


# Proxies


@pytest.mark.parametrize(
    ("headers", "address", "origin", "prefix"),
    [
        ({}, "", "http://own", ""),
        ({"X-Forwarded-For": "6.6.6.6, 7.7.7.7"}, "7.7.7.7", "http://own", ""),
        ({"X-Forwarded-Proto": "HTTPS", "X-Forwarded-Host": "a, r.example:1"}, "", "https://r.example:1", ""),
        ({"X-Forwarded-Proto": "javascript", "X-Forwarded-Host": "a b"}, "", "http://own", ""),
        ({"X-Forwarded-Prefix": "/registry/"}, "", "http://own", "/registry"),
        ({"X-Forwarded-Prefix": '/"><script>'}, "", "http://own", ""),
        ({"X-Forwarded-Prefix": "//evil.example"}, "", "http://own", ""),
    ],
)
def test_what_proxies_say(headers, address, origin, prefix):
    """It counts only where it is trusted, and never when it is malformed."""
    request = make_mocked_request("GET", "/", headers={"Host": "own", **headers})
    assert forwarded.address(request, trusted=True) == (address or request.remote or "")
    assert forwarded.origin(request, trusted=True) == origin
    assert forwarded.prefix(request, trusted=True) == prefix
    assert forwarded.origin(request, trusted=False) == "http://own"
    assert forwarded.prefix(request, trusted=False) == ""
    assert forwarded.address(request, trusted=False) == (request.remote or "")


async def test_the_challenge_leads_through_the_proxy(aiohttp_client):
    """With the scheme, host and path that clients see."""
    client = await aiohttp_client(
        create_app(RegistryConfig(auth=TokenAuth(), trust_proxy=True), MemoryStore())
    )
    headers = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "r.example",
        "X-Forwarded-Prefix": "/images",
    }
    answer = await client.get("/v2/", headers=headers)
    (challenge,) = parse_challenges(answer.headers["WWW-Authenticate"])
    assert challenge.parameters["realm"] == "https://r.example/images/token"


async def test_many_probes_cost_one(aiohttp_client, monkeypatch):
    """Whoever asks all the time does not load the disk."""
    calls = []
    monkeypatch.setattr(health, "probe", lambda *_args, **_kwargs: calls.append(1) or "")
    client = await aiohttp_client(create_app(RegistryConfig(), MemoryStore()))
    await asyncio.gather(*(client.get("/readyz") for _ in range(20)))
    assert len(calls) == 1
