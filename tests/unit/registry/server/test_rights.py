"""Rules about repositories, as values and as clients meet them."""

import aiohttp
import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_image.digest import Digest
from registry.errors import InvalidConfiguration
from registry.protocol.challenges import Scope, repository_scope
from registry.server.app import create_app
from registry.server.config import BasicAuth, RegistryConfig, TokenAuth
from registry.server.rights import Principal, Rights, Rule
from registry.server.store.memory import MemoryStore

ANN, BOB, NOBODY = Principal("ann"), Principal("bob"), Principal()
DATA = b"data"
D = Digest.of(DATA)
EMPTY = b'{"manifests":[],"schemaVersion":2}'


def rule(repositories, *allow, **who):
    return Rule(repositories=repositories, allow=allow, **who)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("**", "a", True),
        ("**", "a/b/c", True),
        ("*", "a", True),
        ("*", "a/b", False),
        ("team/*", "team/app", True),
        ("team/*", "team/app/web", False),
        ("team/**", "team/app/web", True),
        ("team/**", "team", False),
        ("team/**", "teams/app", False),
        ("**/cache", "a/b/cache", True),
        ("a/**/z", "a/b/c/z", True),
        ("a/**/z", "a/z", False),
        ("app-*-ci", "app-web-ci", True),
        ("a.c", "abc", False),
    ],
)
def test_patterns(pattern, name, matches):
    """One star stays within a segment, two span segments, everything else is literal."""
    rights = Rights([rule(pattern, "pull", users=("ann",))])
    assert rights.may(ANN, name, "pull") == matches


@pytest.mark.parametrize("pattern", ["", "/a", "a/", "A", "a//b", "a/**b", "***", "a b", "../a b"])
def test_bad_patterns_are_refused(pattern):
    """With a hint."""
    with pytest.raises(InvalidConfiguration) as caught:
        rule(pattern, "pull")
    assert "**" in caught.value.hint


def test_unknown_actions_are_refused():
    """And the known ones are told."""
    with pytest.raises(InvalidConfiguration, match="'write' is not an action") as caught:
        rule("**", "write")
    assert "push" in caught.value.hint


def test_the_most_specific_pattern_decides_alone():
    """It can take away what a wider one gives."""
    rights = Rights(
        [
            rule("**", "push", users=("*",)),
            rule("team/**", "push", groups=("team",)),
            rule("team/*", "pull", users=("bob",)),
            rule("team/secret", "admin", users=("ann",)),
        ],
        {"team": ("ann",)},
    )
    assert rights.actions(BOB, "other") == {"push", "pull"}
    assert rights.actions(BOB, "team/a/b") == set()
    assert rights.actions(ANN, "team/a/b") == {"push", "pull"}
    assert rights.actions(ANN, "team/a") == set()
    assert rights.actions(BOB, "team/a") == {"pull"}
    assert rights.actions(BOB, "team/secret") == set()
    assert rights.may(ANN, "team/secret", "delete")


def test_rules_for_one_pattern_add_up():
    """For each caller those that are about them."""
    rights = Rights(
        [
            rule("a", "pull", anonymous=True),
            rule("a", "push", users=("ann",)),
            rule("a", "delete", "catalog", groups=("ops",)),
        ]
    )
    assert rights.actions(NOBODY, "a") == {"pull"}
    assert rights.actions(ANN, "a") == {"push", "pull"}
    assert rights.actions(Principal("ann", frozenset({"ops"})), "a") == {"push", "pull", "delete", "catalog"}


def test_a_star_means_users_and_not_anonymous_callers():
    """Nobody without a name is meant by `users`."""
    rights = Rights([rule("**", "pull", users=("*",))])
    assert rights.may(ANN, "a", "pull")
    assert not rights.may(NOBODY, "a", "pull")
    assert not Rights([]).may(ANN, "a", "pull")


def test_scopes_are_reduced_to_what_is_allowed():
    """A smaller grant is no error; lists need the right to see something in them."""
    rights = Rights([rule("a", "pull", users=("ann",)), rule("b", "catalog", users=("bob",))])
    assert rights.reduce(ANN, repository_scope("a", "pull", "push")) == repository_scope("a", "pull")
    catalog = Scope("registry", "catalog", ("*",))
    assert not rights.covers(ANN, catalog)
    assert rights.covers(BOB, catalog)
    assert rights.reduce(BOB, Scope("plugin", "a", ("pull",))).actions == ()


