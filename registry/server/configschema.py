"""
Every setting of the configuration file: one table, from which reading and the JSON schema follow.

Invariants: a setting has one name, ``section.key``; its kind is checked before anything is built from it.
Governing sources: TOML 1.0; JSON Schema 2020-12.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .accesslog import FORMATS
from .config import CLIENT_NAMES, MANIFEST_LIMIT
from .rights import ACTIONS

ENVIRONMENT_PREFIX = "PYBUILD_REGISTRY_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """
    One setting.

    Attributes:
        key: its name in its section.
        kind: ``string``, ``path``, ``boolean``, ``integer``, ``number`` or ``strings``.
        text: what it is for, one sentence.
        default: the value when it is absent; None where that has no value.
        field: the attribute of `RegistryConfig` that it sets, for those that set one directly.
        required: whether its section cannot do without it.
        minimum: the least number.
        choices: the only words that are accepted, of a list as well.
    """

    key: str
    kind: str
    text: str
    default: Any = None
    field: str = ""
    required: bool = False
    minimum: float | None = None
    choices: Sequence[str] = ()

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of its value."""
        value: dict[str, Any]
        if self.kind == "strings":
            item: dict[str, Any] = {"type": "string"}
            value = {"type": "array", "items": item | ({"enum": [*self.choices]} if self.choices else {})}
        else:
            value = {"type": "string" if self.kind == "path" else self.kind}
            if self.choices:
                value["enum"] = [*self.choices]
        if self.minimum is not None:
            value["minimum"] = self.minimum
        if self.default is not None:
            value["default"] = self.default
        return value | {"description": self.text}


def _row(key: str, kind: str, text: str, default: Any = None, **more: Any) -> Setting:
    return Setting(key=key, kind=kind, text=text, default=default, **more)


_SERVER = (
    _row("listen", "string", "Address and port; port 0 is any free one.", "127.0.0.1:5000"),
    _row(
        "workers",
        "integer",
        "How many processes answer; more than one need a directory.",
        1,
        minimum=1,
        field="workers",
    ),
    _row("read_only", "boolean", "Refuse pushes and deletions.", False, field="read_only"),
    _row("delete", "boolean", "Allow deletions.", True, field="delete_enabled"),
    _row("trust_proxy", "boolean", "Believe X-Forwarded headers.", False, field="trust_proxy"),
    _row(
        "header_seconds",
        "number",
        "How long a new connection may take to send its first request's headers.",
        10.0,
        field="header_seconds",
    ),
    _row(
        "stall_seconds",
        "number",
        "How long a client may send nothing of a body that it announced.",
        60.0,
        field="stall_seconds",
    ),
    _row(
        "drain_seconds",
        "number",
        "How long running requests may take to finish when the server stops.",
        10.0,
        minimum=0,
        field="drain_seconds",
    ),
)


_BUCKET = (
    _row("endpoint", "string", "URL of a service that is not the provider's own.", field="bucket_endpoint"),
    _row("region", "string", "Region of an S3 bucket.", field="bucket_region"),
    _row(
        "credentials",
        "path",
        "File with credentials: the shared ones of AWS, or a service account of Google.",
        field="bucket_credentials",
    ),
    _row("profile", "string", "Section of that file.", "default", field="bucket_profile"),
    _row(
        "refresh_seconds",
        "number",
        "Seconds between looks for what other registries changed in the bucket; 0 where there are none.",
        0.0,
        minimum=0,
        field="bucket_refresh",
    ),
    _row(
        "redirect_seconds",
        "number",
        "Send clients to the bucket for large blobs, by URLs that are valid so long; 0 for never.",
        0.0,
        minimum=0,
        field="bucket_redirect",
    ),
)


