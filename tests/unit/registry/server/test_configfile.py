"""Settings from files, variables and flags."""

import dataclasses
import json
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

from registry.errors import InvalidConfiguration
from registry.server.config import (
    AnonymousAuth,
    BasicAuth,
    ExternalIssuer,
    RegistryConfig,
    TlsFiles,
    TokenAuth,
    Webhook,
)
from registry.server.configfile import load, read_address
from registry.server.configschema import schema, variable
from registry.server.configsections import SECTIONS
from registry.server.configtables import TABLES
from registry.server.mirror.settings import Mirror
from registry.server.policies import KeepRule, Policy
from registry.server.rights import Rule

INNER = {
    f"{name}.{setting.key}": setting.rows
    for name, settings in TABLES.items()
    for setting in settings
    if setting.rows
}
ALL_SETTINGS = {**SECTIONS, **TABLES, **INNER}
REFERENCE = Path(__file__).resolve().parents[4] / "docs/reference/registry-config.md"
FULL = """
[server]
listen = "[::1]:6000"
read_only = true
drain_seconds = 3

[storage]
root = "data"
verify_window = 1.5

[limits]
page = 50

[tls]
certificate = "/etc/cert.pem"
key = "key.pem"

[auth]
htpasswd = "users"
lifetime = 600
token_url = "https://r.example/token"

[[auth.issuers]]
issuer = "https://ci"
audience = "r"
jwks = "keys.json"

[[auth.issuers]]
issuer = "https://other"
audience = "r"
jwks = "https://other/keys"
trust_access = true

[[webhooks]]
url = "https://hooks.example/x"
events = ["push"]
secret = "hook.key"

[groups]
team = ["ann", "bob"]

[[rights]]
repositories = "team/**"
allow = ["push", "catalog"]
groups = ["team"]

[[rights]]
repositories = "**"
allow = ["pull"]
anonymous = true

[[policies]]
repositories = "app/**"
max_age = 60

[[policies.keep]]
tags = ["v*"]

[[policies.keep]]
pushed_last = 5
pulled_within = 30

[[policies]]
repositories = "**"
quota = 5
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "registry.toml"
        path.write_text(text)
        return str(path)

    return write


def test_a_whole_file(write, tmp_path):
    """Every section arrives; relative paths start where the file is."""
    config = load(write(FULL))
    assert (config.host, config.port, config.read_only, config.drain_seconds) == ("::1", 6000, True, 3)
    assert (config.root, config.verify_window, config.page_limit) == (str(tmp_path / "data"), 1.5, 50)
    assert config.tls == TlsFiles(certificate="/etc/cert.pem", key=str(tmp_path / "key.pem"))
    assert config.auth == TokenAuth(
        htpasswd=str(tmp_path / "users"),
        anonymous_pull=False,
        lifetime=600,
        realm="https://r.example/token",
        issuers=(
            ExternalIssuer(issuer="https://ci", audience="r", jwks=str(tmp_path / "keys.json")),
            ExternalIssuer(
                issuer="https://other", audience="r", jwks="https://other/keys", trust_access=True
            ),
        ),
    )
    assert config.webhooks == (
        Webhook(url="https://hooks.example/x", events=("push",), secret=str(tmp_path / "hook.key")),
    )
    assert config.groups == {"team": ("ann", "bob")}
    assert config.rights == (
        Rule(repositories="team/**", allow=("push", "catalog"), groups=("team",)),
        Rule(repositories="**", allow=("pull",), anonymous=True),
    )
    keep = (KeepRule(tags=("v*",)), KeepRule(pushed_last=5, pulled_within=30))
    assert config.policies == (
        Policy(repositories="app/**", max_age=60, keep=keep),
        Policy(repositories="**", quota=5),
    )


def test_nothing_is_the_default(write):
    """An empty file says what no file says."""
    assert load(write("")) == load() == RegistryConfig()


def test_defaults_are_what_the_reference_says(write):
    """Writing a default down changes nothing."""
    for section, settings in SECTIONS.items():
        if section == "tls":
            continue
        base = {"auth": {"mode": "token"}}.get(section, {})
        for setting in settings:
            if setting.default is None or setting.key == "realm":
                continue
            with_default = base | {setting.key: setting.default}
            texts = [
                f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
                for values in (base, with_default)
            ]
            assert load(write(texts[0])) == load(write(texts[1])), (section, setting.key)


def test_variables_overrule_the_file_and_flags_overrule_both(write):
    """Of every kind; other variables are none of ours."""
    path = write('[server]\nlisten = "127.0.0.1:1"\ndrain_seconds = 1\n[limits]\npage = 5\n')
    environment = {
        "PYBUILD_REGISTRY_SERVER_LISTEN": "127.0.0.1:2",
        "PYBUILD_REGISTRY_SERVER_READ_ONLY": "Yes",
        "PYBUILD_REGISTRY_SERVER_DRAIN_SECONDS": "2.5",
        "PYBUILD_REGISTRY_LIMITS_PAGE": "7",
        "PYBUILD_ROOT": "/x",
        "HOME": "/y",
    }
    config = load(path, environment=environment, flags={("server", "listen"): None})
    assert (config.port, config.read_only, config.drain_seconds, config.page_limit) == (2, True, 2.5, 7)
    config = load(path, environment=environment, flags={("server", "listen"): "127.0.0.1:3"})
    assert config.port == 3


def test_where_content_goes(write):
    """The default place is for those who say nothing."""
    assert load(default_root="/d").root == "/d"
    assert load(write("[storage]\nmemory = true\n"), default_root="/d").root == ""
    assert load(write('[storage]\nroot = "/r"\n'), default_root="/d").root == "/r"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[server\n", "not TOML.*line 1", "brackets"),
        ("[sever]\n", r"no section \[sever\]", "did you mean server"),
        ("server = 3\n", "server must be a section", r"\[server\]"),
        ("[server]\nlissen = 1\n", r"\[server\]: there is no setting lissen", "did you mean listen"),
        ("[server]\nzzz = 1\n", "no setting zzz", "possible: listen, read_only"),
        ("[server]\nread_only = 1\n", r"\[server\] read_only: expected true or false, found 1", "Refuse"),
        ('[server]\nlisten = "x"\n', "expected ADDRESS:PORT", None),
        ("[limits]\npage = 0\n", r"\[limits\] page: must be at least 1", "page"),
        ("[limits]\npage = true\n", "expected a whole number", None),
        ("[limits]\npage = 1.5\n", "expected a whole number", None),
        ("[limits]\nmanifest_bytes = 5\n", "at least 4194304", None),
        ('[storage]\nroot = "x"\nmemory = true\n', "exclude each other", None),
        ('[tls]\nkey = "k"\n', r"\[tls\]: certificate is missing", "PEM"),
        (
            '[tls]\nkey = "k"\ncertificate = "c"\nclient_name = "serial"\n',
            "'serial' is not possible",
            "common_name",
        ),
        ('[auth]\nmode = "ldap"\n', "'ldap' is not possible", "token"),
        ('[auth]\nmode = "basic"\n', "mode basic needs htpasswd", None),
        (
            '[auth]\nmode = "none"\nhtpasswd = "x"\n',
            r"\[auth\] htpasswd has no meaning with mode none",
            "token",
        ),
        ('[auth]\nmode = "basic"\nhtpasswd = "x"\nlifetime = 99\n', "lifetime has no meaning", "token"),
        ("[[rights]]\nallow = []\n", r"\[\[rights\]\] number 1: repositories is missing", "Pattern"),
        ('[rights]\nallow = ["pull"]\n', "rights must be a list of tables", r"\[\[rights\]\]"),
        ('[[rights]]\nrepositories = "A"\nallow = ["pull"]\n', "'A' is not a pattern", "lower-case"),
        ('[[rights]]\nrepositories = "a"\nallow = ["pul"]\n', "number 1 allow: 'pul' is not", "mean pull"),
        (
            '[[rights]]\nrepositories = "a"\nallow = "pull"\n',
            "expected a list of strings, found 'pull'",
            None,
        ),
        ("[auth]\nissuers = [1]\n", "auth.issuers must be a list of tables", None),
        ("[auth]\nissuer = 1\n", "no setting issuer", None),
        ('[[webhooks]]\nurl = "ftp://x"\n', "not an http:// or https:// URL", None),
        ('[[webhooks]]\nurl = "http://x"\nevents = ["pull"]\n', "'pull' is not possible", None),
        ('[[policies]]\nrepositories = "a"\nkeep = 1\n', r"number 1, policies.keep must be a list", "keep"),
        (
            '[[policies]]\nrepositories = "a"\n[[policies.keep]]\n[[policies.keep]]\ntag = "x"\n',
            r"\[\[policies\]\] number 1, \[\[policies.keep\]\] number 2: there is no setting tag",
            "did you mean tags",
        ),
        (
            '[[policies]]\nrepositories = "a"\n[[policies.keep]]\npushed_last = -1\n',
            "number 1 pushed_last: must be at least 0",
            None,
        ),
        ('[log]\naccess = "xml"\n', "'xml' is not possible", "json"),
        ("groups = 1\n", "groups must be a section", None),
        ('[groups]\na = "x"\n', r"\[groups\] a: expected a list of strings", None),
        (
            '[auth]\nhtpasswd = "h"\nanonymous_pull = true\n[[rights]]\nrepositories = "a"\nallow = []\n',
            "anonymous_pull has no meaning",
            "rule",
        ),
    ],
)
def test_mistakes_are_told_precisely(write, text, message, hint):
    """The file, the key, what was expected, and what to do."""
    path = write(text)
    with pytest.raises(InvalidConfiguration, match=message) as caught:
        load(path)
    assert caught.value.message.startswith(path)
    if hint is not None:
        assert re.search(hint, caught.value.hint)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("PYBUILD_REGISTRY_SERVER_LISTN", "x", "no setting for the variable"),
        ("PYBUILD_REGISTRY_LIMITS_PAGE", "many", "PYBUILD_REGISTRY_LIMITS_PAGE: expected a whole number"),
        ("PYBUILD_REGISTRY_SERVER_READ_ONLY", "maybe", "expected true or false"),
    ],
)
def test_mistakes_in_variables(name, text, message):
    """They name the variable."""
    with pytest.raises(InvalidConfiguration, match=message):
        load(environment={name: text})


def test_missing_files_are_told(tmp_path):
    """As the operating system says it."""
    with pytest.raises(InvalidConfiguration, match="No such file"):
        load(str(tmp_path / "none.toml"))


def test_the_schema_accepts_what_we_accept(write):
    """And refuses what we refuse, as far as a schema can."""
    validator = jsonschema.Draft202012Validator(schema())
    jsonschema.Draft202012Validator.check_schema(schema())
    validator.validate(tomllib.loads(FULL))
    for wrong in ("[sever]\n", "[server]\nlissen = 1\n", "[limits]\npage = 0\n", "[[rights]]\nallow = []\n"):
        assert list(validator.iter_errors(tomllib.loads(wrong)))


def test_every_setting_is_in_the_reference():
    """With its section, its default and its variable's form."""
    text = REFERENCE.read_text()
    for section, settings in ALL_SETTINGS.items():
        part = text.partition(f"`{section}`")[2].partition("\n## ")[0]
        for setting in settings:
            assert f"| `{setting.key}` | {setting.kind} |" in part, (section, setting.key)
    assert variable("server", "listen") in text


