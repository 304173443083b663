"""Whatever goes wrong inside, the answer has the protocol's form and tells nothing about the server."""

import pytest
from aiohttp import web

from oci_image.errors import VerificationFailed
from registry.errors import MalformedMessage, StorageFull, StorageProblem, Unauthorized
from registry.server.app import create_app
from registry.server.config import RegistryConfig
from registry.server.store.base import ConditionFailed
from registry.server.store.memory import MemoryStore


@pytest.mark.parametrize(
    ("problem", "status", "code"),
    [
        (RuntimeError("/srv/secret"), 500, "UNKNOWN"),
        (OSError(5, "bad", "/srv/secret"), 500, "UNKNOWN"),
        (StorageProblem("the storage failed"), 500, "UNKNOWN"),
        (StorageFull("no space is left"), 507, "UNKNOWN"),
        (VerificationFailed("other bytes"), 400, "DIGEST_INVALID"),
        (ConditionFailed("changed"), 412, "MANIFEST_INVALID"),
        (MalformedMessage("odd"), 400, "UNKNOWN"),
        (Unauthorized(headers={"WWW-Authenticate": "X"}), 401, "UNAUTHORIZED"),
        (web.HTTPForbidden(), 403, "DENIED"),
        (web.HTTPGone(), 410, "UNSUPPORTED"),
        (web.HTTPBadGateway(), 502, "UNKNOWN"),
    ],
)
async def test_every_exception_has_an_answer(aiohttp_client, problem, status, code):
    """A status, a code, and no path of the server."""

    async def failing(_request, _scopes):
        raise problem

    client = await aiohttp_client(create_app(RegistryConfig(), MemoryStore(), authenticator=failing))
    answer = await client.get("/v2/")
    assert answer.status == status
    assert [row["code"] for row in (await answer.json())["errors"]] == [code]
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert "secret" not in await answer.text()


async def test_a_bug_is_logged_with_its_traceback(aiohttp_client, caplog):
    """So that it can be found, although the client learns nothing."""

    async def failing(_request, _scopes):
        raise RuntimeError("a bug")

    client = await aiohttp_client(create_app(RegistryConfig(), MemoryStore(), authenticator=failing))
    await client.get("/v2/")
    assert "Traceback" in caplog.text
    assert "a bug" in caplog.text


async def test_a_broken_store_is_500(aiohttp_client, caplog):
    """With a sentence instead of the operating system's message."""
    store = MemoryStore()

    class Broken:
        def open(self, _repository, _digest):
            raise StorageProblem("the storage of the registry failed: Input/output error")

    store.blobs = Broken()
    client = await aiohttp_client(create_app(RegistryConfig(), store))
    answer = await client.get("/v2/a/blobs/sha256:" + "0" * 64)
    assert answer.status == 500
    assert "Input/output error" in await answer.text()
    assert "Input/output error" in caplog.text
