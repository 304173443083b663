"""Events about what goes by itself: collections, retention, and what the owner of the storage removes."""

import asyncio
import sqlite3

import pytest
from aiohttp import web

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from registry.errors import StorageFull
from registry.server.app import create_app
from registry.server.config import RegistryConfig, Webhook
from registry.server.gc_log import Deletion, DeletionLog
from registry.server.housekeeping.upkeep import Nobody, Upkeep
from registry.server.policies import Policy
from registry.server.store.base import StoredManifest
from registry.server.store.filesystem import FilesystemStore
from registry.server.tidings import Tidings
from registry.server.webhooks import Change, Outbox

INDEX = "application/vnd.oci.image.index.v1+json"


class Clock:
    def __init__(self, now=1_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


class Board:
    """Implements `Bulletin` in memory."""

    def __init__(self):
        self.changes, self.number, self.announced = [], None, 0
        self.refuse = False

    def told(self):
        return self.number

    def add_all(self, changes, told=None):
        if self.refuse:
            raise StorageFull("no space is left")
        self.changes += changes
        self.number = self.number if told is None else told

    def announce(self):
        self.announced += 1


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    made = FilesystemStore(str(tmp_path / "root"), clock, clock)
    yield made
    made.close()


@pytest.fixture
def board():
    return Board()


def put(store, tag="", content=b"{}", repository="a"):
    descriptor = Descriptor(media_type=INDEX, digest=Digest.of(content), size=len(content))
    manifest = StoredManifest(descriptor=descriptor, raw=content)
    store.manifests.put(repository, manifest, [tag] if tag else [])
    return descriptor.digest


def upkeep_of(store, board=None, policies=()):
    tidings = None if board is None else Tidings(store, board, board.announce)
    made = Upkeep(store, Nobody(store), grace=10, undelete=100, policies=policies, tidings=tidings)
    made.tell()
    return made


def test_what_goes_by_itself_is_told(store, clock, board):
    """Each tag and each manifest once, with the reason."""
    upkeep = upkeep_of(store, board, (Policy(repositories="a", max_age=50),))
    old = put(store, "old", b'{"manifests":[],"schemaVersion":2}')
    clock.now += 100
    put(store, "new")
    clock.now += 20
    upkeep.collect()
    upkeep.collect()
    tag, manifest = board.changes
    assert (tag.kind, tag.repository, tag.data["tag"], tag.data["digest"]) == ("delete", "a", "old", str(old))
    assert "more than 50" in tag.data["reason"]
    assert (manifest.kind, manifest.data["digest"]) == ("delete", str(old))
    assert "tag" not in manifest.data
    assert manifest.data["reason"]
    assert board.announced == 1


def test_a_dry_run_tells_tags_and_nobody(store, clock, board):
    """The report has the tags that would go, and they stay."""
    upkeep = upkeep_of(store, board, (Policy(repositories="a", max_age=50),))
    put(store, "old")
    clock.now += 100
    report = upkeep.collect(dry_run=True)
    assert [(item.kind, item.tag) for item in report.deletions] == [("tag", "old")]
    assert store.tags.names("a") == ["old"]
    assert board.changes == []
    report = upkeep.collect()
    assert [(item.kind, item.tag) for item in report.deletions][:1] == [("tag", "old")]


def test_an_explanation_knows_the_policies(store, clock):
    """Which tag goes and why, before it goes and afterwards, and how long a throw-away repository waits."""
    policies = (Policy(repositories="a", max_age=50), Policy(repositories="b", ttl=5))
    upkeep = upkeep_of(store, policies=policies)
    digest = put(store, "old")
    put(store, "", b'{"b":1}', repository="b")
    clock.now += 8
    (line,) = upkeep.explain(Digest.of(b'{"b":1}'))
    assert line.startswith("b: goes with the next collection")
    assert "grace of 5" in line
    clock.now += 92
    kept, going = upkeep.explain(digest)
    assert "kept as a manifest: tag old" in kept
    assert going.startswith("a: the tag old goes with the next collection: pushed 100 seconds ago")
    upkeep.collect()
    assert any(line.startswith("a: tag old collected (removed): pushed") for line in upkeep.explain(digest))


def test_nothing_is_lost_between_deletion_and_event(store, clock, board):
    """What a server that was killed, or nobody's server, removed is told by the next one, once."""
    upkeep_of(store, board)
    digest = put(store)
    clock.now += 100
    upkeep_of(store).collect()
    assert board.changes == []
    upkeep_of(store, board)
    upkeep_of(store, board)
    assert [change.data["digest"] for change in board.changes] == [str(digest)]


def test_a_failure_to_tell_is_made_good(store, clock, board):
    """The collection is done all the same."""
    upkeep = upkeep_of(store, board)
    digest = put(store)
    clock.now += 100
    board.refuse = True
    assert upkeep.collect().deletions
    board.refuse = False
    upkeep.collect()
    assert [change.data["digest"] for change in board.changes] == [str(digest)]


def test_what_is_here_again_is_not_told(store, clock, board):
    """Nor what went before there was anybody to tell, nor what is older than events ever get."""
    put(store)
    clock.now += 100
    upkeep_of(store).collect()
    upkeep = upkeep_of(store, board)
    digest = put(store)
    clock.now += 100
    upkeep_of(store).collect()
    upkeep.undelete(digest)
    upkeep.collect()
    assert board.changes == []
    clock.now += 100
    upkeep_of(store).collect()
    clock.now += 8 * 24 * 3600
    upkeep.tell()
    assert board.changes == []


def test_a_removed_repository_is_told(store, board):
    """One event for all of it."""
    upkeep = upkeep_of(store, board)
    put(store, "1")
    assert upkeep.remove("a")
    assert not upkeep.remove("a")
    (change,) = board.changes
    assert (change.kind, change.repository) == ("delete", "a")
    assert "owner" in change.data["reason"]


def test_a_log_of_the_first_version_opens(tmp_path):
    """Its tags have no names, and new ones do."""
    path = str(tmp_path / "deletions.db")
    digest = Digest.of(b"x")
    with sqlite3.connect(path) as old:
        old.execute(
            "CREATE TABLE deletions (id INTEGER PRIMARY KEY, run TEXT NOT NULL, wall REAL NOT NULL, "
            "steady REAL NOT NULL, kind TEXT NOT NULL, repository TEXT NOT NULL, digest TEXT NOT NULL, "
            "size INTEGER NOT NULL, reason TEXT NOT NULL, file TEXT NOT NULL, state TEXT NOT NULL)"
        )
        row = ("r", 1.0, 1.0, "tag", "a", str(digest), 0, "old", "f", "removed")
        old.execute(f"INSERT INTO deletions VALUES (1, {', '.join('?' * len(row))})", row)
    old.close()
    log = DeletionLog(path, "trash")
    new = Deletion(kind="tag", repository="a", digest=digest, size=0, reason="new", tag="v1")
    log.record("s", [new], 2.0, 2.0)
    assert [record.deletion.tag for record in log.following(0, 10)] == ["", "v1"]
    assert log.last() == 2
    log.close()


def test_a_full_disk_leaves_the_outbox_usable(tmp_path):
    """An event that does not fit is no half transaction, which would refuse all that follow."""
    outbox = Outbox(str(tmp_path / "outbox.db"), [Webhook(url="http://127.0.0.1:9/")])
    pages = outbox._database.execute("PRAGMA page_count").fetchone()[0]
    outbox._database.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StorageFull):
        outbox.add_all([Change(kind="push", repository="a", data={"x": "y" * 1000})] * 50, 7)
    assert (outbox.told(), outbox.pending()) == (None, 0)
    outbox._database.execute("PRAGMA max_page_count=10000")
    outbox.add_all([Change(kind="push", repository="a", data={})], 7)
    assert (outbox.told(), outbox.pending()) == (7, 1)
    outbox.close()


async def test_a_server_tells_what_it_removes(aiohttp_client, aiohttp_server, store):
    """And while it is read-only, it removes nothing by itself: somebody may be copying its files."""
    events = asyncio.Queue()

    async def take(request):
        events.put_nowait(await request.json())
        return web.Response(status=204)

    receiver = web.Application()
    receiver.router.add_post("/", take)
    hook = Webhook(url=str((await aiohttp_server(receiver)).make_url("/")), events=("delete",))
    config = RegistryConfig(
        root=store.directory,
        webhooks=(hook,),
        gc_interval=0.05,
        policies=(Policy(repositories="a", max_tags=1),),
        read_only=True,
    )
    app = create_app(config, store)
    put(store, "1")
    store.index.wall.now += 1
    put(store, "2")
    await aiohttp_client(app)
    await asyncio.sleep(0.3)
    assert store.tags.names("a") == ["1", "2"]
    from registry.server.state import STATE

    app[STATE].switches.set_read_only(False)
    async with asyncio.timeout(10):
        event = await events.get()
    assert (event["type"], event["subject"]) == ("io.pybuild.registry.delete", "a:1")
    assert "1 tags were pushed after it" in event["data"]["reason"]
