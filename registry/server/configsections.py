"""The settings of the configuration file that there are once, by section."""

from __future__ import annotations

from collections.abc import Mapping

from .config import CLIENT_NAMES, LOG_FORMATS, MANIFEST_LIMIT
from .configsetting import Setting, row

_SERVER = (
    row("listen", "string", "Address and port; port 0 is any free one.", "127.0.0.1:5000"),
    row("read_only", "boolean", "Refuse pushes and deletions.", False, field="read_only"),
    row("delete", "boolean", "Allow deletions.", True, field="delete_enabled"),
    row("trust_proxy", "boolean", "Believe X-Forwarded headers.", False, field="trust_proxy"),
    row(
        "header_seconds",
        "number",
        "How long a new connection may take to send its first request's headers.",
        10.0,
        field="header_seconds",
    ),
    row(
        "stall_seconds",
        "number",
        "How long a client may send nothing of a body that it announced.",
        60.0,
        field="stall_seconds",
    ),
    row(
        "drain_seconds",
        "number",
        "How long running requests may take to finish when the server stops.",
        10.0,
        minimum=0,
        field="drain_seconds",
    ),
    row(
        "workers",
        "integer",
        "How many processes answer; more than one need a directory.",
        1,
        minimum=1,
        field="workers",
    ),
)


_BUCKET = (
    row("endpoint", "string", "URL of a service that is not the provider's own.", field="bucket_endpoint"),
    row("region", "string", "Region of an S3 bucket.", field="bucket_region"),
    row(
        "credentials",
        "path",
        "File with credentials: the shared ones of AWS, or a service account of Google.",
        field="bucket_credentials",
    ),
    row("profile", "string", "Section of that file.", "default", field="bucket_profile"),
    row(
        "refresh_seconds",
        "number",
        "Seconds between looks for what other registries changed in the bucket; 0 where there are none.",
        0.0,
        minimum=0,
        field="bucket_refresh",
    ),
    row(
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
        row("root", "path", "Directory of the content, or the URL of a bucket.", field="root"),
        row("state", "path", "Local directory of a bucket's index and uploads.", field="state"),
        row("memory", "boolean", "Keep everything in memory instead.", False),
        row(
            "verify_references",
            "boolean",
            "Accept only manifests whose parts are here.",
            True,
            field="verify_references",
        ),
        row(
            "verify_reads",
            "boolean",
            "Verify the bytes of blobs while they are sent.",
            True,
            field="verify_reads",
        ),
        row(
            "verify_window",
            "number",
            "Seconds for which a verified blob is sent without being verified again.",
            86400.0,
            minimum=0,
            field="verify_window",
        ),
        row(
            "reserve_bytes",
            "integer",
            "Space below which the server says that it is not ready.",
            64 * 1024 * 1024,
            minimum=0,
            field="reserve_bytes",
        ),
        row(
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
        row("enabled", "boolean", "Show figures for Prometheus at /metrics.", False, field="metrics"),
        row("public", "boolean", "Show them to everybody.", False, field="metrics_public"),
    ),
    "traces": (
        row("enabled", "boolean", "Trace requests with OpenTelemetry.", False, field="traces"),
        row(
            "endpoint",
            "string",
            "Where spans are posted (OTLP over HTTP); by default what OTEL_* variables say.",
            field="traces_endpoint",
        ),
    ),
    "page": (
        row("enabled", "boolean", "Show a web page at /.", True, field="page"),
        row("title", "string", "Its title.", "Registry", field="page_title"),
        row(
            "base_path",
            "string",
            "The path below which a proxy shows the registry, if it does not say so itself.",
            field="page_base_path",
        ),
    ),
    "log": (
        row(
            "access",
            "string",
            "What is written about requests.",
            "off",
            field="access_log",
            choices=LOG_FORMATS,
        ),
    ),
    "gc": (
        row(
            "interval",
            "number",
            "Seconds between collections of garbage; 0 for none.",
            3600.0,
            minimum=0,
            field="gc_interval",
        ),
        row(
            "grace",
            "number",
            "Seconds for which what nothing needs stays after its last use.",
            86400.0,
            minimum=0,
            field="gc_grace",
        ),
        row(
            "undelete",
            "number",
            "Seconds for which what was collected can be brought back.",
            86400.0,
            minimum=0,
            field="gc_undelete",
        ),
    ),
    "scrub": (
        row(
            "interval",
            "number",
            "Seconds between verifications of everything; 0 for none.",
            0.0,
            minimum=0,
            field="scrub_interval",
        ),
        row(
            "rate",
            "number",
            "Bytes that a verification reads in a second.",
            50e6,
            minimum=1,
            field="scrub_rate",
        ),
    ),
    "limits": (
        row(
            "manifest_bytes",
            "integer",
            "Largest accepted manifest.",
            MANIFEST_LIMIT,
            minimum=MANIFEST_LIMIT,
            field="manifest_limit",
        ),
        row(
            "uploads",
            "integer",
            "How many uploads may be in progress.",
            10_000,
            minimum=1,
            field="max_uploads",
        ),
        row(
            "uploads_per_caller",
            "integer",
            "How many of them one user may have, or one address without a user.",
            1000,
            minimum=1,
            field="max_uploads_per_caller",
        ),
        row(
            "requests_per_second",
            "number",
            "How many requests a caller may send in the long run; 0 for any number.",
            0.0,
            minimum=0,
            field="requests_per_second",
        ),
        row("burst", "integer", "How many at once.", 200, minimum=1, field="burst"),
        row(
            "page",
            "integer",
            "Most entries of a page of tags or repositories.",
            1000,
            minimum=1,
            field="page_limit",
        ),
    ),
    "tls": (
        row("certificate", "path", "Certificate chain (PEM).", required=True),
        row("key", "path", "Key of the certificate (PEM).", required=True),
        row("client_ca", "path", "Authorities whose client certificates name callers (PEM)."),
        row("client_required", "boolean", "Refuse connections without a client certificate.", False),
        row(
            "client_name",
            "string",
            "Where the user's name is in a client certificate.",
            "common_name",
            choices=CLIENT_NAMES,
        ),
        row(
            "self_signed",
            "boolean",
            "Make certificate and key where they are not there; for development.",
            False,
        ),
    ),
    "auth": (
        row(
            "mode",
            "string",
            "How callers say who they are; by default `token` where there are users or issuers.",
            choices=("none", "basic", "token"),
        ),
        row("htpasswd", "path", "Users and their bcrypt passwords."),
        row("anonymous_pull", "boolean", "Let everybody pull everything; for use without rules.", False),
        row("realm", "string", "What clients show when they ask for a password.", "registry"),
        row("key", "path", "Signing key of tokens (PEM); by default a new one at each start."),
        row("service", "string", "Audience of the tokens.", "registry"),
        row("lifetime", "integer", "Seconds for which a token is valid.", 300, minimum=60),
        row(
            "refresh_lifetime",
            "integer",
            "Seconds for which clients need no password after a login, with `key`; 0 for none.",
            0,
            minimum=0,
        ),
        row("token_url", "string", "The token endpoint as clients see it."),
    ),
}
"""The sections; `groups` is another one, whose keys are names of groups."""
