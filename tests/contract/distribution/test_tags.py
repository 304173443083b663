"""Tags: lists in pages, several in one push, conditions, races."""

import asyncio
import json

from oci_image import mediatypes
from oci_image.digest import Digest
from oci_image.jsonbytes import encode
from registry.protocol import headers
from registry.server.app import create_app
from registry.server.config import RegistryConfig
from tests.contract.distribution.exchange import CONFIG, errors, image, push_blob, push_image, put


async def test_g27_a_repository_without_tags_has_an_empty_list(client):
    """``[]``, never ``null``, and also past the end."""
    await push_blob(client)
    assert await (await client.get("/v2/lib/app/tags/list")).json() == {"name": "lib/app", "tags": []}
    await push_image(client)
    assert (await (await client.get("/v2/lib/app/tags/list?last=zzz")).json())["tags"] == []


async def test_tags_come_in_pages(client):
    """Sorted; ``last`` is exclusive and works alone; Link leads through all of them."""
    raw = await push_image(client, "t0")
    names = [f"t{number}" for number in range(7)] + ["Z", "_", "a.b"]
    for name in names:
        await put(client, name, raw)
    expected = sorted(names)

    async def tags(query):
        answer = await client.get(f"/v2/lib/app/tags/list{query}")
        return (await answer.json())["tags"], answer.headers.get("Link")

    assert await tags("") == (expected, None)
    assert await tags("?n=0") == ([], None)
    assert await tags("?n=100") == (expected, None)
    assert await tags(f"?n={len(expected)}") == (expected, None)
    assert await tags(f"?last={expected[3]}") == (expected[4:], None)
    following = f'</v2/lib/app/tags/list?last={expected[5]}&n=2>; rel="next"'
    assert await tags(f"?n=2&last={expected[3]}x") == (expected[4:6], following)
    collected, url = [], "/v2/lib/app/tags/list?n=3"
    while url:
        answer = await client.get(url)
        collected += (await answer.json())["tags"]
        url = headers.parse_next_link(answer.headers.get("Link", ""))
    assert collected == expected


async def test_pages_have_a_limit(aiohttp_client, store):
    """A larger ``n`` is cut, and Link says that there is more."""
    client = await aiohttp_client(create_app(RegistryConfig(page_limit=2), store))
    raw = await push_image(client, "a")
    for tag in ("b", "c"):
        await put(client, tag, raw)
    for query in ("", "?n=100"):
        answer = await client.get(f"/v2/lib/app/tags/list{query}")
        assert (await answer.json())["tags"] == ["a", "b"]
        assert headers.parse_next_link(answer.headers["Link"]) == "/v2/lib/app/tags/list?last=b&n=2"


async def test_several_tags_in_one_push(client):
    """One OCI-Tag for each; all of them are there at once; a bad one refuses all."""
    await push_blob(client, CONFIG)
    raw = image()
    tags = [f"t{number}" for number in range(12)]
    url = f"/v2/lib/app/manifests/{Digest.of(raw)}?" + "&".join(f"tag={tag}" for tag in tags)
    answer = await client.put(url, data=raw, headers={"Content-Type": mediatypes.OCI_MANIFEST})
    assert answer.status == 201
    assert answer.headers.getall("OCI-Tag") == tags
    assert sorted((await (await client.get("/v2/lib/app/tags/list")).json())["tags"]) == sorted(tags)
    answer = await client.put(f"{url}&tag=-bad", data=raw)
    assert await errors(answer) == ["TAG_INVALID"]
    answer = await client.put(url + "".join(f"&tag=x{number}" for number in range(100)), data=raw)
    assert answer.status == 414


