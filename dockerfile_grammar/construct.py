"""
Parse trees to instructions: one method per grammar rule.

The grammar accepts too few or too many arguments where that makes a better message; the counting is done
here. Everything raised is a `DockerfileError` without a span; `parser` adds it.
"""

from __future__ import annotations

from collections.abc import Callable

from .arguments import (
    NETWORKS,
    SECURITY_MODES,
    doc_comment,
    interval,
    one_of,
    probe,
    retries,
    stage_name,
)
from .errors import SyntaxProblem
from .flags import FlagValues
from .golang import SPACES
from .grammar import parse_arguments
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
    Run,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
)
from .lines import LogicalLine
from .mounts import parse_device, parse_mount
from .parts import Children, Parts, command_of

_NOT_IN_TRIGGERS = ("FROM", "MAINTAINER")


class Construct(Parts):
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
        super().__init__(line, rule, escape)
        self._parse_trigger = parse_trigger

    def from_(self, children: Children) -> From:
        """``FROM``."""
        flags, *arguments = children
        image = str(arguments[0])
        if len(arguments) == 1:
            return From(**self._base, image=image, platform=flags.text("platform") or None)
        written = str(arguments[2])
        name = stage_name(written)
        return From(
            **self._base,
            image=image,
            platform=flags.text("platform") or None,
            name=name,
            written_name=written,
            as_keyword=str(arguments[1]),
            doc=doc_comment(self._line.comments, name),
        )

    def run(self, children: Children) -> Run:
        """``RUN``."""
        flags, *rest = children
        command = rest[0] if rest else CommandLine.of_shell("")
        self._needs(not command.is_empty, "at least one argument")
        return Run(
            **self._base,
            command=command,
            mounts=tuple(map(parse_mount, flags.all("mount"))),
            network=one_of(flags.text("network"), NETWORKS, "invalid network mode {}"),
            security=one_of(flags.text("security"), SECURITY_MODES, "security {} is not valid"),
            devices=tuple(map(parse_device, flags.all("device"))),
            flags_used=flags.used,
        )

    def cmd(self, children: Children) -> Cmd:
        """``CMD``."""
        return Cmd(**self._base, command=command_of(children))

    def entrypoint(self, children: Children) -> Entrypoint:
        """``ENTRYPOINT``."""
        return Entrypoint(**self._base, command=command_of(children))

    def shell(self, children: Children) -> Shell:
        """``SHELL``."""
        command = command_of(children)
        self._needs(not command.is_empty, "at least one argument")
        self._needs(not command.shell, "the arguments to be in JSON form")
        return Shell(**self._base, argv=command.argv)

    def copy(self, children: Children) -> Copy:
        """``COPY``."""
        flags: FlagValues = children[0]
        return Copy(
            **self._base,
            **self._sources(children),
            from_=flags.text("from") or None,
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
            checksum=flags.text("checksum") or None,
            keep_git_dir=flags.switch("keep-git-dir"),
            unpack=flags.switch("unpack"),
        )

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
        command = rest[1] if len(rest) > 1 else CommandLine.of_shell("")
        if kind == "NONE":  # no check has no intervals; BuildKit does not look at the flags either
            return Healthcheck(**self._base, test=probe(kind, command))
        return Healthcheck(
            **self._base,
            test=probe(kind, command),
            interval=interval(flags, "interval"),
            timeout=interval(flags, "timeout"),
            start_period=interval(flags, "start-period"),
            start_interval=interval(flags, "start-interval"),
            retries=retries(flags.text("retries")),
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


def build_instruction(
    line: LogicalLine, rule: str, arguments: str, escape: str, parse_trigger: Callable[[str], Instruction]
) -> Instruction:
    """
    Parse the arguments of a logical line and build its instruction; see `Construct`.

    Raises:
        DockerfileError: the arguments are not what the instruction takes.

    """
    tree = parse_arguments(rule, arguments, escape)
    instruction: Instruction = Construct(line, rule, escape, parse_trigger).read(tree)
    return instruction