def test_the_reference_has_nothing_else():
    """No setting that is gone."""
    known = ALL_SETTINGS
    section = ""
    for line in REFERENCE.read_text().splitlines():
        heading = re.match(r"## (?:Section|Tables) `([a-z.]+)`", line)
        if heading:
            section = heading[1]
        row = re.match(r"\| `([a-z_]+)` \|", line)
        if row:
            assert row[1] in {setting.key for setting in known[section]}, (section, row[1])


def test_every_field_of_a_table_has_a_setting():
    """Of policies, rules, webhooks, issuers, mirrors, TLS and each mode of authentication."""
    built = {
        "policies": (Policy,),
        "policies.keep": (KeepRule,),
        "rights": (Rule,),
        "webhooks": (Webhook,),
        "auth.issuers": (ExternalIssuer,),
        "mirror": (Mirror,),
        "tls": (TlsFiles,),
        "auth": (BasicAuth, TokenAuth),
    }
    assert {*TABLES, *INNER} <= set(built)
    other_words = {("auth", "issuers")}  # a table of its own
    for name, kinds in built.items():
        keys = {setting.key for setting in ALL_SETTINGS[name]}
        for kind in kinds:
            missing = {field.name for field in dataclasses.fields(kind)} - keys
            assert {(name, field) for field in missing} <= other_words, kind