SECTIONS: Mapping[str, tuple[Setting, ...]] = {
    "server": _SERVER,
    "storage": (
        _row("root", "path", "Directory of the content, or the URL of a bucket.", field="root"),
        _row("state", "path", "Local directory of a bucket's index and uploads.", field="state"),
        _row("memory", "boolean", "Keep everything in memory instead.", False),
        _row(
            "verify_references",
            "boolean",
            "Accept only manifests whose parts are here.",
            True,
            field="verify_references",
        ),
        _row(
            "verify_reads",
            "boolean",
            "Verify the bytes of blobs while they are sent.",
            True,
            field="verify_reads",
        ),
        _row(
            "verify_window",
            "number",
            "Seconds for which a verified blob is sent without being verified again.",
            86400.0,
            minimum=0,
            field="verify_window",
        ),
        _row(
            "reserve_bytes",
            "integer",
            "Space below which the server says that it is not ready.",
            64 * 1024 * 1024,
            minimum=0,
            field="reserve_bytes",
        ),
        _row(
            "upload_idle_seconds",
            "number",
            "After how long an upload that nobody uses is discarded.",
            86400.0,
            minimum=0,
            field="upload_idle_seconds",
        ),
    ),
    "bucket": _BUCKET,
    "metrics": (
        _row("enabled", "boolean", "Show figures for Prometheus at /metrics.", False, field="metrics"),
        _row("public", "boolean", "Show them to everybody.", False, field="metrics_public"),
    ),
    "page": (
        _row("enabled", "boolean", "Show a web page at /.", True, field="page"),
        _row("title", "string", "Its title.", "Registry", field="page_title"),
        _row(
            "base_path",
            "string",
            "The path below which a proxy shows the registry, if it does not say so itself.",
            field="page_base_path",
        ),
    ),
    "log": (
        _row(
            "access", "string", "What is written about requests.", "off", field="access_log", choices=FORMATS
        ),
    ),
    "gc": (
        _row(
            "interval",
            "number",
            "Seconds between collections of garbage; 0 for none.",
            3600.0,
            minimum=0,
            field="gc_interval",
        ),
        _row(
            "grace",
            "number",
            "Seconds for which what nothing needs stays after its last use.",
            86400.0,
            minimum=0,
            field="gc_grace",
        ),
        _row(
            "undelete",
            "number",
            "Seconds for which what was collected can be brought back.",
            86400.0,
            minimum=0,
            field="gc_undelete",
        ),
    ),
    "scrub": (
        _row(
            "interval",
            "number",
            "Seconds between verifications of everything; 0 for none.",
            0.0,
            minimum=0,
            field="scrub_interval",
        ),
        _row(
            "rate",
            "number",
            "Bytes that a verification reads in a second.",
            50e6,
            minimum=1,
            field="scrub_rate",
        ),
    ),
    "limits": (
        _row(
            "manifest_bytes",
            "integer",
            "Largest accepted manifest.",
            MANIFEST_LIMIT,
            minimum=MANIFEST_LIMIT,
            field="manifest_limit",
        ),
        _row(
            "uploads",
            "integer",
            "How many uploads may be in progress.",
            10_000,
            minimum=1,
            field="max_uploads",
        ),
        _row(
            "requests_per_second",
            "number",
            "How many requests a caller may send in the long run; 0 for any number.",
            0.0,
            minimum=0,
            field="requests_per_second",
        ),
        _row("burst", "integer", "How many at once.", 200, minimum=1, field="burst"),
        _row(
            "page",
            "integer",
            "Most entries of a page of tags or repositories.",
            1000,
            minimum=1,
            field="page_limit",
        ),
    ),
    "tls": (
        _row("certificate", "path", "Certificate chain (PEM).", required=True),
        _row("key", "path", "Key of the certificate (PEM).", required=True),
        _row("client_ca", "path", "Authorities whose client certificates name callers (PEM)."),
        _row("client_required", "boolean", "Refuse connections without a client certificate.", False),
        _row(
            "client_name",
            "string",
            "Where the user's name is in a client certificate.",
            "common_name",
            choices=CLIENT_NAMES,
        ),
    ),
    "auth": (
        _row(
            "mode",
            "string",
            "How callers say who they are; by default `token` where there are users or issuers.",
            choices=("none", "basic", "token"),
        ),
        _row("htpasswd", "path", "Users and their bcrypt passwords."),
        _row("anonymous_pull", "boolean", "Let everybody pull everything; for use without rules.", False),
        _row("realm", "string", "What clients show when they ask for a password.", "registry"),
        _row("key", "path", "Signing key of tokens (PEM); by default a new one at each start."),
        _row("service", "string", "Audience of the tokens.", "registry"),
        _row("lifetime", "integer", "Seconds for which a token is valid.", 300, minimum=60),
        _row("token_url", "string", "The token endpoint as clients see it."),
    ),
}
"""The sections; `groups` is another one, whose keys are names of groups."""

