"""Settings of mirrors, the names that they give, and when upstreams are left alone."""

import dataclasses

import pytest

from oci_image.digest import Digest
from registry.errors import InvalidConfiguration
from registry.server.config import RegistryConfig
from registry.server.configfile import load
from registry.server.configtables import TABLES
from registry.server.mirror.names import Names, Place, is_allowed, place_of
from registry.server.mirror.patience import Patience
from registry.server.mirror.records import Records
from registry.server.mirror.settings import Mirror
from registry.server.mirror.upstream import Failure, UpstreamFailed
from registry.server.policies import Policy
from registry.upstreams import check

HUB = Mirror(prefix="docker.io", default=True)
QUAY = Mirror(prefix="quay.io", upstream="https://cache.example/quay", names=("quay.io", "q"))


def test_every_setting_can_be_written():
    """In a file, with the same default."""
    fields = {field.name: field for field in dataclasses.fields(Mirror)}
    rows = {setting.key: setting for setting in TABLES["mirror"]}
    assert rows.keys() == fields.keys()
    for name, setting in rows.items():
        if name != "prefix":
            default = tuple(setting.default) if setting.kind == "strings" else setting.default
            assert (default or fields[name].default) == fields[name].default, name


def test_a_file_with_mirrors(tmp_path):
    """Paths start where the file is; limits become policies after those of the file."""
    path = tmp_path / "registry.toml"
    path.write_text(
        '[[policies]]\nrepositories = "team/**"\nmax_tags = 3\n'
        '[[mirror]]\nprefix = "docker.io"\ndefault = true\nquota = 5\n'
        'username = "ann"\npassword_file = "hub"\n'
        '[[mirror]]\nprefix = "local"\nupstream = "http://127.0.0.1:5001"\nnames = ["127.0.0.1:5001"]\n'
    )
    config = load(str(path))
    assert config.mirrors == (
        Mirror(
            prefix="docker.io", default=True, username="ann", password_file=str(tmp_path / "hub"), quota=5
        ),
        Mirror(prefix="local", upstream="http://127.0.0.1:5001", names=("127.0.0.1:5001",)),
    )
    assert config.policies == (
        Policy(repositories="team/**", max_tags=3),
        Policy(repositories="docker.io/**", quota=5),
    )
    with pytest.raises(InvalidConfiguration, match="cannot read"):
        check(config.mirrors, {})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prefix": "127.0.0.1:5000"}, "cannot begin the names"),
        ({"upstream": "ftp://x"}, "not an http"),
        ({"upstream": "https://me:x@host"}, "not an http"),
        ({"upstream": "https://host/UPPER"}, "path of the upstream"),
        ({"repositories": ("A",)}, "not a pattern"),
        ({"tag_ttl": -1}, "negative"),
        ({"timeout": 0}, "patience"),
        ({"prefer": "me"}, "prefer is one of"),
        ({"username": "ann"}, "belong together"),
        ({"password_env": "X"}, "belong together"),
        ({"username": "a", "password_env": "X", "password_file": "y"}, "exclude"),
        ({"username": "a", "password_env": "X", "docker_config": "y"}, "exclude"),
    ],
)
def test_mistakes_in_settings_of_mirrors(settings, message):
    """Are told before anything starts."""
    with pytest.raises(InvalidConfiguration, match=message):
        Mirror(**({"prefix": "docker.io"} | settings))


@pytest.mark.parametrize(
    "mirrors",
    [
        (HUB, HUB),
        (HUB, Mirror(prefix="docker.io/library")),
        (Mirror(prefix="a/b"), Mirror(prefix="a")),
        (HUB, Mirror(prefix="other", names=("docker.io",))),
        (HUB, Mirror(prefix="other", default=True)),
    ],
)
def test_mirrors_that_claim_the_same(mirrors):
    """Cannot be beside each other."""
    with pytest.raises(InvalidConfiguration, match=r"claim|only one"):
        RegistryConfig(mirrors=mirrors)


