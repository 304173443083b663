"""
Lowering of COPY, ADD and WORKDIR.

Sources in the build context become the digest of what they select; sources in another stage or image stay
paths in that step's result; heredocs come along as bytes. Destinations become absolute here and keep their
trailing slash, which says "directory".
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field

from dockerfile_grammar import words
from dockerfile_grammar.heredocs import Heredoc
from dockerfile_grammar.instructions import Add, Copy, Workdir
from dockerfile_grammar.spans import Span

from ..contexts.finding import normalised
from ..errors import InvalidOption
from ..filemodes import parse_mode
from ..graph import Step
from ..ops import ContextSource, CopyFiles, InlineSource, MakeDir, Source, StepSource
from ..sources.remote import is_url, parse_git
from .dispatch import lower
from .remote import check_remote_flags, hidden, remote_source
from .state import Scope, StageState, display_name


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """A COPY or an ADD with all variables replaced."""

    keyword: str
    sources: tuple[str, ...]
    heredocs: tuple[Heredoc, ...]
    dest: str
    origin: Step | None
    chown: str
    chmod: str
    link: bool
    parents: bool
    exclude: tuple[str, ...]
    unpack: bool
    span: Span
    name: str
    remote: Mapping[str, Source] = field(default_factory=dict)


@lower.register
def _(instruction: Copy, state: StageState, scope: Scope) -> StageState:
    origin = None
    if instruction.from_ is not None:
        origin = scope.step_of(instruction.from_, instruction.span)
    sources = tuple(state.expand(source, scope) for source in instruction.sources)
    for source in sources:
        is_git = parse_git(source) is not None
        if is_git or is_url(source):
            kind = "git ref" if is_git else "URL"
            raise InvalidOption(
                f"source can't be a {kind} for COPY",
                span=instruction.span,
                hint="ADD takes sources from the network",
            )
    request = _Request(
        keyword="COPY",
        sources=sources,
        heredocs=instruction.heredocs,
        dest=state.expand(instruction.dest, scope),
        origin=origin,
        chown=state.expand(instruction.chown or "", scope),
        chmod=state.expand(instruction.chmod or "", scope),
        link=instruction.link,
        parents=instruction.parents,
        exclude=instruction.exclude,
        unpack=False,
        span=instruction.span,
        name=display_name(instruction),
    )
    return _copy(request, state, scope)


@lower.register
def _(instruction: Add, state: StageState, scope: Scope) -> StageState:
    sources = tuple(state.expand(source, scope) for source in instruction.sources)
    check_remote_flags(instruction, sources)
    remote = {source: remote_source(source, instruction, state, scope) for source in sources}
    request = _Request(
        keyword="ADD",
        sources=sources,
        remote={source: found for source, found in remote.items() if found is not None},
        heredocs=instruction.heredocs,
        dest=state.expand(instruction.dest, scope),
        origin=None,
        chown=state.expand(instruction.chown or "", scope),
        chmod=state.expand(instruction.chmod or "", scope),
        link=instruction.link,
        parents=False,
        exclude=instruction.exclude,
        unpack=instruction.unpack is not False,
        span=instruction.span,
        name=hidden(display_name(instruction)),
    )
    return _copy(request, state, scope)


def _copy(request: _Request, state: StageState, scope: Scope) -> StageState:
    _check_mode(request)
    sources: list[Source] = [_source(source, request, scope) for source in request.sources]
    sources += [_inline(heredoc, state) for heredoc in request.heredocs]
    op = CopyFiles(
        sources=tuple(sources),
        dest=absolute(request.dest, state.working_dir),
        owner=request.chown,
        mode=request.chmod,
        unpack=request.unpack,
        # BuildKit copies upon what is there where a mode is given, and so follows its links.
        link=request.link and not request.chmod,
        parents=request.parents,
        exclude=request.exclude,
        epoch=scope.epoch,
    )
    inputs = (state.head,) if request.origin is None else (state.head, request.origin)
    state = state.with_step(op, inputs, request.name, request.span)
    return state.with_history(_created_by(request), layer=True)


def _source(pattern: str, request: _Request, scope: Scope) -> Source:
    if pattern in request.remote:
        return request.remote[pattern]
    if request.origin is not None:
        # The cut mark of --parents has to survive the cleaning.
        above, pivot, rest = pattern.partition("/./") if request.parents else (pattern, "", "")
        path = f"/{normalised(above)}"
        return StepSource(1, f"{path.rstrip('/')}/./{normalised(rest)}" if pivot else path)
    context = scope.context(request.span, request.keyword)
    if request.parents:
        above, pivot, rest = pattern.partition("/./")
        clean = f"{normalised(above)}/./{normalised(rest)}" if pivot else normalised(pattern)
    else:
        clean = normalised(pattern)
    selection = context.select(clean, exclude=request.exclude, parents=request.parents)
    return ContextSource(pattern=clean, digest=selection.digest)


def _inline(heredoc: Heredoc, state: StageState) -> InlineSource:
    content = heredoc.body
    if heredoc.expand:
        content = words.expand_heredoc(content, state.env.get)
    return InlineSource(heredoc.name, content.encode("utf-8", "surrogateescape"))


def _check_mode(request: _Request) -> None:
    if not request.chmod:
        return
    try:
        parse_mode(request.chmod)
    except ValueError:
        raise InvalidOption(
            f"invalid chmod parameter: '{request.chmod}'. it should be octal string and between 0 and 07777",
            span=request.span,
            hint="symbolic modes are written as in --chmod=u=rwX,go=rX",
        ) from None


def _created_by(request: _Request) -> str:
    parts = [request.keyword]
    if request.parents:
        parts.append("--parents")
    if request.chown:
        parts.append(f"--chown={request.chown}")
    if request.chmod:
        parts.append(f"--chmod={request.chmod}")
    parts += [hidden(source) for source in request.sources]
    parts += [f"<<{heredoc.name}" for heredoc in request.heredocs]
    return " ".join([*parts, request.dest, "# buildkit"])


@lower.register
def _(instruction: Workdir, state: StageState, scope: Scope) -> StageState:
    path = clean(posixpath.join(state.working_dir, state.expand(instruction.path, scope)))
    state = state.with_run_config(working_dir=path)
    if path == "/":
        return state.with_history("WORKDIR /")
    op = MakeDir(path=path, owner=state.config.config.user, epoch=scope.epoch)
    state = state.with_step(op, (state.head,), display_name(instruction), instruction.span)
    return state.with_history(f"WORKDIR {path}", layer=True)


def absolute(path: str, directory: str) -> str:
    """An absolute, clean path; a trailing slash stays, and a ``.`` at the end means the directory itself."""
    joined = posixpath.join(directory, path)
    cleaned = clean(joined)
    is_directory = path in ("", ".") or path.endswith(("/", "/."))
    return f"{cleaned}/" if is_directory and cleaned != "/" else cleaned


def clean(path: str) -> str:
    """An absolute path without ``.``, ``..`` and doubled slashes."""
    return "/" + posixpath.normpath("/" + path).lstrip("/")
