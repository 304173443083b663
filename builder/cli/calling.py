"""
Calls that build nothing: ``--check``, ``--call=check|outline|targets`` and ``--plan``.

Answers go to standard output. A check that finds something ends with status 1, as with docker, unless
``ignorestatus=true`` is given; a mistake that a build would stop at is reported after what was found.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
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
from .granted import read_granted
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


def answer(call: Call, request: BuildRequest, settings: Settings, args: argparse.Namespace) -> int:
    """
    Answer a call; returns the exit status.

    Args:
        call: what is asked.
        request: the build that it is about.
        settings: of this call.
        args: of the call: how the way to base images is shown, and a file for the answer as JSON.

    Raises:
        DockerfileError: the Dockerfile is wrong.
        BuildError: the same, or a base image cannot be had.
    """
    from .problems import add_excerpt

    teller = _Teller(is_json=call.is_json, file=args.metadata_file or "")
    try:
        dockerfile = _parsed(call, request, teller)
        question = _Question(
            call=call,
            dockerfile=dockerfile,
            request=request,
            progress=args.progress,
            settings=settings,
            teller=teller,
            secrets=read_granted(args, settings.environment).secrets,
        )
        return _ANSWERS[call.method](question)
    except Exception as problem:
        add_excerpt(problem, {request.dockerfile_name: request.dockerfile})
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Teller:
    """Tells an answer on standard output in one of its forms, and both of them in a file, if there is one."""

    is_json: bool
    file: str = ""

    def __call__(self, text: Callable[[], str], as_json: Callable[[], str]) -> None:
        sys.stdout.write(as_json() if self.is_json else text())
        sys.stdout.flush()
        if self.file:
            from .report import write_file

            value = {"result.json": json.loads(as_json()), "result.txt": text()}
            write_file(self.file, json.dumps(value, indent=2) + "\n")


def _parsed(call: Call, request: BuildRequest, teller: _Teller) -> Dockerfile:
    try:
        return parse(request.dockerfile, filename=request.dockerfile_name)
    except DockerfileError as problem:
        if call.method == "check":
            from ..checks import CheckResult, check_beginning

            found = check_beginning(request.dockerfile, request.dockerfile_name, request.build_args, problem)
            text = request.dockerfile.decode("utf-8", "surrogateescape")
            _show_check(teller, CheckResult(found, problem), SourceText(request.dockerfile_name, text))
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A call about a file."""

    call: Call
    dockerfile: Dockerfile
    request: BuildRequest
    progress: str
    settings: Settings
    teller: _Teller
    secrets: Mapping[str, bytes] = field(repr=False)

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
            host = replace(host, network=replace(host.network, secrets=self.secrets))
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
    _show_check(question.teller, result, dockerfile.source)
    if result.problem is not None:
        raise result.problem
    return 1 if result.findings and not call.ignores_findings else 0


def _show_check(teller: _Teller, result: CheckResult, source: SourceText) -> None:
    from .answers import check_json, check_text

    teller(lambda: check_text(result, source), lambda: check_json(result, source))


def _outline(question: _Question) -> int:
    from ..outline import outline
    from .answers import outline_json, outline_text

    with question.effects() as (host, *_):
        work = outline(question.dockerfile, question.request, host.resolver, platform=question.platform)
        found = drive(work, _run)
    source = question.dockerfile.source
    question.teller(lambda: outline_text(found), lambda: outline_json(found, source))
    return 0


def _targets(question: _Question) -> int:
    from ..outline import list_targets
    from .answers import targets_json, targets_text

    targets, source = list_targets(question.dockerfile), question.dockerfile.source
    question.teller(lambda: targets_text(targets), lambda: targets_json(targets, source))
    return 0


def _plan(question: _Question) -> int:
    from ..build import plan_request
    from ..graph_text import describe_graph, graph_json

    with question.effects() as (host, contexts, fetcher):
        work = plan_request(question.dockerfile, question.request, host, contexts, fetcher)
        graph = drive(work, _run)
    question.teller(lambda: describe_graph(graph), lambda: json.dumps(graph_json(graph), indent=1) + "\n")
    return 0


_ANSWERS = {"check": _check, "outline": _outline, "targets": _targets, PLAN: _plan}


def _run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    import asyncio

    return asyncio.run(coroutine)
