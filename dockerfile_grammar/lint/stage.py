"""
The checks of single instructions that are about values which only a build knows: the caller passes them.

Which stages are looked at is the caller's business too: a build looks at those that it needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from ..golang import clean_path
from ..ignorefile import IgnoreMatcher
from ..instructions import Add, Cmd, Copy, Entrypoint, Env, Expose, Instruction, Label, Workdir
from .linter import Linter
from .rules import (
    COPY_IGNORED_FILE,
    EXPOSE_INVALID_FORMAT,
    EXPOSE_PROTO_CASING,
    JSON_ARGS_RECOMMENDED,
    LEGACY_KEY_VALUE_FORMAT,
    MULTIPLE_INSTRUCTIONS_DISALLOWED,
    SECRETS_USED_IN_ARG_OR_ENV,
    WORKDIR_RELATIVE_PATH,
)

_PROTOCOLS = ("tcp", "udp", "sctp")
_EVERYTHING = ("*", "**", "**/*")


def _among(words: Iterable[str]) -> Callable[[str], re.Match[str] | None]:
    """Find one of the words in a name, between underscores or at its ends."""
    return re.compile(rf"(?:_|^)(?:{'|'.join(words)})(?:_|\Z)", re.IGNORECASE).search


_is_secret = _among(
    ("apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token")
)
_is_public = _among(("public", "file", "version"))


def legacy_format(instruction: Env | Label, linter: Linter) -> None:
    """``NAME value`` should be ``NAME=value``."""
    if instruction.legacy:
        linter.report(LEGACY_KEY_VALUE_FORMAT, instruction.span, instruction.keyword)


def secret_name(keyword: str, name: str, instruction: Instruction, linter: Linter) -> None:
    """A variable that is called like a secret ends up in the image or its history."""
    if _is_secret(name) and not _is_public(name):
        linter.report(SECRETS_USED_IN_ARG_OR_ENV, instruction.span, keyword, name)


def json_arguments(instruction: Cmd | Entrypoint, linter: Linter, *, shell_is_set: bool) -> None:
    """A shell form runs below ``/bin/sh -c``, which passes no signals on; who sets SHELL wants that."""
    if instruction.command.shell and not shell_is_set:
        linter.report(JSON_ARGS_RECOMMENDED, instruction.span, instruction.keyword)


def only_once(earlier: Instruction | None, instruction: Instruction, linter: Linter) -> None:
    """Of several in one stage the last counts, so an earlier one does nothing."""
    if earlier is not None:
        linter.report(MULTIPLE_INSTRUCTIONS_DISALLOWED, earlier.span, instruction.keyword)


def first_workdir(path: str, instruction: Workdir, linter: Linter) -> None:
    """The first WORKDIR of a chain of stages should not depend on what the base image has."""
    if not path.startswith("/"):
        linter.report(WORKDIR_RELATIVE_PATH, instruction.span, path)


def exposed(words: Iterable[str], instruction: Expose, linter: Linter) -> None:
    """Ports are those of the container; the words are those after expansion."""
    for word in words:
        *host, container = word.split(":")
        port, _, protocol = container.partition("/")
        if not port or protocol.lower() not in ("", *_PROTOCOLS):
            return  # an error, which the build reports
        if protocol != protocol.lower():
            linter.report(EXPOSE_PROTO_CASING, instruction.span, word)
        if any(host):
            linter.report(EXPOSE_INVALID_FORMAT, instruction.span, word)


def ignored_source(path: str, instruction: Add | Copy, matcher: IgnoreMatcher | None, linter: Linter) -> None:
    """A source that the ignore file leaves out; with ``!`` patterns nobody can tell, so nothing is said."""
    if matcher is None or matcher.has_exclusions:
        return
    path = clean_path(path)
    if path in (".", "/"):
        is_ignored = any(pattern.text in _EVERYTHING for pattern in matcher.patterns)
    else:
        is_ignored = matcher.is_ignored(path.removeprefix("/"))
    if is_ignored:
        verb = "Add" if isinstance(instruction, Add) else "Copy"
        linter.report(COPY_IGNORED_FILE, instruction.span, verb, path)
