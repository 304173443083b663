"""
Calls that build nothing: ``--check``, ``--call=check|outline|targets`` and ``--plan``.

Answers go to standard output. A check that finds something ends with status 1, as with docker, unless
``ignorestatus=true`` is given; a mistake that a build would stop at is reported after what was found.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from dockerfile_grammar.errors import DockerfileError
from dockerfile_grammar.golang import parse_bool
from dockerfile_grammar.parser import Dockerfile, parse
from dockerfile_grammar.spans import SourceText
from oci_image.platform import Platform, local_platform

from ..contexts.context import BuildContext, open_context
from ..errors import InvalidOption
from ..host import Host
from ..local import LocalStore
from ..loop import drive
from ..request import BuildRequest
from ..sources.fetching import Fetcher
from .progress.open import open_progress
from .settings import Settings
from .wiring import open_host

if TYPE_CHECKING:
    from ..checks import CheckResult

_T = TypeVar("_T")
PLAN = "plan"
"""The method behind ``--plan``, which ``--call`` does not take."""
_METHODS = ("build", "check", "outline", "targets")
_FORMATS = ("text", "json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One value of ``--call``."""

    method: str
    is_json: bool = False
    ignores_findings: bool = False


def parse_call(text: str) -> Call:
    """
    Read ``METHOD[,format=json][,ignorestatus=true]``.

    Raises:
        InvalidOption: there is no such method or option.
    """
    method, *options = text.split(",")
    method = {"lint": "check", "": "build"}.get(method, method)
    if method not in _METHODS:
        raise InvalidOption(f"--call {text}: expected one of {', '.join(_METHODS)}")
    values = {"format": "text", "ignorestatus": "false"}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals or name not in values:
            raise InvalidOption(f"--call {text}: expected format=json or ignorestatus=true after the method")
        values[name] = value
    if values["format"] not in _FORMATS:
        raise InvalidOption(f"--call {text}: expected format=text or format=json")
    try:
        ignores = parse_bool(values["ignorestatus"])
    except ValueError:
        raise InvalidOption(f"--call {text}: expected ignorestatus=true or ignorestatus=false") from None
    return Call(method=method, is_json=values["format"] == "json", ignores_findings=ignores)


def answer(call: Call, request: BuildRequest, settings: Settings, *, progress: str) -> int:
    """
    Answer a call; returns the exit status.

    Args:
        call: what is asked.
        request: the build that it is about.
        settings: of this call.
        progress: how the way to base images is shown, as for builds.

    Raises:
        DockerfileError: the Dockerfile is wrong.
        BuildError: the same, or a base image cannot be had.
    """
    from .problems import add_excerpt

    try:
        dockerfile = _parsed(call, request)
        question = _Question(
            call=call, dockerfile=dockerfile, request=request, progress=progress, settings=settings
        )
        return _ANSWERS[call.method](question)
    except Exception as problem:
        add_excerpt(problem, {request.dockerfile_name: request.dockerfile})
        raise


def _parsed(call: Call, request: BuildRequest) -> Dockerfile:
    try:
        return parse(request.dockerfile, filename=request.dockerfile_name)
    except DockerfileError as problem:
        if call.method == "check":
            from ..checks import CheckResult, check_beginning

            found = check_beginning(request.dockerfile, request.dockerfile_name, request.build_args, problem)
            text = request.dockerfile.decode("utf-8", "surrogateescape")
            _show_check(call, CheckResult(found, problem), SourceText(request.dockerfile_name, text))
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A call about a file."""

    call: Call
    dockerfile: Dockerfile
    request: BuildRequest
    progress: str
    settings: Settings

    @property
    def platform(self) -> Platform:
        return self.request.platform or local_platform()

    @contextmanager
    def effects(self) -> Iterator[tuple[Host, dict[str, BuildContext], Fetcher]]:
        """The local store with registries, the build context and the network, while they are needed."""
        request, settings = self.request, self.settings
        with ExitStack() as stack:
            sink = stack.enter_context(open_progress(self.progress, sys.stderr, color=settings.color))
            host = stack.enter_context(open_host(settings, LocalStore(settings.root), sink))
            contexts: dict[str, BuildContext] = {}
            fetcher = Fetcher(host, sink, contexts, fetches=False)
            stack.callback(_close, contexts, fetcher)
            if request.context:
                opened = open_context(request.context, host.stats, dockerfile=request.dockerfile_path)
                contexts[""] = opened
            yield host, contexts, fetcher


def _close(contexts: dict[str, BuildContext], fetcher: Fetcher) -> None:
    for context in contexts.values():  # with those that were fetched
        context.close()
    fetcher.close()


def _check(question: _Question) -> int:
    from ..checks import check

    dockerfile, call = question.dockerfile, question.call
    with question.effects() as (host, contexts, _):
        work = check(dockerfile, question.request, contexts, host.resolver, platform=question.platform)
        result = drive(work, _run)
    _show_check(call, result, dockerfile.source)
    if result.problem is not None:
        raise result.problem
    return 1 if result.findings and not call.ignores_findings else 0


def _show_check(call: Call, result: CheckResult, source: SourceText) -> None:
    from .answers import check_json, check_text

    _say(check_json(result, source) if call.is_json else check_text(result, source))


def _outline(question: _Question) -> int:
    from ..outline import outline
    from .answers import outline_json, outline_text

    with question.effects() as (host, *_):
        work = outline(question.dockerfile, question.request, host.resolver, platform=question.platform)
        found = drive(work, _run)
    source = question.dockerfile.source
    _say(outline_json(found, source) if question.call.is_json else outline_text(found))
    return 0


def _targets(question: _Question) -> int:
    from ..outline import list_targets
    from .answers import targets_json, targets_text

    targets = list_targets(question.dockerfile)
    is_json = question.call.is_json
    _say(targets_json(targets, question.dockerfile.source) if is_json else targets_text(targets))
    return 0


def _plan(question: _Question) -> int:
    from ..build import plan_request
    from ..graph_text import describe_graph, graph_json

    with question.effects() as (host, contexts, fetcher):
        work = plan_request(question.dockerfile, question.request, host, contexts, fetcher)
        graph = drive(work, _run)
    is_json = question.call.is_json
    _say(json.dumps(graph_json(graph), indent=1) + "\n" if is_json else describe_graph(graph))
    return 0


_ANSWERS = {"check": _check, "outline": _outline, "targets": _targets, PLAN: _plan}


def _run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    import asyncio

    return asyncio.run(coroutine)


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
