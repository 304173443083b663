"""
What is known at one point of a stage, and the small transitions from one instruction to the next.

`StageState` is frozen; lowering an instruction returns another one. Metadata instructions change `config` and
its history; filesystem instructions move `head`. Each step made here stands for exactly one layer, so history
entries with layers and layers agree by construction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dockerfile_grammar import words
from dockerfile_grammar.instructions import Instruction
from dockerfile_grammar.spans import Span
from oci_image.config import History, ImageConfig
from oci_image.platform import Platform

from ..contexts.context import BuildContext
from ..errors import InvalidContext
from ..graph import Origin, Step
from ..ops import Op
from ..request import BuildRequest
from .devices import Devices

if TYPE_CHECKING:
    from ..sources.base import Remotes

HISTORY_COMMENT = "buildkit.dockerfile.v0"
"""The comment of history entries by which tools recognise Dockerfile steps."""
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """
    What surrounds the instructions of one stage.

    `step_of` finds the result of another stage or image by the name that ``--from`` or ``from=`` gives;
    `remotes` has what was fetched, None where nothing can be; `devices` those of the machine.
    """

    request: BuildRequest
    escape: str
    epoch: int
    epoch_given: bool
    global_args: Mapping[str, str]
    contexts: Mapping[str, BuildContext]
    step_of: Callable[[str, Span], Step]
    devices: Devices = field(default_factory=Devices)
    remotes: Remotes | None = None

    def context(self, span: Span, instruction: str) -> BuildContext:
        """
        The main build context.

        Raises:
            InvalidContext: the build has none.
        """
        if "" not in self.contexts:
            raise InvalidContext(
                f"{instruction} needs a build context, and this build has none",
                span=span,
                hint="give a directory, as in: pybuild -f Dockerfile .",
            )
        return self.contexts[""]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageState:
    """
    One point of a stage.

    `env` is what RUN sees: the image's variables and ARGs in the order of the Dockerfile, where the later one
    wins. `args` are the declared ARGs (values as they were then). `cmd_set` tells whether this stage has a
    CMD. `number` counts the steps that were shown, out of `total`.
    """

    stage: str
    head: Step
    config: ImageConfig
    platform: Platform
    created: str
    env: Mapping[str, str] = field(default_factory=dict)
    args: tuple[tuple[str, str], ...] = ()
    cmd_set: bool = False
    number: int = 0
    total: int = 0
    no_cache: bool = False

    def with_history(self, created_by: str, *, layer: bool = False) -> StageState:
        """Append a history entry."""
        entry = History(
            created=self.created, created_by=created_by, comment=HISTORY_COMMENT, empty_layer=not layer
        )
        return replace(self, config=replace(self.config, history=(*self.config.history, entry)))

    def with_run_config(self, **changes: Any) -> StageState:
        """Replace members of the image's ``config``."""
        return replace(self, config=self.config.with_run_config(**changes))

    def with_step(self, op: Op, inputs: tuple[Step, ...], name: str, span: Span) -> StageState:
        """Move the head to a new step over the inputs."""
        origin = Origin(
            name=name,
            span=span,
            stage=self.stage,
            number=self.number + 1,
            total=self.total,
            no_cache=self.no_cache,
        )
        return replace(self, head=Step(op, inputs, origin), number=self.number + 1)

    def with_variable(self, name: str, value: str) -> StageState:
        """Let the instructions that follow see a variable."""
        return replace(self, env={**self.env, name: value})

    def with_image_variable(self, name: str, value: str) -> StageState:
        """Let the image have a variable, which the instructions that follow see too."""
        variables = add_variable(self.config.config.env, name, value)
        return self.with_variable(name, value).with_run_config(env=variables)

    @property
    def working_dir(self) -> str:
        """The directory that relative paths start from."""
        return self.config.config.working_dir or "/"

    @property
    def shell(self) -> tuple[str, ...]:
        """The program in front of shell forms."""
        return self.config.config.shell or DEFAULT_SHELL

    def expand(self, word: str, scope: Scope) -> str:
        """Replace the variables in a word and take its quotes away."""
        return words.expand(word, self.env.get, escape=scope.escape)


def add_variable(env: tuple[str, ...], name: str, value: str) -> tuple[str, ...]:
    """The list with the variable set: replaced in place, or appended."""
    wanted = f"{name}={value}"
    for index, item in enumerate(env):
        if split_variable(item)[0] == name:
            return (*env[:index], wanted, *env[index + 1 :])
    return (*env, wanted)


def split_variable(item: str) -> tuple[str, str]:
    """Name and value of ``name=value``; a bare name has an empty value."""
    name, _, value = item.partition("=")
    return name, value


def display_name(instruction: Instruction) -> str:
    """How progress shows an instruction: the keyword in upper case, heredocs by their first line."""
    keyword, _, rest = instruction.text.partition(" ")
    name = f"{keyword.upper()} {rest.strip()}".strip()
    heredocs = getattr(instruction, "heredocs", ())
    if heredocs and keyword.lower() == "run":
        first = heredocs[0].content.strip().partition("\n")
        name += f" ({first[0]}{'...' if first[1] else ''})"
    return name


def rfc3339(epoch: int) -> str:
    """Seconds since the epoch as a time of the image specification."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