TABLES: Mapping[str, tuple[Setting, ...]] = {
    "rights": (
        _row("repositories", "string", "Pattern of repositories.", required=True),
        _row("allow", "strings", "Actions that are allowed.", required=True, choices=ACTIONS),
        _row("users", "strings", "Users who are meant; `*` for all.", []),
        _row("groups", "strings", "Groups that are meant.", []),
        _row("anonymous", "boolean", "Whether callers without credentials are meant.", False),
    ),
    "webhooks": (
        _row("url", "string", "Where events are posted.", required=True),
        _row("events", "strings", "Kinds of events.", ["push", "delete"], choices=("push", "delete")),
        _row("repositories", "string", "Pattern of the repositories that matter.", "**"),
        _row("secret", "path", "File with the key of the signature that events carry."),
    ),
    "policies": (
        _row("repositories", "string", "Pattern of repositories.", required=True),
        _row("immutable_tags", "strings", "Patterns of tags that never change once they were pushed.", []),
        _row("keep_tags", "strings", "Patterns of tags that no limit below removes.", []),
        _row("max_tags", "integer", "How many tags a repository keeps; 0 for all.", 0, minimum=0),
        _row("max_age", "number", "Seconds after its push at which a tag goes; 0 for never.", 0.0, minimum=0),
        _row(
            "max_idle",
            "number",
            "Seconds after its last pull or push at which a tag goes; 0 for never.",
            0.0,
            minimum=0,
        ),
        _row("ttl", "number", "Seconds after which everything goes; 0 for never.", 0.0, minimum=0),
        _row("quota", "integer", "Bytes of all these repositories together; 0 for any.", 0, minimum=0),
    ),
    "mirror": (
        _row("prefix", "string", "First segments of the names under which content is kept.", required=True),
        _row("upstream", "string", "URL of the upstream; by default `https://` and the prefix."),
        _row("names", "strings", "Values of `ns=` that mean it; by default the prefix.", []),
        _row("default", "boolean", "Look there for names that are not here and have no prefix.", False),
        _row("repositories", "strings", "Patterns of its repositories that may be had.", ["**"]),
        _row("username", "string", "Who asks the upstream; by default nobody."),
        _row("password_file", "path", "File of the password."),
        _row("password_env", "string", "Environment variable of the password."),
        _row("docker_config", "path", "A `config.json` of docker that has or finds the credentials."),
        _row("ca_file", "path", "Certificates (PEM) that are trusted besides the system's."),
        _row("tls_verify", "boolean", "Demand a valid certificate.", True),
        _row(
            "tag_ttl",
            "number",
            "Seconds for which a tag is not asked for again.",
            300.0,
            minimum=0,
        ),
        _row(
            "missing_ttl",
            "number",
            "Seconds for which something stays missing that was not there.",
            30.0,
            minimum=0,
        ),
        _row(
            "stale_for",
            "number",
            "Seconds after which a tag that could not be checked is not served any more; 0 for never.",
            0.0,
            minimum=0,
        ),
        _row("timeout", "number", "Seconds for which the upstream may keep silent.", 30.0),
        _row("offline", "boolean", "Never ask the upstream.", False),
        _row("push", "boolean", "Let clients push below the prefix.", False),
        _row(
            "prefer",
            "string",
            "Whose tag counts where both have it, with `push`.",
            "local",
            choices=("local", "upstream"),
        ),
        _row("quota", "integer", "Bytes that are kept; 0 for any number.", 0, minimum=0),
        _row(
            "max_idle",
            "number",
            "Seconds after its last pull at which a tag goes; 0 for never.",
            0.0,
            minimum=0,
        ),
    ),
    "auth.issuers": (
        _row("issuer", "string", "The claim `iss` of its tokens.", required=True),
        _row("audience", "string", "What their claim `aud` must name.", required=True),
        _row("jwks", "path", "Its public keys: a file or an https URL.", required=True),
        _row("user_claim", "string", "The claim that names the user.", "sub"),
        _row("groups_claim", "string", "The claim that lists groups.", "groups"),
        _row("trust_access", "boolean", "Let the claim `access` decide in place of the rules.", False),
    ),
}
"""The arrays of tables, by their names."""


def variable(section: str, key: str) -> str:
    """The environment variable of a setting."""
    return f"{ENVIRONMENT_PREFIX}{section}_{key}".upper()


def schema() -> dict[str, Any]:
    """The JSON schema of the configuration file."""
    names = {"type": "array", "items": {"type": "string"}}
    properties: dict[str, Any] = {name: _object(settings) for name, settings in SECTIONS.items()}
    properties["groups"] = {
        "type": "object",
        "additionalProperties": names,
        "description": "Members of groups that rules name.",
    }
    for name, settings in TABLES.items():
        parent, dot, key = name.rpartition(".")
        place = properties[parent]["properties"] if dot else properties
        place[key] = {"type": "array", "items": _object(settings)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of pybuild registry",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _object(settings: tuple[Setting, ...]) -> dict[str, Any]:
    value: dict[str, Any] = {
        "type": "object",
        "properties": {setting.key: setting.schema for setting in settings},
        "additionalProperties": False,
    }
    required = [setting.key for setting in settings if setting.required]
    return value | ({"required": required} if required else {})
