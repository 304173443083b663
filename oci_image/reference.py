"""
Image references, normalised as Docker does: ``app`` is ``docker.io/library/app:latest``.

Governing sources: distribution/reference grammar; OCI distribution-spec, "Pulling manifests" (name and tag).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from .digest import Digest
from .errors import InvalidDigest, InvalidReference

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
NAME_LIMIT = 255

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REPOSITORY_PATTERN = rf"{_COMPONENT}(?:/{_COMPONENT})*"
TAG_PATTERN = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_LABEL = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?"
_REPOSITORY = re.compile(REPOSITORY_PATTERN)
_TAG = re.compile(TAG_PATTERN)
_REGISTRY = re.compile(_HOST)
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")


def is_repository_name(text: str) -> bool:
    """Whether the text is a repository name of the distribution-spec (at most 255 characters)."""
    return len(text) <= NAME_LIMIT and _REPOSITORY.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether the text is a tag of the distribution-spec."""
    return _TAG.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A normalised image name: registry host, repository, and a tag, a digest or both (the digest wins)."""

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """
        Read a name as the command line takes it; no tag and no digest means ``latest``.

        Raises:
            InvalidReference: says what is wrong with the text.
        """
        name, at, digest_text = text.partition("@")
        digest: Digest | None = None
        if at:
            try:
                digest = Digest.parse(digest_text)
            except InvalidDigest as problem:
                raise InvalidReference(f"invalid reference {text!r}: {problem.message}") from problem
        if _IDENTIFIER.fullmatch(name):
            raise InvalidReference(f"invalid reference {text!r}: 64 hexadecimal digits are an image ID")
        registry, path = _split_registry(name)
        repository, colon, tag = path.partition(":")
        if colon and not is_tag(tag):
            raise InvalidReference(f"invalid reference {text!r}: invalid tag {tag!r}")
        if not repository:
            raise InvalidReference(f"invalid reference {text!r}: the repository name is empty")
        if registry == DEFAULT_REGISTRY and "/" not in repository:
            repository = "library/" + repository
        _check(text, registry, repository)
        return cls(
            registry=registry,
            repository=repository,
            tag=tag if colon else (None if digest else DEFAULT_TAG),
            digest=digest,
        )

    @property
    def familiar(self) -> str:
        """The short form that people write: ``app:1`` for ``docker.io/library/app:1``."""
        return self.familiar_name + self._suffix()

    @property
    def familiar_name(self) -> str:
        """The short form without tag and digest, as the REPOSITORY column shows it."""
        if self.registry != DEFAULT_REGISTRY:
            return f"{self.registry}/{self.repository}"
        if self.repository.count("/") == 1 and self.repository.startswith("library/"):
            return self.repository.removeprefix("library/")
        # A first part that looks like a host would be taken for one.
        is_clear = _split_registry(self.repository)[0] == DEFAULT_REGISTRY
        return self.repository if is_clear else f"{self.registry}/{self.repository}"

    @property
    def identifier(self) -> str:
        """What follows ``/manifests/`` in a request: the digest if there is one, else the tag."""
        return str(self.digest) if self.digest else (self.tag or DEFAULT_TAG)

    def with_digest(self, digest: Digest) -> Reference:
        """The same name pinned to a digest."""
        return replace(self, digest=digest)

    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return tag + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}{self._suffix()}"


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and (first == "localhost" or any(mark in first for mark in ".:[") or first != first.lower()):
        if first in ("index.docker.io", "registry-1.docker.io"):
            first = DEFAULT_REGISTRY
        return first, rest
    return DEFAULT_REGISTRY, name


def _check(text: str, registry: str, repository: str) -> None:
    if not _REGISTRY.fullmatch(registry):
        raise InvalidReference(f"invalid reference {text!r}: invalid registry host {registry!r}")
    if len(repository) > NAME_LIMIT:
        raise InvalidReference(f"invalid reference: repository name is longer than {NAME_LIMIT} characters")
    if not _REPOSITORY.fullmatch(repository):
        hint = "repository names are lower case" if repository != repository.lower() else None
        raise InvalidReference(
            f"invalid reference {text!r}: invalid repository name {repository!r}", hint=hint
        )