def test_the_published_schema_is_this_one():
    """The file for editors, which `pybuild registry --schema` prints too, has every setting."""
    published = json.loads(REFERENCE.with_name("registry-config.schema.json").read_text())
    assert published == schema(), "write it again: pybuild registry --schema"
    places = {name: published["properties"][name]["properties"] for name in SECTIONS}
    for name in [*TABLES, *INNER]:
        parent, _, key = name.rpartition(".")
        owner = places[parent] if parent else published["properties"]
        places[name] = owner[key]["items"]["properties"]
    for name, settings in ALL_SETTINGS.items():
        for setting in settings:
            assert places[name][setting.key]["description"] == setting.text


def test_every_field_has_a_setting():
    """What a server can be told in Python, it can be told in a file."""
    direct = {setting.field for settings in SECTIONS.values() for setting in settings if setting.field}
    built = {"host", "port", "auth", "tls", "rights", "groups", "policies", "webhooks", "mirrors"}
    fields = {field.name for field in dataclasses.fields(RegistryConfig)}
    assert direct | built == fields


def test_modes_of_authentication(write):
    """What is left out follows from what is there."""
    assert load(write("")).auth == AnonymousAuth()
    basic = load(write('[auth]\nmode = "basic"\nhtpasswd = "/h"\nrealm = "Ours"\n')).auth
    assert basic == BasicAuth(htpasswd="/h", realm="Ours")
    assert load(write('[auth]\nhtpasswd = "/h"\n')).auth == TokenAuth(htpasswd="/h", anonymous_pull=False)


@pytest.mark.parametrize(
    ("text", "value"), [(":5000", ("0.0.0.0", 5000)), ("[::1]:0", ("::1", 0)), ("h:65535", ("h", 65535))]
)
def test_addresses(text, value):
    """As people write them."""
    assert read_address(text) == value