async def test_compare_and_swap_on_a_tag(client):
    """``If-Match`` and ``If-None-Match`` guard pushes and deletions with 412."""
    await push_blob(client, CONFIG)
    first, second = image(), image(annotations={"n": "2"})
    kind = {"Content-Type": mediatypes.OCI_MANIFEST}
    etag = f'"{Digest.of(first)}"'
    assert (await put(client, "t", first, headers=kind | {"If-Match": etag})).status == 412
    assert (await put(client, "t", first, headers=kind | {"If-None-Match": "*"})).status == 201
    answer = await put(client, "t", second, headers=kind | {"If-None-Match": "*"})
    assert answer.status == 412
    await errors(answer)
    assert (await client.get(f"/v2/lib/app/manifests/{Digest.of(second)}")).status == 404
    assert (await put(client, "t", second, headers=kind | {"If-Match": etag})).status == 201
    assert (await client.delete("/v2/lib/app/manifests/t", headers={"If-Match": etag})).status == 412
    current = (await client.head("/v2/lib/app/manifests/t")).headers["ETag"]
    assert current == f'"{Digest.of(second)}"'
    assert (await client.get("/v2/lib/app/manifests/t", headers={"If-None-Match": current})).status == 304
    assert (await client.delete("/v2/lib/app/manifests/t", headers={"If-Match": current})).status == 202


async def test_conditions_on_a_digest(client):
    """They are about the one tag that is set with it, or about the manifest; never about nothing."""
    await push_blob(client, CONFIG)
    first, second = image(), image(annotations={"n": "2"})
    kind = {"Content-Type": mediatypes.OCI_MANIFEST}
    one, two = Digest.of(first), Digest.of(second)
    absent, present = kind | {"If-None-Match": "*"}, kind | {"If-Match": f'"{one}"'}
    assert (await put(client, one, first, headers=present)).status == 412
    assert (await put(client, one, first, headers=absent)).status == 201
    assert (await put(client, one, first, headers=absent)).status == 412
    assert (await put(client, f"{one}?tag=a", first, headers=absent)).status == 201
    assert (await put(client, f"{two}?tag=a", second, headers=absent)).status == 412
    assert (await put(client, f"{two}?tag=a", second, headers=present)).status == 201
    answer = await put(client, f"{one}?tag=b&tag=a", first, headers=absent)
    assert (answer.status, await errors(answer)) == (400, ["UNSUPPORTED"])
    assert (await client.head("/v2/lib/app/manifests/b")).status == 404
    assert (await put(client, "b?tag=c", first, headers=absent)).status == 201
    for wrong in ({"If-Match": f'"{two}"'}, {"If-None-Match": "*"}):
        assert (await client.delete(f"/v2/lib/app/manifests/{one}", headers=wrong)).status == 412
    right = {"If-Match": f'"{one}"'}
    assert (await client.delete(f"/v2/lib/app/manifests/{one}", headers=right)).status == 202
    assert (await client.delete(f"/v2/lib/app/manifests/{one}", headers=right)).status == 412


async def test_racing_appends_lose_nothing(client):
    """Clients that add to one index with ``If-Match`` keep every entry (the fall-back of referrers)."""
    tag, kind = "sha256-x", {"Content-Type": mediatypes.OCI_INDEX}
    base = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX}
    await put(client, tag, encode(base | {"manifests": []}), headers=kind)

    async def append(number):
        while True:
            answer = await client.get(f"/v2/lib/app/manifests/{tag}")
            value = json.loads(await answer.read())
            value["annotations"] = value.get("annotations", {}) | {str(number): ""}
            sent = kind | {"If-Match": answer.headers["ETag"]}
            if (await put(client, tag, encode(value), headers=sent)).status == 201:
                return

    await asyncio.gather(*(append(number) for number in range(10)))
    value = json.loads(await (await client.get(f"/v2/lib/app/manifests/{tag}")).read())
    assert len(value["annotations"]) == 10


async def test_racing_writers_of_one_tag(client):
    """Every read is a whole manifest that somebody wrote, never an error."""
    await push_blob(client, CONFIG)
    written = [image(annotations={"n": str(number)}) for number in range(30)]
    await put(client, "t", written[0])
    stop = asyncio.Event()
    seen = set()

    async def read():
        while not stop.is_set():
            answer = await client.get("/v2/lib/app/manifests/t")
            assert answer.status == 200
            seen.add(await answer.read())

    readers = [asyncio.ensure_future(read()) for _ in range(3)]
    answers = await asyncio.gather(*(put(client, "t", raw) for raw in written))
    stop.set()
    await asyncio.gather(*readers)
    assert {answer.status for answer in answers} == {201}
    assert seen <= set(written)
