"""
Git repositories: one commit's files in a directory, by the git program.

Repositories are kept, bare and as shallow as possible, under ``state/git``, so that the next build asks for
what is new only. Credentials of a URL, or of the secrets GIT_AUTH_HEADER and GIT_AUTH_TOKEN, reach git by its
environment: they are in no argument list, no configuration and no message. Nothing of the user's git
configuration changes what is checked out.
Governing text: git(1), gitprotocol-v2(5); what is chosen of a repository is as BuildKit does it.
"""

from __future__ import annotations

import base64
import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

from oci_image.digest import Digest
from oci_image.layer.remove import remove_tree

from ..errors import BuildError
from .options import NetworkOptions
from .remote import GitSource

_POLL = 0.1
_FULL = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_MAYBE_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_PROTOCOLS = "http:https:git:ssh"


@dataclass(frozen=True, slots=True)
class Commit:
    """The full name of a commit, and when it was made in Unix seconds."""

    name: str
    time: int


def check_out(
    source: GitSource,
    directory: str,
    state: str,
    *,
    keep_git_dir: bool,
    network: NetworkOptions,
    checkpoint: Callable[[], None],
) -> Commit:
    """
    Check out into a directory that does not exist yet; returns which commit it was.

    Raises:
        BuildError: there is no git, no such repository, ref or directory, or another commit than asked for.
    """
    git = _Git(source, network, checkpoint)
    repository = os.path.join(state, "git", Digest.of(source.url.encode()).hex[:32])
    with _locked(f"{repository}.lock", checkpoint):
        commit = _fetch(git, source, repository)
        if source.checksum and not commit.startswith(source.checksum):
            raise BuildError(
                f"{source.shown}: expected the commit to be {source.checksum}, it is {commit}",
            )
        _check_out(git, source, repository, directory, commit)
        seconds = git(repository, "show", "-s", "--format=%ct", commit).strip()
    if keep_git_dir:
        _tidy(git, directory)
    else:
        for folder, folders, files in os.walk(directory):
            if ".git" in folders:
                folders.remove(".git")
                remove_tree(os.path.join(folder, ".git"))
            elif ".git" in files and os.path.isfile(os.path.join(folder, ".git")):
                os.unlink(os.path.join(folder, ".git"))
    return Commit(name=commit, time=int(seconds))


def inside(directory: str, source: GitSource) -> str:
    """
    The directory of a checkout that a source is about.

    Raises:
        BuildError: it is not there, or a link leads out of the repository.
    """
    root = os.path.realpath(directory)
    wanted = os.path.realpath(os.path.join(root, source.subdir))
    if wanted != root and not wanted.startswith(f"{root}/"):
        raise BuildError(f"{source.shown}: {source.subdir} leads out of the repository")
    if not os.path.isdir(wanted):
        raise BuildError(f"{source.shown}: the repository has no directory {source.subdir}")
    return wanted


class _Git:
    """Runs git for one repository."""

    def __init__(self, source: GitSource, network: NetworkOptions, checkpoint: Callable[[], None]) -> None:
        environment = network.environment
        program = shutil.which("git", path=environment.get("PATH"))
        if program is None:
            raise BuildError(
                f"{source.shown} needs git, which is not installed", hint="install git, or clone it yourself"
            )
        self._program = program
        self._shown = source.shown
        self._checkpoint = checkpoint
        self.url, authorization = _split(source.url)
        authorization = authorization or _authorization(self.url, network.secrets)
        self._environment = {
            **{name: value for name, value in environment.items() if not name.startswith("GIT_")},
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": environment.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
            "LC_ALL": "C",
        }
        if authorization:
            self._environment |= {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"http.{_scope(self.url)}.extraHeader",
                "GIT_CONFIG_VALUE_0": f"Authorization: {authorization}",
            }

    def __call__(self, directory: str, *arguments: str, protocols: str = _PROTOCOLS) -> str:
        """
        Run a command of git.

        Raises:
            BuildError: it fails; the message has what git said of the cause.
        """
        process = subprocess.Popen(
            [self._program, "-C", directory, *arguments],
            env={**self._environment, "GIT_ALLOW_PROTOCOL": protocols},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            umask=0o022,
        )
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    out, err = process.communicate(timeout=_POLL)
                    break
                self._checkpoint()
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
        if process.returncode:
            raise BuildError(f"cannot fetch {self._shown}: {_cause(err.decode('utf-8', 'replace'))}")
        return out.decode("utf-8", "surrogateescape")