def test_who_asks_for_everything_gets_what_is_allowed():
    """As clients do before they delete something; only an administrator has all of it."""
    everything = repository_scope("a", "*")
    rights = Rights([rule("a", "push", "delete", users=("ann",)), rule("a", "admin", users=("bob",))])
    assert rights.reduce(ANN, everything) == repository_scope("a", "pull", "push", "delete")
    assert rights.reduce(BOB, everything) == everything
    assert rights.reduce(NOBODY, everything).actions == ()
    assert not rights.covers(ANN, everything)


@given(
    name=st.from_regex(r"[a-z0-9]{1,4}(/[a-z0-9]{1,4}){0,3}", fullmatch=True),
    patterns=st.lists(st.sampled_from(["**", "*", "a/**", "*/a", "a/*", "**/a", "a"]), unique=True),
)
def test_order_does_not_matter(name, patterns):
    """The same rules in another order decide the same."""
    rules = [rule(pattern, "pull", users=(f"u{number}",)) for number, pattern in enumerate(patterns)]
    forward, backward = Rights(rules), Rights(rules[::-1])
    for number in range(len(rules)):
        who = Principal(f"u{number}")
        assert forward.actions(who, name) == backward.actions(who, name)


RULES = (
    rule("team/**", "push", "delete", "catalog", users=("ann",)),
    rule("team/**", "pull", users=("bob",)),
    rule("hidden/**", "admin", users=("root",)),
    rule("public/**", "pull", anonymous=True, users=("*",)),
    rule("public/**", "catalog", anonymous=True, users=("*",)),
)


@pytest.fixture
def htpasswd(tmp_path):
    encoded = bcrypt.hashpw(b"pw", bcrypt.gensalt(4)).decode()
    path = tmp_path / "htpasswd"
    path.write_text("".join(f"{user}:{encoded}\n" for user in ("ann", "bob", "root")))
    return str(path)


@pytest.fixture
async def store(aiohttp_client):
    """One blob and one manifest in each of three repositories."""
    store = MemoryStore()
    free = await aiohttp_client(create_app(RegistryConfig(verify_references=False), store))
    for name in ("team/app", "hidden/app", "public/app"):
        await free.post(f"/v2/{name}/blobs/uploads/?digest={D}", data=DATA)
        answer = await free.put(f"/v2/{name}/manifests/1", data=EMPTY)
        assert answer.status == 201
    return store


@pytest.fixture
async def basic(aiohttp_client, htpasswd, store):
    rules = tuple(r for r in RULES if not r.anonymous)
    config = RegistryConfig(auth=BasicAuth(htpasswd=htpasswd), rights=rules, verify_references=False)
    return await aiohttp_client(create_app(config, store))


@pytest.fixture
async def bearer(aiohttp_client, htpasswd, store):
    config = RegistryConfig(auth=TokenAuth(htpasswd=htpasswd), rights=RULES, verify_references=False)
    return await aiohttp_client(create_app(config, store))


def as_user(name):
    return {"Authorization": aiohttp.encode_basic_auth(name, "pw")}


async def token(client, scope, user=None):
    answer = await client.get("/token", params={"scope": scope}, headers=as_user(user) if user else {})
    return {"Authorization": f"Bearer {(await answer.json())['token']}"}


READING = ["tags/list", "manifests/1", f"blobs/{D}", f"referrers/{D}", "_pybuild/repository"]


@pytest.mark.parametrize("resource", READING)
async def test_every_read_needs_pull(basic, resource):
    """And a repository that may not be seen answers as one that does not exist."""
    seen = await basic.get(f"/v2/team/app/{resource}", headers=as_user("bob"))
    assert seen.status == 200
    answers = []
    for name in ("hidden/app", "hidden/none"):
        for method in ("GET", "HEAD"):
            answer = await basic.request(method, f"/v2/{name}/{resource}", headers=as_user("bob"))
            answers.append((answer.status, (await answer.text()).replace(name, "")))
    assert {status for status, _ in answers} == {403}
    assert answers[0] == answers[2]


