"""
One frozen value per Dockerfile instruction, named as the instruction.

Values hold what was written: variables are not replaced and quotes are kept where the language expands them
later. Every instruction has its span, its text and the comments above it, so that nothing has to be parsed
again for messages, history or lint rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from .heredocs import Heredoc
from .mounts import DeviceFlag, MountFlag
from .spans import Span


class Pair(NamedTuple):
    """A name and a value of ENV or LABEL, both unexpanded; a tuple, as callers unpack it."""

    name: str
    value: str


class ArgPair(NamedTuple):
    """A name of ARG and its default; a default of None is unset, unlike an empty one."""

    name: str
    default: str | None
    doc: str
    """The description from a comment ``# NAME description`` above the instruction, or ""."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """
    A command in shell form (`shell` is True, `text` is one string) or in exec form (`argv`).

    In shell form the heredocs are attached by name: their ``<<NAME`` words are still in `text`.
    """

    shell: bool
    text: str = ""
    argv: tuple[str, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()

    @classmethod
    def of_shell(cls, text: str, heredocs: tuple[Heredoc, ...] = ()) -> CommandLine:
        """Return a command in shell form."""
        return cls(shell=True, text=text, heredocs=heredocs)  # noqa: S604 - a value; nothing runs here

    @property
    def is_empty(self) -> bool:
        """Whether there is no command at all (``CMD []``, ``CMD``)."""
        return not (self.text if self.shell else self.argv)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionBase:
    """What all instructions have."""

    span: Span
    text: str
    """The logical line: continuations joined, comments dropped, heredoc contents left out."""
    comments: tuple[str, ...] = ()
    """The comment lines directly above, without ``#``."""

    @property
    def keyword(self) -> str:
        """The first word exactly as written."""
        return self.text.split(maxsplit=1)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class From(InstructionBase):
    """``FROM [--platform=…] image [AS name]``."""

    image: str
    platform: str | None = None
    name: str | None = None
    """The stage name in lower case."""
    written_name: str | None = None
    as_keyword: str | None = None
    doc: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(InstructionBase):
    """``RUN [--mount=…] [--network=…] [--security=…] [--device=…] command``."""

    command: CommandLine
    mounts: tuple[MountFlag, ...] = ()
    network: str | None = None
    security: str | None = None
    devices: tuple[DeviceFlag, ...] = ()
    flags_used: tuple[str, ...] = ()

    @property
    def heredocs(self) -> tuple[Heredoc, ...]:
        """The heredocs of the command."""
        return self.command.heredocs


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(InstructionBase):
    """``COPY [flags] source … dest``; a source that is a heredoc is in `heredocs`."""

    sources: tuple[str, ...]
    dest: str
    heredocs: tuple[Heredoc, ...] = ()
    from_: str | None = None
    chown: str | None = None
    chmod: str | None = None
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(InstructionBase):
    """``ADD [flags] source … dest``; `unpack` and `keep_git_dir` are None where the default applies."""

    sources: tuple[str, ...]
    dest: str
    heredocs: tuple[Heredoc, ...] = ()
    chown: str | None = None
    chmod: str | None = None
    link: bool = False
    exclude: tuple[str, ...] = ()
    checksum: str | None = None
    keep_git_dir: bool | None = None
    unpack: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(InstructionBase):
    """``ARG name[=default] …``."""

    pairs: tuple[ArgPair, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(InstructionBase):
    """``ENV name=value …``; `legacy` is the form with a blank instead of ``=``."""

    pairs: tuple[Pair, ...]
    legacy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(InstructionBase):
    """``LABEL name=value …``; `legacy` is the form with a blank instead of ``=``."""

    pairs: tuple[Pair, ...]
    legacy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(InstructionBase):
    """``MAINTAINER name``, deprecated."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(InstructionBase):
    """``CMD command``."""

    command: CommandLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(InstructionBase):
    """``ENTRYPOINT command``."""

    command: CommandLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(InstructionBase):
    """``SHELL ["program", "argument", …]``."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(InstructionBase):
    """``EXPOSE port …``, as written: a word may become several ports, and is read by `ports.parse_ports`."""

    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(InstructionBase):
    """``VOLUME path …``."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class User(InstructionBase):
    """``USER user[:group]``."""

    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(InstructionBase):
    """``WORKDIR path``."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck(InstructionBase):
    """
    ``HEALTHCHECK [flags] CMD command`` or ``HEALTHCHECK NONE``.

    Durations are nanoseconds; 0 stands for the default of whoever runs the image, as in the image config.
    """

    test: tuple[str, ...]
    """``("NONE",)``, ``("CMD", program, …)`` or ``("CMD-SHELL", text)``, as in the image config."""
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0

    @property
    def none(self) -> bool:
        """Whether the check of the base image is switched off."""
        return self.test == ("NONE",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopsignal(InstructionBase):
    """``STOPSIGNAL name-or-number``; it may hold a variable, so it is not looked up here."""

    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Onbuild(InstructionBase):
    """``ONBUILD instruction``."""

    trigger: str
    """The instruction as the image config stores it, heredocs included."""
    instruction: Instruction


Instruction: TypeAlias = (
    From
    | Run
    | Copy
    | Add
    | Arg
    | Env
    | Label
    | Maintainer
    | Cmd
    | Entrypoint
    | Shell
    | Expose
    | Volume
    | User
    | Workdir
    | Healthcheck
    | Stopsignal
    | Onbuild
)
"""Any instruction."""

INSTRUCTIONS: dict[str, type[InstructionBase]] = {
    kind.__name__.lower(): kind
    for kind in (
        From,
        Run,
        Copy,
        Add,
        Arg,
        Env,
        Label,
        Maintainer,
        Cmd,
        Entrypoint,
        Shell,
        Expose,
        Volume,
        User,
        Workdir,
        Healthcheck,
        Stopsignal,
        Onbuild,
    )
}
"""The classes by keyword in lower case."""
