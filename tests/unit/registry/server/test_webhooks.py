"""Events about changes: complete, in order, at least once, also across restarts."""

import asyncio
import contextlib
import hmac

import pytest
from aiohttp import web

from oci_image.digest import Digest
from registry.errors import InvalidConfiguration
from registry.server.app import create_app
from registry.server.config import RegistryConfig, Webhook
from registry.server.store.memory import MemoryStore
from registry.server.webhooks import Change, Outbox

EMPTY = b'{"manifests":[],"schemaVersion":2}'
D = Digest.of(EMPTY)


class Receiver:
    """Takes events, or refuses them."""

    def __init__(self):
        self.events, self.requests = [], []
        self.refuse = set()
        self.news = asyncio.Event()

    async def take(self, request):
        body = await request.read()
        event = await request.json()
        self.requests.append((request.headers.copy(), body))
        if event["data"]["repository"] in self.refuse:
            return web.Response(status=503)
        self.events.append(event)
        self.news.set()
        return web.Response(status=204)

    async def wait(self, count):
        async with asyncio.timeout(10):
            while len(self.events) < count:
                self.news.clear()
                await self.news.wait()


@pytest.fixture
async def receiver(aiohttp_server):
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    receiver.url = str((await aiohttp_server(app)).make_url("/hook"))
    return receiver


async def test_changes_are_told(aiohttp_client, receiver):
    """Pushes and deletions, with who, what and where."""
    config = RegistryConfig(webhooks=(Webhook(url=receiver.url, repositories="team/**"),))
    client = await aiohttp_client(create_app(config, MemoryStore()))
    await client.put(f"/v2/team/a/manifests/{D}?tag=1&tag=2", data=EMPTY)
    await client.put("/v2/team/a/manifests/3", data=EMPTY)
    await client.put("/v2/other/manifests/1", data=EMPTY)
    await client.put("/v2/team/a/manifests/4", data=b"broken")
    await client.delete("/v2/team/a/manifests/1")
    await client.delete("/v2/team/a/manifests/missing")
    await receiver.wait(3)
    first, second, third = receiver.events
    assert first["specversion"] == "1.0"
    assert first["type"] == "io.pybuild.registry.push"
    assert (first["source"], first["subject"]) == ("/v2/team/a", f"team/a@{D}")
    assert first["data"]["tags"] == ["1", "2"]
    assert first["data"]["digest"] == str(D)
    assert first["data"]["size"] == len(EMPTY)
    assert (second["subject"], second["data"]["tag"]) == ("team/a:3", "3")
    assert (third["type"], third["subject"]) == ("io.pybuild.registry.delete", "team/a:1")
    assert len({event["id"] for event in receiver.events}) == 3
    assert receiver.requests[0][0]["Content-Type"].startswith("application/cloudevents+json")


async def test_events_are_signed(receiver, tmp_path):
    """With the key of the file, so that the receiver knows who sent them."""
    (tmp_path / "key").write_text("secret\n")
    outbox = Outbox(":memory:", [Webhook(url=receiver.url, secret=str(tmp_path / "key"))])
    outbox.add(Change(kind="push", repository="a", data={"tag": "1"}))
    async with delivery(outbox):
        await receiver.wait(1)
    headers, body = receiver.requests[0]
    assert headers["X-Pybuild-Signature"] == "sha256=" + hmac.digest(b"secret", body, "sha256").hex()


@contextlib.asynccontextmanager
async def delivery(outbox):
    task = asyncio.create_task(outbox.deliver())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    outbox.close()


def change(repository, tag):
    return Change(kind="push", repository=repository, data={"tag": str(tag)})


async def test_order_within_a_repository_survives_refusals(receiver):
    """One repository's refused event holds up its own successors and nobody else's."""
    outbox = Outbox(":memory:", [Webhook(url=receiver.url)], first_pause=0.02)
    receiver.refuse.add("slow")
    for number in range(5):
        outbox.add(change("slow", number))
        outbox.add(change("fast", number))
    async with delivery(outbox):
        await receiver.wait(5)
        assert [event["subject"] for event in receiver.events] == [f"fast:{n}" for n in range(5)]
        await asyncio.sleep(0.1)
        assert outbox.pending() == 5
        receiver.refuse.clear()
        await receiver.wait(10)
        slow = [event["subject"] for event in receiver.events[5:]]
        assert slow == [f"slow:{n}" for n in range(5)]


async def test_events_survive_a_restart(receiver, tmp_path):
    """What was not accepted is sent by the next process, first things first."""
    path = str(tmp_path / "outbox.db")
    webhooks = [Webhook(url=receiver.url)]
    receiver.refuse.add("a")
    outbox = Outbox(path, webhooks, first_pause=0.01)
    for number in range(3):
        outbox.add(change("a", number))
    async with delivery(outbox):
        await asyncio.sleep(0.1)
    assert receiver.events == []
    receiver.refuse.clear()
    again = Outbox(path, webhooks)
    assert again.pending() == 3
    async with delivery(again):
        await receiver.wait(3)
    assert [event["subject"] for event in receiver.events] == ["a:0", "a:1", "a:2"]


async def test_a_receiver_that_is_gone_is_tried_again(receiver, unused_tcp_port_factory):
    """A refused connection is no end; pauses grow."""
    gone = f"http://127.0.0.1:{unused_tcp_port_factory()}/"
    outbox = Outbox(":memory:", [Webhook(url=gone), Webhook(url=receiver.url)], first_pause=0.01)
    outbox.add(change("a", 1))
    async with delivery(outbox):
        await receiver.wait(1)
        for _ in range(2000):
            if outbox._paused.get((gone, "a"), (0, 0.0))[0] >= 2:
                break
            await asyncio.sleep(0.01)
        assert outbox.pending() == 1
        assert outbox._paused[gone, "a"][0] >= 2


async def test_receivers_that_were_removed_are_forgotten(tmp_path, caplog):
    """Their events do not stay for ever."""
    path = str(tmp_path / "outbox.db")
    outbox = Outbox(path, [Webhook(url="http://127.0.0.1:9/")])
    outbox.add(change("a", 1))
    outbox.close()
    again = Outbox(path, [])
    async with delivery(again):
        for _ in range(100):
            await asyncio.sleep(0.02)
            if not again.pending():
                break
        assert again.pending() == 0
    assert "given up" in caplog.text


def test_kinds_and_patterns():
    """Nobody is told what was not asked for."""
    outbox = Outbox(":memory:", [Webhook(url="http://x", events=("delete",), repositories="a/*")])
    assert outbox.wants("delete", "a/b")
    assert not outbox.wants("push", "a/b")
    assert not outbox.wants("delete", "b")
    outbox.close()


def test_unusable_files_are_refused(tmp_path):
    """At the start."""
    with pytest.raises(InvalidConfiguration, match="cannot read"):
        Outbox(":memory:", [Webhook(url="http://x", secret=str(tmp_path / "none"))])
    with pytest.raises(InvalidConfiguration, match="outbox"):
        Outbox(str(tmp_path / "none" / "x.db"), [])
