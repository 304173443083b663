"""The settings of a registry server: frozen values, complete and checked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import InvalidConfiguration
from .forwarded import is_base_path
from .mirror.settings import Mirror, check_mirrors
from .policies import Policy, policy_of
from .rights import Rule, check_pattern

MANIFEST_LIMIT = 4 * 1024 * 1024
LOG_FORMATS = ("off", "text", "json")
CLIENT_NAMES = ("common_name", "email", "dns", "uri")


@dataclass(frozen=True, slots=True)
class AnonymousAuth:
    """Everybody may do everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicAuth:
    """
    User names and passwords of an htpasswd file (bcrypt entries) with every request.

    Attributes:
        htpasswd: the file; it is read again when it changes.
        realm: what clients show when they ask for a password.
    """

    htpasswd: str
    realm: str = "registry"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalIssuer:
    """
    Somebody else whose signed tokens (JWT) say who a caller is.

    Attributes:
        issuer: the claim ``iss`` of its tokens.
        audience: what their claim ``aud`` must name.
        jwks: its public keys: a file, which is read again when it changes, or an https URL.
        user_claim: the claim that names the user.
        groups_claim: the claim that lists groups; it may be absent.
        trust_access: whether the claim ``access`` decides what a token allows, in place of the rules.
    """

    issuer: str
    audience: str
    jwks: str
    user_claim: str = "sub"
    groups_claim: str = "groups"
    trust_access: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAuth:
    """
    Bearer tokens from the server's own ``/token`` endpoint.

    Clients fetch an anonymous token when they have no credentials, which is what makes anonymous pulls beside
    authenticated pushes work with every client.

    Attributes:
        htpasswd: the file of the users who may push (and pull); empty for none.
        anonymous_pull: whether a token for pulling is issued without credentials.
        key: PEM file of the signing key (P-256 or Ed25519); empty for a new key at each start.
        service: the audience of the tokens.
        lifetime: seconds for which a token is valid, at least 60.
        refresh_lifetime: seconds for which clients need no password after a login; 0 for no refresh tokens.
        realm: the URL of the token endpoint as clients see it; empty to derive it from each request.
        issuers: others whose tokens are accepted, also as passwords.
    """

    htpasswd: str = ""
    anonymous_pull: bool = True
    key: str = ""
    service: str = "registry"
    lifetime: int = 300
    refresh_lifetime: int = 0
    realm: str = ""
    issuers: tuple[ExternalIssuer, ...] = ()

    def __post_init__(self) -> None:
        if self.lifetime < 60:
            raise InvalidConfiguration(
                "the lifetime of tokens must be at least 60 seconds",
                hint="clients assume that a token lasts a minute",
            )
        if self.refresh_lifetime and not (self.key and self.htpasswd):
            raise InvalidConfiguration(
                "refresh tokens need a signing key that outlives the server, and users with passwords",
                hint="name the files as key and htpasswd",
            )


