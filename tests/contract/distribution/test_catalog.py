"""The list of repositories."""

from registry.protocol import headers
from tests.contract.distribution.exchange import push_image


async def test_the_catalog_comes_in_pages(client):
    """Sorted by whole names, with Link."""
    names = ["b", "a/b", "a-b", "a"]
    for name in names:
        await push_image(client, "1", name)
    answer = await client.get("/v2/_catalog?n=3")
    assert await answer.json() == {"repositories": sorted(names)[:3]}
    answer = await client.get(headers.parse_next_link(answer.headers["Link"]))
    assert await answer.json() == {"repositories": ["b"]}
    assert "Link" not in answer.headers
