"""The settings of the configuration file that there are many times: the arrays of tables, by their names."""

from __future__ import annotations

from collections.abc import Mapping

from .configsetting import Setting, row
from .rights import ACTIONS

_KEEP = (
    row("tags", "strings", "Patterns of the tags that the rule is about; by default all.", []),
    row("pushed_last", "integer", "How many of them stay because they were pushed last.", 0, minimum=0),
    row("pulled_last", "integer", "How many of them stay because they were pulled last.", 0, minimum=0),
    row("pushed_within", "number", "Seconds for which one of them stays after its push.", 0.0, minimum=0),
    row("pulled_within", "number", "Seconds for which one of them stays after a pull.", 0.0, minimum=0),
)

TABLES: Mapping[str, tuple[Setting, ...]] = {
    "rights": (
        row("repositories", "string", "Pattern of repositories.", required=True),
        row("allow", "strings", "Actions that are allowed.", required=True, choices=ACTIONS),
        row("users", "strings", "Users who are meant; `*` for all.", []),
        row("groups", "strings", "Groups that are meant.", []),
        row("anonymous", "boolean", "Whether callers without credentials are meant.", False),
    ),
    "webhooks": (
        row("url", "string", "Where events are posted.", required=True),
        row("events", "strings", "Kinds of events.", ["push", "delete"], choices=("push", "delete")),
        row("repositories", "string", "Pattern of the repositories that matter.", "**"),
        row("secret", "path", "File with the key of the signature that events carry."),
    ),
    "policies": (
        row("repositories", "string", "Pattern of repositories.", required=True),
        row("immutable_tags", "strings", "Patterns of tags that never change once they were pushed.", []),
        row("keep_tags", "strings", "Patterns of tags that no limit and no rule removes.", []),
        row(
            "only_tags",
            "strings",
            "Patterns of the tags that limits and rules are about; by default all.",
            [],
        ),
        row("max_tags", "integer", "How many tags a repository keeps; 0 for all.", 0, minimum=0),
        row("max_age", "number", "Seconds after its push at which a tag goes; 0 for never.", 0.0, minimum=0),
        row(
            "max_idle",
            "number",
            "Seconds after its last pull or push at which a tag goes; 0 for never.",
            0.0,
            minimum=0,
        ),
        row("keep", "tables", "Rules that keep tags; without a limit, all others go.", rows=_KEEP),
        row("ttl", "number", "Seconds after which everything goes; 0 for never.", 0.0, minimum=0),
        row("warning", "string", "A sentence that clients show to their users.", ""),
        row("quota", "integer", "Bytes of all these repositories together; 0 for any.", 0, minimum=0),
        row("sparse", "boolean", "Accept manifests whose parts are not here.", False),
    ),
    "mirror": (
        row("prefix", "string", "First segments of the names under which content is kept.", required=True),
        row("upstream", "string", "URL of the upstream; by default `https://` and the prefix."),
        row("names", "strings", "Values of `ns=` that mean it; by default the prefix.", []),
        row("default", "boolean", "Look there for names that are not here and have no prefix.", False),
        row("repositories", "strings", "Patterns of its repositories that may be had.", ["**"]),
        row("username", "string", "Who asks the upstream; by default nobody."),
        row("password_file", "path", "File of the password."),
        row("password_env", "string", "Environment variable of the password."),
        row("docker_config", "path", "A `config.json` of docker that has or finds the credentials."),
        row("ca_file", "path", "Certificates (PEM) that are trusted besides the system's."),
        row("tls_verify", "boolean", "Demand a valid certificate.", True),
        row(
            "tag_ttl",
            "number",
            "Seconds for which a tag is not asked for again.",
            300.0,
            minimum=0,
        ),
        row(
            "missing_ttl",
            "number",
            "Seconds for which something stays missing that was not there.",
            30.0,
            minimum=0,
        ),
        row(
            "stale_for",
            "number",
            "Seconds after which a tag that could not be checked is not served any more; 0 for never.",
            0.0,
            minimum=0,
        ),
        row("timeout", "number", "Seconds for which the upstream may keep silent.", 30.0),
        row("offline", "boolean", "Never ask the upstream.", False),
        row("push", "boolean", "Let clients push below the prefix.", False),
        row(
            "prefer",
            "string",
            "Whose tag counts where both have it, with `push`.",
            "local",
            choices=("local", "upstream"),
        ),
        row("quota", "integer", "Bytes that are kept; 0 for any number.", 0, minimum=0),
        row(
            "max_idle",
            "number",
            "Seconds after its last pull at which a tag goes; 0 for never.",
            0.0,
            minimum=0,
        ),
    ),
    "auth.issuers": (
        row("issuer", "string", "The claim `iss` of its tokens.", required=True),
        row("audience", "string", "What their claim `aud` must name.", required=True),
        row("jwks", "path", "Its public keys: a file or an https URL.", required=True),
        row("user_claim", "string", "The claim that names the user.", "sub"),
        row("groups_claim", "string", "The claim that lists groups.", "groups"),
        row("trust_access", "boolean", "Let the claim `access` decide in place of the rules.", False),
    ),
}
"""The arrays of tables, by their names."""
