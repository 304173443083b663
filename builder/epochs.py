"""
SOURCE_DATE_EPOCH: the time of files and images, where it is asked for.

It is a number of seconds since 1970, or a word for where such a time is found: ``context`` (the main build
context), a named build context, or a stage ``FROM scratch`` whose only instruction besides ARG is the ADD of
one remote source. A directory of this machine has no time of its own, so for it nothing is set. Governing
text: "Build reproducibility" in BuildKit's documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dockerfile_grammar import words
from dockerfile_grammar.instructions import Add, Arg
from dockerfile_grammar.parser import Dockerfile
from dockerfile_grammar.stages import Stage

from .contexts.context import BuildContext
from .errors import BuildError, InvalidOption
from .request import BuildRequest
from .sources.base import Remotes
from .sources.remote import GitSource, UrlSource, is_url, parse_git

VARIABLE = "SOURCE_DATE_EPOCH"
LATEST = 253_402_300_799
"""The end of the year 9999: the latest time that images can name."""


class Epochs:
    """
    Finds the time of one build.

    Args:
        dockerfile: what is built.
        request: how; a number that it gives itself is not looked at here.
        global_args: what FROM lines see, with a default for the variable if the file has one.
        contexts: build contexts by name.
        remotes: the network; None where nothing can be fetched.
    """

    def __init__(
        self,
        dockerfile: Dockerfile,
        request: BuildRequest,
        global_args: Mapping[str, str],
        contexts: Mapping[str, BuildContext],
        remotes: Remotes | None,
    ) -> None:
        self._dockerfile = dockerfile
        self._request = request
        self._global_args = global_args
        self._contexts = contexts
        self._remotes = remotes

    async def settled(self) -> tuple[BuildRequest, dict[str, str]]:
        """
        The request and what FROM lines see, with the seconds in the place of a word.

        Raises:
            InvalidOption: the variable is neither a number nor a word that stands for a time.
            BuildError: what it names cannot be had.
        """
        request, seen = self._request, dict(self._global_args)
        given = request.build_args.get(VARIABLE)
        if given is None:
            given = seen.get(VARIABLE)
        if given is None or request.epoch is not None:
            return request, seen
        seconds = await self._seconds(given)
        arguments = {name: value for name, value in request.build_args.items() if name != VARIABLE}
        seen.pop(VARIABLE, None)
        if seconds is not None:
            seen[VARIABLE] = str(seconds)
            if VARIABLE in request.build_args:
                arguments[VARIABLE] = str(seconds)
        return replace(request, build_args=arguments, epoch=seconds), seen

    async def _seconds(self, text: str) -> int | None:
        if not text:
            return None
        if text.isascii() and text.isdecimal() and int(text) <= LATEST:
            return int(text)
        if text == "context":
            return self._request.context_time
        if text in self._request.build_contexts:
            return await self._named(self._request.build_contexts[text])
        stage = next((one for one in self._dockerfile.stages if one.name and one.name == text.lower()), None)
        if stage is None:
            raise InvalidOption(
                f"invalid {VARIABLE}: {text}",
                hint='give the seconds since 1970, "context", a named build context, or a stage',
            )
        return await self._of(self._stage_source(stage), fetch=True)

    async def _named(self, address: str) -> int | None:
        source = parse_git(address, context=True) or (UrlSource(url=address) if is_url(address) else None)
        return None if source is None else await self._of(source, fetch=False)

    async def _of(self, source: UrlSource | GitSource, *, fetch: bool) -> int | None:
        if self._remotes is None or not self._remotes.fetches:
            return None
        if fetch:
            await self._remotes.fetch(source)
        return await self._remotes.time_of(source)

    def _stage_source(self, stage: Stage) -> UrlSource | GitSource:
        """The one remote source of a stage."""
        try:
            return self._only_source(stage)
        except BuildError as problem:
            problem.span = problem.span or stage.base.span
            raise

    def _only_source(self, stage: Stage) -> UrlSource | GitSource:
        values = {name: value for name, value in self._global_args.items() if name != VARIABLE}

        def expand(word: str) -> str:
            return words.expand(word, values.get, escape=self._dockerfile.escape)

        if expand(stage.base.image) != "scratch":
            raise InvalidOption(f"{VARIABLE} stage must use FROM scratch, {stage.name} does not")
        added: list[Add] = []
        for instruction in stage.instructions:
            if isinstance(instruction, Add):
                added.append(instruction)
            elif isinstance(instruction, Arg):
                for pair in instruction.pairs:
                    value = self._request.build_args.get(pair.name)
                    if value is None and pair.default is not None:
                        value = expand(pair.default)
                    if value is not None:
                        values[pair.name] = value
            else:
                raise InvalidOption(
                    f"{VARIABLE} stage does not meet source-only requirements: "
                    f"{stage.name} may hold ARG and ADD only",
                    span=instruction.span,
                )
        source = None
        if len(added) == 1 and len(added[0].sources) == 1 and not added[0].heredocs:
            text = expand(added[0].sources[0])
            source = parse_git(text) or (UrlSource(url=text) if is_url(text) else None)
        if source is None:
            raise InvalidOption(
                f"{VARIABLE} stage must contain exactly one remote ADD, {stage.name} does not"
            )
        return source