Auth = AnonymousAuth | BasicAuth | TokenAuth


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """
    The PEM files of a certificate chain and its key; they are read again when they change.

    Attributes:
        certificate: the chain, the server's own certificate first.
        key: the key, which is not encrypted.
        client_ca: authorities whose client certificates say who a caller is; empty for none.
        client_required: whether connections without such a certificate are refused.
        client_name: where the user's name is: ``common_name``, ``email``, ``dns`` or ``uri``.
        self_signed: whether the certificate and its key are made where they are not there; for development.
    """

    certificate: str
    key: str
    client_ca: str = ""
    client_required: bool = False
    client_name: str = "common_name"
    self_signed: bool = False

    def __post_init__(self) -> None:
        if self.client_name not in CLIENT_NAMES:
            raise InvalidConfiguration(
                f"{self.client_name!r} is not a place for the user's name in a certificate",
                hint=f"choose one of {', '.join(CLIENT_NAMES)}",
            )
        if self.client_required and not self.client_ca:
            raise InvalidConfiguration("to require client certificates, name the authorities (client_ca)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """
    Somebody who is told of changes.

    Attributes:
        url: where events are posted.
        events: kinds of events: ``push``, ``delete``.
        repositories: pattern of the repositories that matter.
        secret: file with the key of the signature that events carry; empty for none.
    """

    url: str
    events: tuple[str, ...] = ("push", "delete")
    repositories: str = "**"
    secret: str = ""

    def __post_init__(self) -> None:
        check_pattern(self.repositories)
        if not self.url.startswith(("http://", "https://")):
            raise InvalidConfiguration(f"{self.url!r} is not an http:// or https:// URL")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryConfig:
    """
    The settings of a registry server.

    Attributes:
        host: address to listen on.
        port: port to listen on; 0 for any free one.
        root: directory of the content; empty to keep it in memory.
        workers: how many processes answer; more than one need a root.
        read_only: whether pushes and deletions are refused.
        delete_enabled: whether manifests, tags and blobs may be deleted.
        auth: how callers say who they are.
        rights: who may do what; without rules, users may do everything, and others what `auth` says.
        groups: members of the groups that rules name.
        tls: certificate and key; None for plain HTTP.
        page: whether a web page is shown at ``/``.
        page_title: its title.
        page_base_path: the path below which a proxy shows the registry, if it does not say so itself.
        trust_proxy: whether the X-Forwarded headers of a reverse proxy are believed.
        access_log: ``off``, ``text`` or ``json``; whoever starts the server listens to the logger.
        metrics: whether figures for Prometheus are shown at ``/metrics``.
        metrics_public: whether everybody may see them, not only administrators.
        traces: whether requests are traced with OpenTelemetry.
        traces_endpoint: where spans are posted (OTLP over HTTP); empty for what OTEL_* variables say.
        requests_per_second: how many requests a caller may send in the long run; 0 for any number.
        burst: how many requests a caller may send at once.
        state: local directory of a bucket's index and uploads; empty for one that goes with the server.
        bucket_endpoint: URL of the service of a bucket that is not its provider's own.
        bucket_region: region of a bucket.
        bucket_credentials: file with credentials; empty to look where the tools of the provider do.
        bucket_profile: the section of that file.
        bucket_refresh: seconds between looks for what other registries changed in the bucket; 0 for none.
        bucket_redirect: seconds for which clients are sent to the bucket for large blobs; 0 for never.
        reserve_bytes: space below which the server says that it is not ready.
        webhooks: who is told of changes.
        manifest_limit: largest accepted manifest in bytes.
        verify_references: whether manifests must only refer to content that the repository has.
        verify_reads: whether the bytes of a blob are verified when they are sent.
        verify_window: seconds for which a verified blob is sent without being verified again.
        upload_idle_seconds: after how long an upload that nobody uses is discarded.
        max_uploads: how many uploads may be in progress.
        max_uploads_per_caller: how many of them a user, or an address without a user, may have.
        page_limit: most entries of a page of tags or repositories, and the default.
        header_seconds: how long a new connection may take to send its first request's headers.
        stall_seconds: how long a client may send nothing of a body that it announced.
        gc_interval: seconds between collections of garbage; 0 for none.
        gc_grace: seconds for which what nothing needs stays after its last use.
        gc_undelete: seconds for which what was collected can be brought back.
        scrub_interval: seconds between verifications of everything; 0 for none.
        scrub_rate: bytes that these read in a second.
        policies: immutable tags, retention and quotas by repository.
        mirrors: other registries whose content is had here as well.
        drain_seconds: how long running requests may take to finish when the server stops.
    """

    host: str = "127.0.0.1"
    port: int = 5000
    root: str = ""
    workers: int = 1
    read_only: bool = False
    delete_enabled: bool = True
    auth: Auth = field(default_factory=AnonymousAuth)
    rights: tuple[Rule, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    tls: TlsFiles | None = None
    page: bool = True
    page_title: str = "Registry"
    page_base_path: str = ""
    trust_proxy: bool = False
    access_log: str = "off"
    metrics: bool = False
    metrics_public: bool = False
    traces: bool = False
    traces_endpoint: str = ""
    requests_per_second: float = 0.0
    burst: int = 200
    state: str = ""
    bucket_endpoint: str = ""
    bucket_region: str = ""
    bucket_credentials: str = ""
    bucket_profile: str = "default"
    bucket_refresh: float = 0.0
    bucket_redirect: float = 0.0
    reserve_bytes: int = 64 * 1024 * 1024
    webhooks: tuple[Webhook, ...] = ()
    manifest_limit: int = MANIFEST_LIMIT
    verify_references: bool = True
    verify_reads: bool = True
    verify_window: float = 24 * 3600.0
    upload_idle_seconds: float = 24 * 3600.0
    max_uploads: int = 10_000
    max_uploads_per_caller: int = 1000
    page_limit: int = 1000
    header_seconds: float = 10.0
    stall_seconds: float = 60.0
    gc_interval: float = 3600.0
    gc_grace: float = 24 * 3600.0
    gc_undelete: float = 24 * 3600.0
    scrub_interval: float = 0.0
    scrub_rate: float = 50e6
    policies: tuple[Policy, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    drain_seconds: float = 10.0

    @property
    def is_bucket(self) -> bool:
        """Whether content is kept in a bucket."""
        return "://" in self.root

    @property
    def directory(self) -> str:
        """The local directory of what the server writes down; empty where it keeps nothing."""
        return self.state if self.is_bucket else self.root

    def is_sparse(self, repository: str) -> bool:
        """Whether manifests of the repository may refer to what is not there."""
        policy = policy_of(self.policies, repository)
        return not self.verify_references or (policy is not None and policy.sparse)

    def __post_init__(self) -> None:
        check_mirrors(self.mirrors)
        if not 0 <= self.port <= 65535:
            raise InvalidConfiguration(f"invalid port {self.port}")
        if self.workers < 1:
            raise InvalidConfiguration("a server has at least one worker")
        if self.manifest_limit < MANIFEST_LIMIT:
            raise InvalidConfiguration("the limit for manifests must be at least 4 MiB")
        if min(self.page_limit, self.max_uploads, self.max_uploads_per_caller) < 1:
            raise InvalidConfiguration("the limits for pages and uploads must be at least 1")
        if not is_base_path(self.page_base_path):
            raise InvalidConfiguration(
                f"{self.page_base_path!r} is not a base path", hint="write it as in /registry"
            )
        if self.root == "memory:":
            object.__setattr__(self, "root", "")
        if self.workers > 1 and self.is_bucket:
            raise InvalidConfiguration(
                "several workers need a directory",
                hint="start several registries with bucket refresh_seconds instead",
            )
        if min(self.bucket_refresh, self.bucket_redirect) < 0:
            raise InvalidConfiguration("the periods of a bucket must not be negative")
        if self.burst < 1 or min(self.requests_per_second, self.reserve_bytes) < 0:
            raise InvalidConfiguration("limits of requests and the reserve must not be negative")
        if min(self.upload_idle_seconds, self.verify_window, self.drain_seconds) < 0:
            raise InvalidConfiguration("periods of time must not be negative")
        if min(self.gc_interval, self.gc_grace, self.gc_undelete, self.scrub_interval) < 0:
            raise InvalidConfiguration("the times of collections and scrubs must not be negative")
        if self.scrub_rate <= 0:
            raise InvalidConfiguration("a scrub reads more than no bytes in a second")
        if min(self.header_seconds, self.stall_seconds) <= 0:
            raise InvalidConfiguration("the patience with clients must be more than no time")
        if isinstance(self.auth, BasicAuth) and any(rule.anonymous for rule in self.rights):
            raise InvalidConfiguration(
                "rights for anonymous callers need authentication by tokens",
                hint="with passwords in every request, clients cannot tell which requests need none",
            )
