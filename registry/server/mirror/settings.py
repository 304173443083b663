"""
The settings of one mirror: a frozen value, checked before anything starts.

Invariant: a secret is never part of the settings, only the place where it is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from oci_image.reference import is_repository_name

from ...errors import InvalidConfiguration
from ..policies import Policy
from ..rights import check_pattern, matches

HUB = "docker.io"
_HUB_HOSTS = (HUB, "index.docker.io", "registry-1.docker.io")
PREFERENCES = ("local", "upstream")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """
    One registry whose content is had here as well.

    Attributes:
        prefix: the first segments of the names under which its repositories are kept: ``docker.io``.
        upstream: its URL; a path in it comes before the names of repositories. By default ``https://`` and
            the prefix.
        names: values of ``ns=`` that mean it; by default the prefix.
        default: whether names that are not here and have no prefix are looked for there.
        repositories: patterns of its repositories that may be had.
        username: who asks; empty for nobody.
        password_file: file of the password.
        password_env: environment variable of the password.
        docker_config: a ``config.json`` of docker with its credentials or the helper that has them.
        ca_file: certificates (PEM) that are trusted for it besides the system's.
        tls_verify: whether its certificate must be valid.
        tag_ttl: seconds for which a tag is not asked for again.
        missing_ttl: seconds for which something stays missing that was not there.
        stale_for: seconds after which a tag that could not be checked is not served any more; 0 for never.
        timeout: seconds for which it may keep silent.
        offline: whether it is never asked.
        push: whether clients may push below the prefix.
        prefer: whose tag counts where both have it, with `push`: ``local`` or ``upstream``.
        quota: bytes that are kept of it; 0 for any number.
        max_idle: seconds after its last pull at which a tag is not kept any longer; 0 for ever.
    """

    prefix: str
    upstream: str = ""
    names: tuple[str, ...] = ()
    default: bool = False
    repositories: tuple[str, ...] = ("**",)
    username: str = ""
    password_file: str = ""
    password_env: str = ""
    docker_config: str = ""
    ca_file: str = ""
    tls_verify: bool = True
    tag_ttl: float = 300.0
    missing_ttl: float = 30.0
    stale_for: float = 0.0
    timeout: float = 30.0
    offline: bool = False
    push: bool = False
    prefer: str = "local"
    quota: int = 0
    max_idle: float = 0.0

    def __post_init__(self) -> None:
        where = f"the mirror {self.prefix}"
        if not is_repository_name(self.prefix):
            raise InvalidConfiguration(
                f"{self.prefix!r} cannot begin the names of repositories",
                hint="write lower-case segments, as in docker.io; a port goes into upstream and names",
            )
        parts = urlsplit(self.base)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
            raise InvalidConfiguration(f"{where}: the upstream is not an http:// or https:// URL")
        if parts.path.strip("/") and not is_repository_name(parts.path.strip("/")):
            raise InvalidConfiguration(f"{where}: the path of the upstream cannot begin names")
        for pattern in self.repositories:
            check_pattern(pattern)
        if min(self.tag_ttl, self.missing_ttl, self.stale_for, self.max_idle, self.quota) < 0:
            raise InvalidConfiguration(f"{where}: times and the quota must not be negative")
        if self.timeout <= 0:
            raise InvalidConfiguration(f"{where}: the patience with the upstream must be more than no time")
        if self.prefer not in PREFERENCES:
            raise InvalidConfiguration(f"{where}: prefer is one of {', '.join(PREFERENCES)}")
        self._check_credentials(where)

    def _check_credentials(self, where: str) -> None:
        if self.password_file and self.password_env:
            raise InvalidConfiguration(f"{where}: password_file and password_env exclude each other")
        if bool(self.username) != bool(self.password_file or self.password_env):
            raise InvalidConfiguration(
                f"{where}: a username and the place of its password belong together",
                hint="name the place by password_file or password_env",
            )
        if self.username and self.docker_config:
            raise InvalidConfiguration(f"{where}: username and docker_config exclude each other")

    @property
    def base(self) -> str:
        """The upstream's URL."""
        host = "registry-1.docker.io" if self.prefix in _HUB_HOSTS else self.prefix
        return self.upstream or f"https://{host}"

    @property
    def origin(self) -> str:
        """The upstream's URL without path."""
        parts = urlsplit(self.base)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def spaces(self) -> tuple[str, ...]:
        """The values of ``ns=`` that mean this mirror."""
        return self.names or (self.prefix,)

    @property
    def is_hub(self) -> bool:
        """Whether names of one segment mean official images, as at Docker Hub."""
        return HUB in self.spaces or (urlsplit(self.base).hostname or "") in _HUB_HOSTS

    def remote(self, name: str) -> str:
        """What the upstream calls a repository."""
        path = urlsplit(self.base).path.strip("/")
        return f"{path}/{name}" if path else name

    def allows(self, name: str) -> bool:
        """Whether a repository of the upstream may be had here."""
        return any(matches(pattern, name) for pattern in self.repositories)

    @property
    def policy(self) -> Policy | None:
        """What holds for the space that the mirror takes."""
        if not self.quota and not self.max_idle:
            return None
        return Policy(repositories=f"{self.prefix}/**", quota=self.quota, max_idle=self.max_idle)


def check_mirrors(mirrors: tuple[Mirror, ...]) -> None:
    """
    Accept several mirrors beside each other.

    Raises:
        InvalidConfiguration: two of them claim the same names.
    """
    seen: set[str] = set()
    spaces: set[str] = set()
    for mirror in mirrors:
        inside = any(f"{mirror.prefix}/".startswith(f"{other}/") for other in seen) or any(
            f"{other}/".startswith(f"{mirror.prefix}/") for other in seen
        )
        if inside or not spaces.isdisjoint(mirror.spaces):
            raise InvalidConfiguration(f"two mirrors claim {mirror.prefix}", hint="give them other prefixes")
        seen.add(mirror.prefix)
        spaces.update(mirror.spaces)
    if sum(mirror.default for mirror in mirrors) > 1:
        raise InvalidConfiguration("only one mirror can be the default")
