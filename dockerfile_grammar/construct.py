"""
Parse trees to instructions: one method per grammar rule.

The grammar accepts too few or too many arguments where that makes a better message; the counting is done here.
Everything raised is a `DockerfileError`; the caller adds the span.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from lark import Token, Transformer

from .errors import InvalidFlag, SyntaxProblem
from .flags import FLAGS, FlagValues, parse_flags, resolve_quotes
from .forms import read_exec_form
from .golang import SPACES, parse_duration, quote
from .heredocs import Heredoc, read_heredoc_word
from .instructions import (
    Add,
    Arg,
    ArgPair,
    Cmd,
    CommandLine,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Pair,
    Run,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from .lines import LogicalLine
from .mounts import parse_device, parse_mount
from .suggest import did_you_mean

Children: TypeAlias = list[Any]

_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*")
_NETWORKS = ("default", "none", "host")
_SECURITY_MODES = ("sandbox", "insecure")
_NOT_IN_TRIGGERS = ("FROM", "MAINTAINER")
_MILLISECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Words:
    """Arguments divided by blanks."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LegacyPair:
    """``NAME value``; the value is None where it is missing."""

    name: str
    value: str | None


class Construct(Transformer[Token, Instruction]):
    """
    Builds the instruction of one logical line.

    Args:
        line: the logical line, for the span, the comments and the heredocs.
        rule: the keyword in lower case.
        escape: the escape character of the file.
        parse_trigger: parses the instruction behind ONBUILD.

    """

    def __init__(
        self, line: LogicalLine, rule: str, escape: str, parse_trigger: Callable[[str], Instruction]
    ) -> None:
        super().__init__(visit_tokens=False)
        self._line = line
        self._keyword = rule.upper()
        self._known_flags = FLAGS.get(rule, {})
        self._escape = escape
        self._parse_trigger = parse_trigger
        self._base = {"span": line.span, "text": line.text, "comments": line.comments}

    # ---- parts ----

    def flags(self, children: Children) -> FlagValues:
        """Resolve and check the flags."""
        return parse_flags(self._known_flags, [resolve_quotes(str(flag), self._escape) for flag in children])

    def exec_form(self, children: Children) -> CommandLine:
        """Read a JSON array."""
        return CommandLine(shell=False, argv=read_exec_form(str(children[0])) or ())

    def shell_form(self, children: Children) -> CommandLine:
        """Take text for a shell."""
        text = str(children[0])
        read_exec_form(text)  # an array of something other than strings is a mistake, not shell text
        return CommandLine(shell=True, text=text, heredocs=self._line.heredocs)

    def words(self, children: Children) -> Words:
        """Take words."""
        return Words(tuple(map(str, children)))

    def legacy_pair(self, children: Children) -> LegacyPair:
        """Take a name and the rest of the line."""
        return LegacyPair(str(children[0]), str(children[1]) if len(children) > 1 else None)

    def _needs(self, given: object, what: str) -> None:
        if not given:
            raise SyntaxProblem(f"{self._keyword} requires {what}")

    def _one_text(self, children: Children) -> str:
        self._needs(children[1:], "exactly one argument")
        return str(children[1])

    def _path_words(self, children: Children) -> tuple[str, ...]:
        """Return the arguments of an instruction that takes paths in either form."""
        if len(children) == 1:
            return ()
        form = children[1]
        if isinstance(form, CommandLine):
            return form.argv
        words: tuple[str, ...] = form.words
        read_exec_form(" ".join(words))  # as in shell_form
        return words

    # ---- instructions ----

    def from_(self, children: Children) -> From:
        """``FROM``."""
        flags, *arguments = children
        if len(arguments) not in (1, 3):
            raise arity_problem("from")
        image = str(arguments[0])
        if len(arguments) == 1:
            return From(**self._base, image=image, platform=flags.text("platform"))
        written = str(arguments[2])
        name = written.lower()
        if not _STAGE_NAME.fullmatch(name):
            raise SyntaxProblem(
                f"invalid name for build stage: {quote(written)}, "
                "name can't start with a number or contain symbols"
            )
        return From(
            **self._base,
            image=image,
            platform=flags.text("platform"),
            name=name,
            written_name=written,
            as_keyword=str(arguments[1]),
            doc=doc_comment(self._line.comments, name),
        )

    def run(self, children: Children) -> Run:
        """``RUN``."""
        flags, *rest = children
        command = rest[0] if rest else CommandLine(shell=True)
        self._needs(not command.is_empty, "at least one argument")
        return Run(
            **self._base,
            command=command,
            mounts=tuple(map(parse_mount, flags.all("mount"))),
            network=_one_of(flags.text("network"), _NETWORKS, "invalid network mode {}"),
            security=_one_of(flags.text("security"), _SECURITY_MODES, "security {} is not valid"),
            devices=tuple(map(parse_device, flags.all("device"))),
            flags_used=flags.used,
        )

    def cmd(self, children: Children) -> Cmd:
        """``CMD``."""
        return Cmd(**self._base, command=_command(children))

    def entrypoint(self, children: Children) -> Entrypoint:
        """``ENTRYPOINT``."""
        return Entrypoint(**self._base, command=_command(children))

    def shell(self, children: Children) -> Shell:
        """``SHELL``."""
        command = _command(children)
        self._needs(not command.is_empty, "at least one argument")
        self._needs(not command.shell, "the arguments to be in JSON form")
        return Shell(**self._base, argv=command.argv)

    def copy(self, children: Children) -> Copy:
        """``COPY``."""
        flags: FlagValues = children[0]
        return Copy(
            **self._base,
            **self._sources(children),
            from_=flags.text("from"),
            chown=flags.text("chown"),
            chmod=flags.text("chmod"),
            link=bool(flags.switch("link")),
            parents=bool(flags.switch("parents")),
            exclude=flags.all("exclude"),
        )

    def add(self, children: Children) -> Add:
        """``ADD``."""
        flags: FlagValues = children[0]
        return Add(
            **self._base,
            **self._sources(children),
            chown=flags.text("chown"),
            chmod=flags.text("chmod"),
            link=bool(flags.switch("link")),
            exclude=flags.all("exclude"),
            checksum=flags.text("checksum"),
            keep_git_dir=flags.switch("keep-git-dir"),
            unpack=flags.switch("unpack"),
        )

    def _sources(self, children: Children) -> dict[str, Any]:
        words = self._path_words(children)
        if len(words) < 2:
            raise SyntaxProblem(
                f"{self._keyword} requires at least two arguments, but only one was provided. "
                "Destination could not be determined"
            )
        *sources, dest = words
        if isinstance(children[1], CommandLine):
            return {"sources": tuple(sources), "dest": dest}
        if read_heredoc_word(dest):
            raise SyntaxProblem(f"{self._keyword} cannot accept a heredoc as a destination")
        contents = {heredoc.name: heredoc for heredoc in self._line.heredocs}
        paths: list[str] = []
        heredocs: list[Heredoc] = []
        for source in sources:
            opened = read_heredoc_word(source)
            if opened and opened.name in contents:
                heredocs.append(contents[opened.name])
            else:
                paths.append(source)
        return {"sources": tuple(paths), "dest": dest, "heredocs": tuple(heredocs)}

    def arg(self, children: Children) -> Arg:
        """``ARG``."""
        words = list(map(str, children[1:]))
        self._needs(words, "at least one argument")
        pairs = []
        for word in words:
            name, has_default, default = word.partition("=")
            if not name:
                raise SyntaxProblem("ARG names can not be blank")
            pairs.append(
                ArgPair(name, default if has_default else None, doc_comment(self._line.comments, name))
            )
        return Arg(**self._base, pairs=tuple(pairs))

    def env(self, children: Children) -> Env:
        """``ENV``."""
        return Env(**self._base, **self._pairs(children))

    def label(self, children: Children) -> Label:
        """``LABEL``."""
        return Label(**self._base, **self._pairs(children))

    def _pairs(self, children: Children) -> dict[str, Any]:
        self._needs(children[1:], "at least one argument")
        pairs = name_value_pairs(children[1], self._keyword)
        if not all(pair.name for pair in pairs):
            raise SyntaxProblem(f"{self._keyword} names can not be blank")
        return {"pairs": pairs, "legacy": isinstance(children[1], LegacyPair)}

    def maintainer(self, children: Children) -> Maintainer:
        """``MAINTAINER``."""
        return Maintainer(**self._base, name=self._one_text(children))

    def user(self, children: Children) -> User:
        """``USER``."""
        return User(**self._base, user=self._one_text(children))

    def workdir(self, children: Children) -> Workdir:
        """``WORKDIR``."""
        return Workdir(**self._base, path=self._one_text(children))

    def stopsignal(self, children: Children) -> Stopsignal:
        """``STOPSIGNAL``."""
        return Stopsignal(**self._base, signal=self._one_text(children))

    def expose(self, children: Children) -> Expose:
        """``EXPOSE``."""
        self._needs(children[1:], "at least one argument")
        return Expose(**self._base, ports=tuple(map(str, children[1:])))

    def volume(self, children: Children) -> Volume:
        """``VOLUME``."""
        paths = tuple(path.strip(SPACES) for path in self._path_words(children))
        self._needs(paths, "at least one argument")
        if not all(paths):
            raise SyntaxProblem("VOLUME specified can not be an empty string")
        return Volume(**self._base, paths=paths)

    def healthcheck(self, children: Children) -> Healthcheck:
        """``HEALTHCHECK``."""
        flags, *rest = children
        self._needs(rest, "at least one argument")
        kind = str(rest[0]).upper()
        command = rest[1] if len(rest) > 1 else CommandLine(shell=True)
        return Healthcheck(
            **self._base,
            test=_probe(kind, command),
            interval=_interval(flags, "interval"),
            timeout=_interval(flags, "timeout"),
            start_period=_interval(flags, "start-period"),
            start_interval=_interval(flags, "start-interval"),
            retries=_retries(flags.text("retries")),
        )

    def onbuild(self, children: Children) -> Onbuild:
        """``ONBUILD``."""
        self._needs(children[1:], "at least one argument")
        text = str(children[1])
        keyword = text.split(maxsplit=1)[0].upper()
        if keyword == "ONBUILD":
            raise SyntaxProblem("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
        if keyword in _NOT_IN_TRIGGERS:
            raise SyntaxProblem(f"{keyword} isn't allowed as an ONBUILD trigger")
        contents = "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in self._line.heredocs)
        return Onbuild(**self._base, trigger=text + contents, instruction=self._parse_trigger(text))


# The rule is called `from`, which is no name for a method.
setattr(Construct, "from", Construct.from_)


def arity_problem(rule: str) -> SyntaxProblem:
    """Return the error for arguments that the grammar rule of an instruction has no place for."""
    if rule == "from":
        return SyntaxProblem("FROM requires either one or three arguments")
    return SyntaxProblem(f"{rule.upper()} has arguments that cannot be read")


def doc_comment(comments: Iterable[str], name: str) -> str:
    """Return the description of `name` in the comments above an instruction, or ""."""
    return next((line[len(name) + 1 :] for line in comments if line.startswith(f"{name} ")), "")


def name_value_pairs(arguments: Words | LegacyPair, keyword: str) -> tuple[Pair, ...]:
    """
    Return the names and values of ENV or LABEL.

    Raises:
        SyntaxProblem: a value is missing.

    """
    if isinstance(arguments, LegacyPair):
        if arguments.value is None:
            raise SyntaxProblem(f"{keyword} must have two arguments")
        return (Pair(arguments.name, arguments.value),)
    for word in arguments.words:
        if "=" not in word:
            raise SyntaxProblem(
                f"Syntax error - can't find = in {quote(word)}. Must be of the form: name=value"
            )
    return tuple(Pair(name, value) for name, _, value in (word.partition("=") for word in arguments.words))


def _command(children: Children) -> CommandLine:
    command: CommandLine = children[1] if len(children) > 1 else CommandLine(shell=True)
    return command


def _one_of(value: str | None, allowed: tuple[str, ...], complaint: str) -> str | None:
    if value is not None and value not in allowed:
        raise InvalidFlag(complaint.format(quote(value)), hint=did_you_mean(value, allowed))
    return value


def _probe(kind: str, command: CommandLine) -> tuple[str, ...]:
    if kind == "NONE":
        if not command.is_empty:
            raise SyntaxProblem("HEALTHCHECK NONE takes no arguments")
        return ("NONE",)
    if kind != "CMD":
        raise SyntaxProblem(f"Unknown type {quote(kind)} in HEALTHCHECK (try CMD)")
    if command.is_empty:
        raise SyntaxProblem("Missing command after HEALTHCHECK CMD")
    return ("CMD-SHELL", command.text) if command.shell else ("CMD", *command.argv)


def _interval(flags: FlagValues, name: str) -> int:
    text = flags.text(name)
    if not text:
        return 0
    try:
        duration = parse_duration(text)
    except ValueError as error:
        raise InvalidFlag(f"--{name}: {error}") from None
    if duration != 0 and duration < _MILLISECOND:
        raise InvalidFlag(f'Interval "{name}" cannot be less than 1ms')
    return duration


def _retries(text: str | None) -> int:
    if not text:
        return 0
    if not re.fullmatch(r"[+-]?[0-9]{1,10}", text) or int(text) >= 2**31:
        raise InvalidFlag(f"--retries: invalid number {quote(text)}")
    if int(text) < 0:
        raise InvalidFlag(f"--retries cannot be negative ({int(text)})")
    return int(text)
