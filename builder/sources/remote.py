"""
Which words of a Dockerfile or of the command line name something on the network, and what exactly.

Values without I/O. What is shown of an address never has its credentials. Governing text: "Adding files from
a Git repository" in the Dockerfile reference, "URL fragments" and "URL queries" of build contexts in Docker's
manual; what those leave open is as BuildKit has it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..errors import InvalidOption

_SCP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*@[A-Za-z0-9.-]+:(?!//)(?P<path>[^?#]*)")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_GIT_PATH = re.compile(r"\.git\Z")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_CHECKSUM = re.compile(r"[0-9a-f]{7,64}")
_QUERY = ("ref", "tag", "branch", "subdir", "checksum", "commit", "keep-git-dir", "submodules")
_SCHEMES = ("http", "https", "git", "ssh")


@dataclass(frozen=True, slots=True, kw_only=True)
class GitSource:
    """
    A directory of a git repository at some commit.

    `url` is what git is given; `ref` a branch, a tag or a commit, "" for the default branch; `checksum` the
    beginning of the commit that it must be.
    """

    url: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    keep_git_dir: bool | None = None
    submodules: bool = True

    @property
    def shown(self) -> str:
        """The address for people, without credentials."""
        fragment = f"#{self.ref}{f':{self.subdir}' if self.subdir else ''}" if self.ref or self.subdir else ""
        return without_credentials(self.url) + fragment

    @property
    def is_commit(self) -> bool:
        """Whether `ref` is the full name of a commit, which always means the same."""
        return _COMMIT.fullmatch(self.ref) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlSource:
    """A file behind an HTTP or HTTPS URL; `checksum` is the digest that it must have, if any."""

    url: str
    checksum: str = ""

    @property
    def shown(self) -> str:
        """The URL for people, without credentials."""
        return without_credentials(self.url)


def is_url(text: str) -> bool:
    """Whether a source is a file behind a URL, unless it is a git repository."""
    return text.lower().startswith(("http://", "https://"))


def without_credentials(url: str) -> str:
    """A URL without user and password."""
    if "://" not in url:
        return url
    from urllib.parse import urlsplit, urlunsplit

    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    name = parts.netloc.rpartition("@")[0]
    if name and parts.scheme == "ssh" and ":" not in name:
        host = parts.netloc  # the user of an ssh address is a part of it, and no secret
    return urlunsplit((parts.scheme, host, parts.path, parts.query, parts.fragment))


def parse_git(text: str, *, context: bool = False) -> GitSource | None:
    """
    What a word names if it is a git repository, else None.

    Args:
        text: a source of ADD, or a build context.
        context: a build context, for which ``github.com/…`` is one, too.

    Raises:
        InvalidOption: it is one, but its fragment or query makes no sense; or it is no valid URL at all.
    """
    match = _SCP.match(text)
    if (match is not None or "://" in text) and _UNPRINTABLE.search(text):
        raise InvalidOption(f"invalid address {_shown(text)!r}: it has a character that no address has")
    if context and text.startswith("github.com/"):
        text = f"https://{text}"
        url, _, fragment = text.partition("#")
        return _with_fragment(GitSource(url=url), fragment)
    if match is not None:
        rest, _, fragment = text.partition("#")
        url, mark, query = rest.partition("?")
        return _source(url, query if mark else "", fragment)
    if "://" not in text:
        return None
    from urllib.parse import urlsplit, urlunsplit

    try:
        parts = urlsplit(text)
    except ValueError as problem:
        if not is_url(text):
            return None
        raise InvalidOption(f"invalid address {_shown(text)!r}: {problem}") from problem
    if parts.scheme not in _SCHEMES or not parts.netloc:
        return None
    if parts.scheme in ("http", "https") and not _GIT_PATH.search(parts.path):
        return None
    return _source(urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")), parts.query, parts.fragment)


def _shown(text: str) -> str:
    """What is no URL, without what may be credentials."""
    scheme, separator, rest = text.partition("://")
    return scheme + separator + rest.rpartition("@")[2] if separator else text


def _source(url: str, query: str, fragment: str) -> GitSource:
    from urllib.parse import unquote

    source = _with_fragment(GitSource(url=url), unquote(fragment))
    return _with_query(source, query) if query else source


def _with_fragment(source: GitSource, fragment: str) -> GitSource:
    ref, _, subdir = fragment.partition(":")
    return replace(source, ref=_checked_ref(ref), subdir=_checked_subdir(subdir))


def _with_query(source: GitSource, query: str) -> GitSource:
    values = _query_values(source, query)
    source = _with_ref(source, values)
    subdir = _checked_subdir(values.get("subdir", source.subdir))
    if source.subdir not in ("", subdir):
        raise InvalidOption(f"git source {source.shown}: the directory is given twice")
    checksum = values.get("checksum") or values.get("commit") or ""
    return replace(
        source,
        subdir=subdir,
        # The commit alone says enough.
        ref=source.ref or checksum,
        checksum=checked_commit(checksum) if checksum else "",
        keep_git_dir=_switch(source, values, "keep-git-dir"),
        submodules=_switch(source, values, "submodules") is not False,
    )


def _query_values(source: GitSource, query: str) -> dict[str, str]:
    from urllib.parse import parse_qsl

    values: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in _QUERY:
            raise InvalidOption(f"git source {source.shown}: unexpected query {key!r}")
        if key in values:
            raise InvalidOption(f"git source {source.shown}: query {key!r} has multiple values")
        if not value and key not in ("keep-git-dir", "submodules"):
            raise InvalidOption(f"git source {source.shown}: query {key!r} has no value")
        values[key] = value
    if "checksum" in values and values.get("commit", values["checksum"]) != values["checksum"]:
        raise InvalidOption(f"git source {source.shown}: checksum and commit contradict each other")
    return values


def _with_ref(source: GitSource, values: Mapping[str, str]) -> GitSource:
    refs = {source.ref} - {""}
    for key, prefix in (("ref", ""), ("tag", "refs/tags/"), ("branch", "refs/heads/")):
        if key in values:
            refs.add(prefix + values[key].removeprefix(prefix))
    if len(refs) > 1:
        raise InvalidOption(f"git source {source.shown}: conflicting refs {', '.join(sorted(refs))}")
    return replace(source, ref=_checked_ref(refs.pop())) if refs else source


def _switch(source: GitSource, values: Mapping[str, str], key: str) -> bool | None:
    if key not in values:
        return None
    text = values[key].lower()
    if text in ("", "1", "t", "true"):
        return True
    if text in ("0", "f", "false"):
        return False
    raise InvalidOption(f"git source {source.shown}: {key}={values[key]} is neither true nor false")


def checked_commit(text: str) -> str:
    """
    The beginning of a commit's name.

    Raises:
        InvalidOption: it is none.
    """
    lowered = text.lower()
    if _CHECKSUM.fullmatch(lowered) is None:
        raise InvalidOption(
            f"invalid checksum {text!r} of a git source", hint="at least the first 7 digits of the commit"
        )
    return lowered


def _checked_ref(ref: str) -> str:
    # A name that begins with a dash would be an option of git; the rest is what git itself refuses.
    if ref.startswith("-") or re.search(r"[\s~^:?*\[\\\x00-\x1f\x7f]|\.\.|@\{", ref):
        raise InvalidOption(f"invalid git ref {ref!r}")
    return ref


def _checked_subdir(subdir: str) -> str:
    cleaned = posixpath.normpath(f"/{subdir}").lstrip("/")
    if any(part.lower() == ".git" for part in cleaned.split("/")):
        raise InvalidOption(f"invalid directory {subdir!r} of a git source")
    return cleaned
