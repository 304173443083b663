"""Immutable tags, retention, quotas and throw-away repositories, over HTTP and in a directory."""

import asyncio
import json
import os
import time
import urllib.error
import urllib.request

import pytest

from oci_image.descriptor import Descriptor
from oci_image.digest import Digest
from registry.errors import InvalidConfiguration, RegistryError
from registry.server.config import RegistryConfig
from registry.server.embedded import Registry
from registry.server.housekeeping.gc import Collector
from registry.server.housekeeping.gc_questions import undelete
from registry.server.housekeeping.retention import remove_expired
from registry.server.listening import verify
from registry.server.policies import KeepRule, Policy, policy_of
from registry.server.quota import usage
from registry.server.store.base import StoredManifest
from registry.server.store.filesystem import FilesystemStore

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Clock:
    def __init__(self, now=1_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def wall():
    return Clock()


@pytest.fixture
def store(tmp_path, wall):
    made = FilesystemStore(str(tmp_path / "root"), wall, wall)
    yield made
    made.close()


def put(store, repository, tag, content=b"{}"):
    descriptor = Descriptor(media_type=MANIFEST, digest=Digest.of(content), size=len(content))
    store.manifests.put(repository, StoredManifest(descriptor=descriptor, raw=content), [tag])
    return descriptor.digest


def remaining(store, policy, repository="a"):
    remove_expired(store, (policy,), lambda _repository: None)
    return list(store.tags.names(repository))


def send(method, url, body=b"", kind="application/octet-stream"):
    request = urllib.request.Request(url, data=body or None, method=method, headers={"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as problem:
        with problem:
            return problem.code, problem.read()


def push_manifest(url, repository, tag, annotations):
    body = json.dumps(
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}
        | {"annotations": annotations}
    ).encode()
    kind = "application/vnd.oci.image.index.v1+json"
    return *send("PUT", f"{url}/v2/{repository}/manifests/{tag}", body, kind), Digest.of(body)


def push_blob(url, repository, body):
    return send("POST", f"{url}/v2/{repository}/blobs/uploads/?digest={Digest.of(body)}", body)


@pytest.mark.parametrize("where", ["memory", "directory"])
def test_immutable_tags_never_change(tmp_path, where):
    """Not by a push, a second tag of one, or a deletion; the same manifest again is fine."""
    config = RegistryConfig(
        port=0,
        root=str(tmp_path / "root") if where == "directory" else "",
        policies=(Policy(repositories="app/**", immutable_tags=("v*", "release")),),
    )
    with Registry(config) as url:
        status, _, first = push_manifest(url, "app/x", "v1", {})
        assert status == 201
        assert push_manifest(url, "app/x", "v1", {})[0] == 201
        status, body, other = push_manifest(url, "app/x", "v1", {"n": "2"})
        assert status == 409
        assert b"immutable" in body
        assert json.loads(body)["errors"][0]["code"] == "DENIED"
        assert push_manifest(url, "app/x", "free?tag=v1", {"n": "2"})[0] == 409
        assert send("GET", f"{url}/v2/app/x/manifests/{other}")[0] == 404
        assert send("GET", f"{url}/v2/app/x/manifests/free")[0] == 404
        assert send("DELETE", f"{url}/v2/app/x/manifests/v1")[0] == 409
        assert send("DELETE", f"{url}/v2/app/x/manifests/{first}")[0] == 409
        assert push_manifest(url, "app/x", "latest", {})[0] == 201
        assert push_manifest(url, "app/x", "latest", {"n": "2"})[0] == 201
        assert send("DELETE", f"{url}/v2/app/x/manifests/{other}")[0] == 202
        assert push_manifest(url, "other", "v1", {})[0] == 201
        assert push_manifest(url, "other", "v1", {"n": "2"})[0] == 201


def test_the_newest_tags_stay(store, wall):
    """As many as the policy says, besides those that it names."""
    for number in range(6):
        put(store, "a", f"t{number}")
        wall.now += 1
    assert remaining(store, Policy(repositories="b", max_tags=1)) == [f"t{n}" for n in range(6)]
    assert remaining(store, Policy(repositories="a", max_tags=2, keep_tags=("t0",))) == ["t0", "t4", "t5"]


def test_old_tags_go(store, wall):
    """By the time of their push; pushing the tag again counts, and so do names that are kept."""
    for tag in ("old", "kept-1", "renewed"):
        put(store, "a", tag)
    wall.now += 100
    put(store, "a", "renewed")
    put(store, "a", "young")
    wall.now += 50
    assert remaining(store, Policy(repositories="a", max_age=120, keep_tags=("kept-*",))) == [
        "kept-1",
        "renewed",
        "young",
    ]


def test_limits_for_some_tags(store, wall):
    """Others stay whatever their age, and do not count."""
    for tag in ("pr-1", "pr-2", "v1", "pr-3"):
        put(store, "a", tag)
        wall.now += 10
    assert remaining(store, Policy(repositories="**", only_tags=("pr-*",), max_tags=2)) == [
        "pr-2",
        "pr-3",
        "v1",
    ]
    wall.now += 1000
    policy = Policy(repositories="**", only_tags=("pr-*",), keep_tags=("pr-3",), max_age=60)
    assert remaining(store, policy) == ["pr-3", "v1"]


def test_pulled_tags_stay(store, wall):
    """The last pull counts, without a write for each of them."""
    used, idle = put(store, "a", "used", b"1"), put(store, "a", "idle", b"2")
    wall.now += 100
    store.manifests.touch("a", used)
    wall.now += 50
    assert remaining(store, Policy(repositories="a", max_idle=120)) == ["used"]
    (record,) = store.deletions.of_digest(idle)
    assert record.state == "removed"
    assert "last pulled or pushed 150 seconds ago" in record.deletion.reason


def test_what_no_rule_keeps_goes(store, wall):
    """Each rule has its own tags and conditions; one that keeps a tag is enough; the reason is recorded."""
    for tag in ("main", "v1", "nightly-1", "pr-1", "nightly-2", "nightly-3"):
        put(store, "a", tag, tag.encode())
        wall.now += 10
    pulled = Digest.of(b"nightly-1")
    store.manifests.touch("a", pulled)
    wall.now += 100
    put(store, "a", "pr-2")
    put(store, "a", "other")
    keep = (
        KeepRule(tags=("v*", "main")),
        KeepRule(tags=("nightly-*",), pushed_last=1, pulled_within=120),
        KeepRule(tags=("pr-*",), pushed_within=60),
    )
    assert remaining(store, Policy(repositories="b", keep=keep)) == sorted(store.tags.names("a"))
    policy = Policy(repositories="a", keep=keep)
    assert remaining(store, policy) == ["main", "nightly-1", "nightly-3", "pr-2", "v1"]
    (record,) = store.deletions.of_digest(Digest.of(b"nightly-2"))
    assert record.deletion.reason == "no rule keeps it: pushed 120 seconds ago, never pulled (policy for a)"
    wall.now += 60
    assert remaining(store, policy) == ["main", "nightly-3", "pr-2", "v1"]
    (record,) = store.deletions.of_digest(pulled)
    assert "pulled 160 seconds ago" in record.deletion.reason


def test_rules_are_exceptions_to_limits(store, wall):
    """What is beyond a limit stays when a rule keeps it; what is not beyond one needs no rule."""
    for tag in ("t1", "t2", "t3"):
        put(store, "a", tag)
        wall.now += 10
    wall.now += 100
    put(store, "a", "young")
    policy = Policy(repositories="a", max_age=60, keep=(KeepRule(tags=("t*",), pushed_last=1),))
    assert remaining(store, policy) == ["t3", "young"]


def test_names_outside_the_policy_stay_without_a_rule(store, wall):
    """Rules choose among the tags that the policy is about: others neither go nor count."""
    for tag in ("pr-1", "pr-2", "v1", "pr-3", "kept"):
        put(store, "a", tag)
        wall.now += 1
    policy = Policy(repositories="a", only_tags=("pr-*",), keep=(KeepRule(pushed_last=1),))
    assert remaining(store, policy) == ["kept", "pr-3", "v1"]
    policy = Policy(
        repositories="a", immutable_tags=("v*",), keep_tags=("kept",), keep=(KeepRule(pushed_last=1),)
    )
    put(store, "a", "new")
    assert remaining(store, policy) == ["kept", "new", "v1"]


def test_the_tags_that_were_pulled_last_stay(store, wall):
    """In the order of their pulls; who was never pulled has no place, and one manifest has one place."""
    for tag in ("never", "early", "late", "later"):
        put(store, "a", tag, tag.encode())
    put(store, "a", "later-too", b"later")
    for tag in ("early", "late", "later"):
        wall.now += 10
        store.manifests.touch("a", Digest.of(tag.encode()))
    every = KeepRule(pulled_last=10)
    assert remaining(store, Policy(repositories="a", keep=(every,))) == [
        "early",
        "late",
        "later",
        "later-too",
    ]
    assert remaining(store, Policy(repositories="a", keep=(KeepRule(pulled_last=1),))) == [
        "later",
        "later-too",
    ]


def test_rules_keep_what_was_perhaps_pulled(tmp_path, wall):
    """Nobody knows the order of pulls from before the index was lost."""
    root = str(tmp_path / "root")
    store = FilesystemStore(root, wall, wall)
    for tag in ("a1", "a2"):
        put(store, "a", tag, tag.encode())
        os.utime(f"{root}/repositories/a/tags/{tag}", (wall.now, wall.now))
    wall.now += 100
    store.manifests.touch("a", Digest.of(b"a1"))
    store.close()
    os.unlink(f"{root}/index.db")
    again = FilesystemStore(root, wall, wall)
    wall.now += 10
    put(again, "a", "new", b"new")
    policy = Policy(repositories="a", keep=(KeepRule(pulled_last=1),))
    assert remaining(again, policy) == ["a1", "a2"]
    again.manifests.touch("a", Digest.of(b"a2"))
    assert remaining(again, policy) == ["a2"]
    again.close()


@pytest.mark.parametrize("is_collected", [False, True])
def test_tags_that_went_can_come_back(store, wall, is_collected):
    """With their manifest, or where it still is; a name that stands for something else by now does not."""
    digest = put(store, "a", "first", b"{}")
    put(store, "a", "second", b"{}")
    put(store, "b", "first", b"{}")
    wall.now += 100
    policy = Policy(repositories="a", max_age=60)
    assert remaining(store, policy) == []
    if is_collected:
        Collector(store, grace=10, undelete=1000).collect()
        assert store.manifests.get("a", digest) is None
    other = put(store, "a", "second", b"[]")
    assert undelete(store, digest)[-1] == f"a: tag first {digest}"
    assert [store.tags.get("a", tag) for tag in ("first", "second")] == [digest, other]
    assert remaining(store, policy) == ["first", "second"]
    with pytest.raises(RegistryError, match="not in the trash"):
        undelete(store, digest)
    wall.now += 100
    assert remaining(store, policy) == []


@pytest.mark.parametrize("lost", ["the index", "the machine", "nothing"])
def test_lost_pulls_count_as_pulls(tmp_path, wall, lost):
    """After a crash nobody knows what was pulled lately, so nothing is idle before its time has passed."""
    root = str(tmp_path / "root")
    store = FilesystemStore(root, wall, wall)
    pulled = put(store, "a", "pulled")
    os.utime(f"{root}/repositories/a/tags/pulled", (wall.now, wall.now))
    wall.now += 1000
    store.manifests.touch("a", pulled)
    if lost == "the machine":
        store.write_down()
        store.index.set_meta("running", "an earlier boot")
        store.index.close()
        os.close(store._lock_descriptor)
    else:
        store.close()
    if lost == "the index":
        os.unlink(f"{root}/index.db")
    wall.now += 60
    again = FilesystemStore(root, wall, wall)
    policy = Policy(repositories="a", max_idle=120)
    assert remaining(again, policy) == ["pulled"]
    wall.now += 90
    assert remaining(again, policy) == ([] if lost == "nothing" else ["pulled"])
    wall.now += 60
    assert remaining(again, policy) == []
    again.close()


def test_a_tag_that_moves_meanwhile_stays(store, wall):
    """The decision was about another manifest."""
    digest = put(store, "a", "t", b"old")
    wall.now += 100
    record = store.deletions.record

    def race(*arguments):
        put(store, "a", "t", b"new")
        return record(*arguments)

    store.deletions.record = race
    assert remaining(store, Policy(repositories="a", max_age=50)) == ["t"]
    assert [item.state for item in store.deletions.of_digest(digest)] == ["spared"]


def test_throw_away_repositories_vanish(tmp_path):
    """With tags, manifests and bytes, soon after their time, while others stay."""
    root = str(tmp_path / "root")
    config = RegistryConfig(
        port=0, root=root, gc_interval=0.2, gc_undelete=0, policies=(Policy(repositories="tmp/**", ttl=0.5),)
    )
    with Registry(config) as url:
        for name in ("tmp/x", "app"):
            assert push_blob(url, name, name.encode())[0] == 201
            assert push_manifest(url, name, "t", {"n": name})[0] == 201
        assert send("GET", f"{url}/v2/tmp/x/manifests/t")[0] == 200
        end = time.monotonic() + 8
        while send("GET", f"{url}/v2/tmp/x/tags/list")[0] != 404 and time.monotonic() < end:
            time.sleep(0.1)
        assert send("GET", f"{url}/v2/tmp/x/manifests/t")[0] == 404
        assert send("HEAD", f"{url}/v2/tmp/x/blobs/{Digest.of(b'tmp/x')}")[0] == 404
        assert json.loads(send("GET", f"{url}/v2/_catalog")[1]) == {"repositories": ["app"]}
        assert send("GET", f"{url}/v2/app/manifests/t")[0] == 200
        assert send("HEAD", f"{url}/v2/app/blobs/{Digest.of(b'app')}")[0] == 200
        while len(os.listdir(f"{root}/repositories")) > 1 and time.monotonic() < end:
            time.sleep(0.1)
        assert os.listdir(f"{root}/repositories") == ["app"]


QUOTA = Policy(repositories="team/**", quota=10_000)


@pytest.fixture
def limited(tmp_path):
    with Registry(RegistryConfig(port=0, root=str(tmp_path / "root"), policies=(QUOTA,))) as url:
        yield url


def test_the_first_byte_over_the_quota_is_refused(limited):
    """In one request, in chunks, and in all repositories together; others have no limit."""
    assert push_blob(limited, "team/a", os.urandom(6000))[0] == 201
    status, body = push_blob(limited, "team/b", os.urandom(4001))
    assert status == 403
    assert json.loads(body)["errors"][0]["code"] == "DENIED"
    assert b"quota of 10000 bytes for team/**" in body
    assert push_blob(limited, "other", os.urandom(20_000))[0] == 201
    assert push_blob(limited, "team/b", os.urandom(4000))[0] == 201
    assert push_blob(limited, "team/b", os.urandom(1))[0] == 403
    assert push_manifest(limited, "team/b", "t", {})[0] == 403


def test_shared_blobs_count_once(limited):
    """A mount between repositories of the policy costs nothing, one from elsewhere its size."""
    shared, foreign = os.urandom(9000), os.urandom(2000)
    assert push_blob(limited, "team/a", shared)[0] == 201
    assert push_blob(limited, "other", foreign)[0] == 201
    mount = f"{limited}/v2/team/b/blobs/uploads/?mount={Digest.of(shared)}&from=team/a"
    assert send("POST", mount)[0] == 201
    mount = f"{limited}/v2/team/b/blobs/uploads/?mount={Digest.of(foreign)}&from=other"
    assert send("POST", mount)[0] == 403


def test_a_stream_is_cut_at_the_quota(limited):
    """A body of unknown length ends the upload when it passes the quota, not after its end."""

    async def stream():
        import aiohttp

        sent = 0

        async def body():
            nonlocal sent
            for _ in range(5000):
                sent += 10_000
                yield bytes(10_000)
                await asyncio.sleep(0)  # where the answer is seen

        async with aiohttp.ClientSession(limited) as session:
            async with session.post("/v2/team/a/blobs/uploads/") as answer:
                location = answer.headers["Location"]
            try:
                async with session.patch(location, data=body()) as answer:
                    status, then = answer.status, sent
            except aiohttp.ClientError:
                status, then = 403, sent  # the connection was closed while the body was sent
            async with session.get(location) as answer:
                return status, then, answer.status

    status, sent, after = asyncio.run(stream())
    assert status == 403
    assert sent < 40_000_000
    assert after == 404


def test_running_uploads_count(limited):
    """What was sent already is taken, so two uploads together do not pass the quota."""

    async def race():
        import aiohttp

        async with aiohttp.ClientSession(limited) as session:
            locations = []
            for _ in range(2):
                async with session.post("/v2/team/a/blobs/uploads/") as answer:
                    locations.append(answer.headers["Location"])
            statuses = []
            for location in locations:
                async with session.patch(location, data=bytes(6000)) as answer:
                    statuses.append(answer.status)
            return statuses

    assert asyncio.run(race()) == [202, 403]


def test_usage_counts_what_matches(store):
    """The pattern decides, not the beginning of the name."""
    for name in ("team/a", "team/b", "team/a/x", "teams", "team"):
        put(store, name, "t", f'{{"{name}": 1}}'.encode())
    assert usage(store, Policy(repositories="team/**")) == sum(
        len(f'{{"{n}": 1}}') for n in ("team/a", "team/b", "team/a/x")
    )
    assert usage(store, Policy(repositories="team/*")) == sum(
        len(f'{{"{n}": 1}}') for n in ("team/a", "team/b")
    )
    assert usage(store, Policy(repositories="team")) == len('{"team": 1}')


def test_the_first_policy_that_matches_holds():
    """Alone."""
    narrow, wide = Policy(repositories="a/b"), Policy(repositories="**", quota=1)
    assert policy_of((narrow, wide), "a/b") is narrow
    assert policy_of((narrow, wide), "a/c") is wide
    assert policy_of((narrow,), "a/c") is None


@pytest.mark.parametrize(
    "settings",
    [
        {"repositories": "A"},
        {"repositories": "a", "quota": -1},
        {"repositories": "a", "ttl": 1, "immutable_tags": ("v*",)},
        {"repositories": "a", "ttl": 1, "keep_tags": ("v*",)},
        {"repositories": "a", "ttl": 1, "keep": (KeepRule(),)},
    ],
)
def test_impossible_policies_are_refused(settings):
    """With a sentence, before anything starts."""
    with pytest.raises(InvalidConfiguration):
        Policy(**settings)


def test_policies_that_need_lasting_content_are_refused_for_memory():
    """Rather than ignored, and before the server starts."""
    config = RegistryConfig(port=0, policies=(QUOTA,))
    with pytest.raises(InvalidConfiguration, match="outlives"):
        verify(config)
    with pytest.raises(InvalidConfiguration, match="outlives"), Registry(config):
        pass


@pytest.mark.parametrize("condition", ["pushed_last", "pulled_last", "pushed_within", "pulled_within"])
def test_conditions_are_not_negative(condition):
    """A rule that can keep nothing is a mistake."""
    with pytest.raises(InvalidConfiguration, match="negative"):
        KeepRule(**{condition: -1})