def test_places():
    """One repository has one name here; official images have two names at Docker Hub."""
    assert place_of(HUB, "app") == place_of(HUB, "library/app")
    assert place_of(HUB, "app") == Place(HUB, "docker.io/library/app", "library/app")
    assert place_of(QUAY, "app") == Place(QUAY, "quay.io/app", "quay/app")
    assert HUB.base == "https://registry-1.docker.io"
    assert QUAY.origin == "https://cache.example"
    assert Mirror(prefix="ghcr.io").base == "https://ghcr.io"
    names = Names((HUB, QUAY))
    assert names.of_prefix("quay.io/a/b") == (QUAY, "a/b")
    assert names.of_prefix("quay.iox/a") is None
    assert names.of_prefix("quay.io") is None
    assert names.of_space("q") is QUAY
    assert names.of_space("127.0.0.1:5000") is None
    assert names.default is HUB
    assert is_allowed(place_of(HUB, "x"))
    assert not is_allowed(place_of(Mirror(prefix="a", repositories=("b/*",)), "c/d"))


def failed(failure, retry_after=None):
    return UpstreamFailed(failure, "no", retry_after=retry_after)


def test_pauses_grow_while_an_upstream_is_down():
    """And end with the first answer."""
    now = [100.0]
    patience = Patience("m", offline=False, missing_ttl=5, clock=lambda: now[0])
    for pause in (1, 2, 4, 8, 16, 30, 30):
        patience.note_failure("manifests", "a", failed(Failure.DOWN))
        with pytest.raises(UpstreamFailed):
            patience.check("blobs", "b")
        now[0] += pause - 0.01
        with pytest.raises(UpstreamFailed) as caught:
            patience.check("blobs", "b")
        assert caught.value.failure is Failure.DOWN
        now[0] += 0.02
        assert patience.check("blobs", "b") is False
    patience.note_success()
    patience.note_failure("manifests", "a", failed(Failure.DOWN))
    now[0] += 1.01
    assert patience.check("manifests", "a") is False


def test_limits_last_as_long_as_they_say_but_not_for_ever():
    """A minute without a word; six hours at most; only for what was limited."""
    now = [0.0]
    patience = Patience("m", offline=False, missing_ttl=5, clock=lambda: now[0])
    for said, lasts in ((None, 60), (10, 10), (10**9, 6 * 3600)):
        patience.note_failure("manifests", "a", failed(Failure.LIMITED, said))
        assert patience.check("blobs", "a") is False
        now[0] += lasts - 1
        with pytest.raises(UpstreamFailed) as caught:
            patience.check("manifests", "b")
        assert caught.value.retry_after == pytest.approx(1)
        now[0] += 1
        assert patience.check("manifests", "b") is False


def test_other_failures_are_about_one_thing():
    """What is broken is asked for again soon, what was refused later; nothing else is held up."""
    now = [0.0]
    patience = Patience("m", offline=False, missing_ttl=30, clock=lambda: now[0])
    patience.note_failure("manifests", "a", failed(Failure.BROKEN))
    patience.note_failure("manifests", "b", failed(Failure.REFUSED))
    patience.note_missing("manifests", "c")
    assert patience.check("manifests", "d") is False
    assert patience.check("manifests", "c") is True
    for key in "ab":
        with pytest.raises(UpstreamFailed):
            patience.check("manifests", key)
    now[0] = 2.5
    assert patience.check("manifests", "a") is False
    now[0] = 31
    assert patience.check("manifests", "b") is False
    assert patience.check("manifests", "c") is False


def test_records_of_the_future_are_old(tmp_path):
    """A clock that went back makes tags be checked again."""
    now = [1000.0]
    records = Records(str(tmp_path / "r.db"), lambda: now[0])
    digest = Digest.of(b"x")
    record = records.put("a/b", "1", digest, '"e"')
    assert records.get("a/b", "1") == record
    now[0] = 1005.0
    assert records.age(record) == 5.0
    now[0] = 900.0
    assert records.age(record) == float("inf")
    records.remove("a/b", "1")
    assert records.get("a/b", "1") is None
    records.close()


def test_records_that_cannot_be_used(tmp_path, caplog):
    """Are made again, for nothing depends on them; a place for them must be there."""
    (tmp_path / "r.db").write_bytes(b"no database" * 100)
    records = Records(str(tmp_path / "r.db"), lambda: 0.0)
    records.put("a/b", "1", Digest.of(b"x"), "")
    assert records.get("a/b", "1") is not None
    records.close()
    assert "made again" in caplog.text
    with pytest.raises(InvalidConfiguration, match="records of mirrors"):
        Records(str(tmp_path / "none" / "r.db"), lambda: 0.0)
