"""
Lowering of what ADD takes from the network: URLs and git repositories.

A URL becomes a file of the blob store, a repository a build context of its own; both are fetched before the
instruction is lowered for good. Governing text: "ADD" in the Dockerfile reference.
"""

from __future__ import annotations

import re
from dataclasses import replace

from dockerfile_grammar.instructions import Add

from ..errors import InvalidOption
from ..ops import ContextSource, FetchedSource, Source, UnfetchedSource
from ..sources.remote import GitSource, UrlSource, checked_commit, is_url, parse_git
from .state import Scope, StageState

_CREDENTIALS = re.compile(r"(?<=://)[^/\s@\"']+@")


def hidden(text: str) -> str:
    """A text without the credentials of URLs in it."""
    return _CREDENTIALS.sub("", text)


def check_remote_flags(instruction: Add, sources: tuple[str, ...]) -> None:
    """
    Make sure that flags which are for sources from the network have such a source.

    Raises:
        InvalidOption: they have none.
    """
    git = [parse_git(source) is not None for source in sources]
    if instruction.checksum is not None:
        if len(sources) != 1 or instruction.heredocs:
            raise InvalidOption("ADD --checksum can be used for a single source only")
        if not (git[0] or is_url(sources[0])):
            raise InvalidOption("ADD --checksum requires HTTP(S) or Git sources")
    if instruction.keep_git_dir is not None and not any(git):
        raise InvalidOption("ADD --keep-git-dir requires a Git source")


def remote_source(text: str, instruction: Add, state: StageState, scope: Scope) -> Source | None:
    """
    A source from the network, None for others; nothing is fetched where the plan is only looked at.

    Raises:
        InvalidOption: its address or a flag that belongs to it makes no sense.
        NotFetched: it has to be fetched first.
    """
    checksum = state.expand(instruction.checksum or "", scope)
    git = parse_git(text)
    if git is not None:
        return _repository(git, checksum, instruction, scope)
    if not is_url(text):
        return None
    if scope.remotes is None or not scope.remotes.fetches:
        return UnfetchedSource(hidden(text))
    file = scope.remotes.file(UrlSource(url=text, checksum=checksum))
    mtime = file.mtime
    if mtime is not None and scope.epoch_given:
        mtime = min(mtime, scope.epoch)
    unpack = instruction.unpack is True
    return FetchedSource(file.name, file.digest, mtime, unpack)


def _repository(git: GitSource, checksum: str, instruction: Add, scope: Scope) -> Source:
    if checksum:
        wanted = checked_commit(checksum)
        if git.checksum and not (wanted.startswith(git.checksum) or git.checksum.startswith(wanted)):
            raise InvalidOption(f"checksum conflicts: {wanted} and {git.checksum} for {git.shown}")
        git = replace(git, checksum=max(wanted, git.checksum, key=len))
    keep = instruction.keep_git_dir
    if keep is not None:
        if git.keep_git_dir not in (None, keep):
            raise InvalidOption(f"keep-git-dir conflicts with the flag for {git.shown}")
        git = replace(git, keep_git_dir=keep)
    if scope.remotes is None or not scope.remotes.fetches:
        return UnfetchedSource(git.shown)
    name = scope.remotes.directory(git)
    selection = scope.contexts[name].select("", exclude=instruction.exclude)
    return ContextSource(pattern="", digest=selection.digest, context=name)