@pytest.mark.parametrize(
    ("method", "resource"),
    [
        ("POST", "blobs/uploads/"),
        ("PUT", "manifests/2"),
        ("DELETE", "manifests/1"),
        ("DELETE", f"blobs/{D}"),
        ("DELETE", "_pybuild/repository"),
    ],
)
async def test_changes_need_their_own_right(basic, method, resource):
    """Who may only pull is refused, before anything is said about the content."""
    for name in ("team/app", "team/none"):
        answer = await basic.request(method, f"/v2/{name}/{resource}", headers=as_user("bob"))
        assert (answer.status, (await answer.json())["errors"][0]["code"]) == (403, "DENIED")


async def test_uploads_belong_to_repositories(basic):
    """Somebody without the right to push there cannot look at, feed or cancel one by its name."""
    answer = await basic.post("/v2/team/app/blobs/uploads/", headers=as_user("ann"))
    location = answer.headers["Location"]
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        answer = await basic.request(method, location, headers=as_user("bob"))
        assert answer.status == 403
    elsewhere = location.replace("team/app", "team/other")
    assert (await basic.get(elsewhere, headers=as_user("ann"))).status == 404
    assert (await basic.get(location, headers=as_user("ann"))).status == 204


async def test_mounts_need_pull_on_the_source(basic):
    """With and without `from`: otherwise the content of others could be had for its digest."""
    other = Digest.of(b"secret")
    answer = await basic.post(
        f"/v2/hidden/app/blobs/uploads/?digest={other}", data=b"secret", headers=as_user("root")
    )
    assert answer.status == 201
    for query in ("&from=hidden/app", ""):
        answer = await basic.post(f"/v2/team/new/blobs/uploads/?mount={other}{query}", headers=as_user("ann"))
        assert answer.status == 202
    answer = await basic.post(f"/v2/team/new/blobs/uploads/?mount={D}&from=team/app", headers=as_user("ann"))
    assert answer.status == 201


async def test_lists_show_what_rules_allow(basic, bearer):
    """Not what may only be pulled, and nothing of others."""
    answer = await basic.get("/v2/_catalog", headers=as_user("ann"))
    assert await answer.json() == {"repositories": ["team/app"]}
    assert (await basic.get("/v2/_catalog", headers=as_user("bob"))).status == 403
    answer = await basic.get("/v2/_catalog?n=1", headers=as_user("root"))
    assert await answer.json() == {"repositories": ["hidden/app"]}
    anonymous = await token(bearer, "registry:catalog:*")
    answer = await bearer.get("/v2/_catalog", headers=anonymous)
    assert await answer.json() == {"repositories": ["public/app"]}


async def test_tokens_follow_the_rules(bearer):
    """Anonymous ones for public repositories; mounts by the user's rights; 403 instead of an endless 401."""
    anonymous = await token(bearer, "repository:public/app:pull,push repository:team/app:pull")
    assert (await bearer.get("/v2/public/app/manifests/1", headers=anonymous)).status == 200
    assert (await bearer.get("/v2/team/app/manifests/1", headers=anonymous)).status == 401
    ann = await token(bearer, "repository:team/new:pull,push", "ann")
    answer = await bearer.post(f"/v2/team/new/blobs/uploads/?mount={D}&from=hidden/app", headers=ann)
    assert answer.status == 202
    answer = await bearer.post(f"/v2/team/new/blobs/uploads/?mount={D}&from=team/app", headers=ann)
    assert answer.status == 201
    assert (await bearer.get("/v2/hidden/app/manifests/1", headers=ann)).status == 403
    assert (await bearer.get("/v2/team/app/manifests/1", headers=ann)).status == 401


async def test_rules_without_authentication(aiohttp_client, store):
    """There is nothing to ask for, so the refusal is final."""
    config = RegistryConfig(rights=(rule("**", "pull", anonymous=True),))
    client = await aiohttp_client(create_app(config, store))
    assert (await client.get("/v2/team/app/tags/list")).status == 200
    assert (await client.post("/v2/team/app/blobs/uploads/")).status == 403


def test_anonymous_rules_need_tokens():
    """Clients would not know when to send their password."""
    with pytest.raises(InvalidConfiguration, match="tokens"):
        RegistryConfig(auth=BasicAuth(htpasswd="x"), rights=RULES)