def _cause(said: str) -> str:
    """The one line of git's that says most: its own, or that of the ssh program which it started."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    number, line = next(
        ((n, line) for n, line in enumerate(lines) if line.startswith(("fatal:", "error:"))),
        (len(lines) - 1, lines[-1] if lines else "git failed"),
    )
    if line.endswith("Could not read from remote repository.") and number:
        return lines[number - 1]
    if line.endswith(":") and number + 1 < len(lines):
        line = f"{line} {lines[number + 1]}"
    return line.removeprefix("fatal: ")


def _authorization(url: str, secrets: Mapping[str, bytes]) -> str:
    """The header that secrets of the build have for a repository, those for its host alone first."""
    parts = urlsplit(url) if "://" in url else None
    if parts is None or parts.scheme not in ("http", "https"):
        return ""
    for suffix in (f".{parts.netloc}", ""):
        if header := secrets.get(f"GIT_AUTH_HEADER{suffix}", b"").strip():
            return header.decode("utf-8", "surrogateescape")
        if token := secrets.get(f"GIT_AUTH_TOKEN{suffix}", b"").strip():
            return "Basic " + base64.b64encode(b"x-access-token:" + token).decode()
    return ""


def _scope(url: str) -> str:
    """Where credentials are sent to: the repository, and at github.com the submodules that lie there, too."""
    for prefix in ("https://github.com/", "https://www.github.com/"):
        if url.startswith(prefix):
            return prefix
    return url


def _split(url: str) -> tuple[str, str]:
    """The URL without credentials, and those of HTTP as a header has them."""
    parts = urlsplit(url) if "://" in url else None
    if parts is None or parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return url, ""
    user, _, host = parts.netloc.rpartition("@")
    user = unquote(user) if ":" in user else f"{unquote(user)}:"
    basic = base64.b64encode(user.encode()).decode()
    return urlunsplit((parts.scheme, host, parts.path, "", "")), f"Basic {basic}"


@contextmanager
def _locked(path: str, checkpoint: Callable[[], None]) -> Iterator[None]:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="ascii") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                checkpoint()
                time.sleep(_POLL)
        yield


def _fetch(git: _Git, source: GitSource, repository: str) -> str:
    """Let the repository have the commit; returns its name."""
    if not os.path.exists(os.path.join(repository, "HEAD")):
        os.makedirs(repository, exist_ok=True)
        git(repository, "init", "-q", "--bare")
        git(repository, "config", "uploadpack.allowAnySHA1InWant", "true")
    if source.is_commit and _has(git, repository, source.ref):
        return source.ref
    ref = _named(git, source, repository)
    if ref is None and _MAYBE_COMMIT.fullmatch(source.ref) is None:
        raise BuildError(f"{source.shown}: the repository has no ref {source.ref or 'HEAD'}")
    if ref is not None or source.is_commit:
        try:
            newest = ("-q", "--force", "--no-tags", "--depth=1", "--")
            git(repository, "fetch", *newest, git.url, ref or source.ref)
        except BuildError:
            # Some servers give no part of a history, or no commit that is not a ref.
            _fetch_everything(git, repository)
            if ref is not None:
                git(repository, "fetch", "-q", "--force", "--no-tags", "--", git.url, ref)
        name = source.ref if ref is None else "FETCH_HEAD"
    else:
        _fetch_everything(git, repository)
        name = source.ref
    return git(repository, "rev-parse", "--verify", "-q", f"{name}^{{commit}}").strip()


def _fetch_everything(git: _Git, repository: str) -> None:
    shallow = ["--unshallow"] if os.path.exists(os.path.join(repository, "shallow")) else []
    git(repository, "fetch", "-q", "--force", *shallow, "--", git.url, "+refs/*:refs/remote/*")


def _has(git: _Git, repository: str, commit: str) -> bool:
    try:
        git(repository, "cat-file", "-e", f"{commit}^{{commit}}")
    except BuildError:
        return False
    return True


def _named(git: _Git, source: GitSource, repository: str) -> str | None:
    """The full name of the ref that is meant: exactly that, else a tag, else a branch."""
    wanted = source.ref or "HEAD"
    lines = git(
        repository, "ls-remote", "--", git.url, *([wanted, f"refs/{wanted}"] if source.ref else [wanted])
    )
    names = [line.split("\t", 1)[1] for line in lines.splitlines() if "\t" in line]
    for name in (wanted, f"refs/{wanted}", f"refs/tags/{wanted}", f"refs/heads/{wanted}"):
        if name in names and not _FULL.fullmatch(name):
            return name
    return None


def _check_out(git: _Git, source: GitSource, repository: str, directory: str, commit: str) -> None:
    os.makedirs(directory)
    git(directory, "init", "-q", "--template=")
    git(directory, "remote", "add", "--", "origin", git.url)
    git(directory, "fetch", "-q", "--no-tags", "--depth=1", repository, commit, protocols="file")
    git(directory, "-c", "advice.detachedHead=false", "checkout", "-q", "--detach", commit)
    if source.submodules and os.path.exists(os.path.join(directory, ".gitmodules")):
        git(directory, "submodule", "-q", "update", "--init", "--recursive", "--depth=1")


def _tidy(git: _Git, directory: str) -> None:
    """Take out of a kept ``.git`` what is another one in every checkout."""
    place = os.path.join(directory, ".git")
    for name in ("logs", "FETCH_HEAD", "ORIG_HEAD", "index"):
        path = os.path.join(place, name)
        if os.path.isdir(path):
            remove_tree(path)
        elif os.path.exists(path):
            os.unlink(path)
    git(directory, "read-tree", "HEAD")
