"""Registries that refuse a kind of change."""

from oci_image.digest import Digest
from registry.server.app import create_app
from registry.server.config import RegistryConfig
from tests.contract.distribution.exchange import CONFIG, UPLOADS, D, errors, push_image, start


async def test_a_read_only_registry(aiohttp_client, store):
    """Pulls work, changes are 405 with what is allowed."""
    writable = await aiohttp_client(create_app(RegistryConfig(), store))
    raw = await push_image(writable)
    client = await aiohttp_client(create_app(RegistryConfig(read_only=True), store))
    assert await (await client.get("/v2/lib/app/manifests/1")).read() == raw
    for method, url in (
        ("POST", UPLOADS),
        ("PUT", "/v2/lib/app/manifests/2"),
        ("DELETE", "/v2/lib/app/manifests/1"),
        ("DELETE", f"/v2/lib/app/blobs/{D}"),
        ("DELETE", "/v2/lib/app/_pybuild/repository"),
        ("PUT", UPLOADS + "x"),
        ("DELETE", UPLOADS + "x"),
        ("PATCH", UPLOADS + "x"),
    ):
        answer = await client.request(method, url, data=b"{}")
        assert (answer.status, await errors(answer)) == (405, ["UNSUPPORTED"])
        assert method not in answer.headers["Allow"]


async def test_deletion_can_be_disabled(aiohttp_client, store):
    """Only of content: an upload may still be cancelled."""
    client = await aiohttp_client(create_app(RegistryConfig(delete_enabled=False), store))
    await push_image(client)
    for url in ("manifests/1", f"blobs/{Digest.of(CONFIG)}"):
        answer = await client.delete(f"/v2/lib/app/{url}")
        assert (answer.status, await errors(answer)) == (405, ["UNSUPPORTED"])
    assert (await client.delete(await start(client))).status == 204
