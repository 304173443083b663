"""
Dockerfile text to values: `parse` for a file, `parse_instruction` for one instruction.

A parse never fails with anything but a `DockerfileError` that has a span, and the first mistake in the file
is the one reported.
Governing text: the Dockerfile reference (https://docs.docker.com/reference/dockerfile/).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .directives import Directive
from .errors import DockerfileError, SyntaxProblem, UndefinedStage, UnknownInstruction
from .golang import SPACES, quote
from .instructions import INSTRUCTIONS, Arg, From, Instruction
from .lines import LineReader, LogicalLine, ParseWarning
from .spans import SourceText, Span
from .stages import Stage, find_stage
from .suggest import did_you_mean_keyword

_HEREDOC_INSTRUCTIONS = ("run", "copy", "add")
_KEYWORD_END = re.compile(r"[\t\v\f\r ]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """A parsed Dockerfile; has at least one stage."""

    source: SourceText
    directives: tuple[Directive, ...]
    escape: str
    meta_args: tuple[Arg, ...]
    """The ARGs before the first FROM."""
    stages: tuple[Stage, ...]
    warnings: tuple[ParseWarning, ...] = field(default=())

    def stage(self, reference: str, *, before: int | None = None) -> Stage | None:
        """Return the stage that a name or number stands for; see `stages.find_stage`."""
        return find_stage(self.stages, reference, before=before)

    def target(self, reference: str | None) -> Stage:
        """
        Return the stage to build; None asks for the last one.

        Raises:
            UndefinedStage: there is no such stage.

        """
        if reference is None:
            return self.stages[-1]
        stage = self.stage(reference)
        if stage is None:
            names = [stage.name for stage in self.stages if stage.name]
            raise UndefinedStage(
                f"target stage {quote(reference)} could not be found",
                span=self.stages[-1].base.span,
                hint=did_you_mean_keyword(reference, names),
            )
        return stage


def parse(text: str | bytes, *, filename: str = "Dockerfile") -> Dockerfile:
    """
    Parse a Dockerfile.

    Args:
        text: the file; bytes are read as UTF-8.
        filename: the name in spans.

    Raises:
        DockerfileError: with the span of the first mistake.

    """
    source = _source(text, filename)
    reader = LineReader(source, opens_heredocs=opens_heredocs)
    instructions = _instructions(reader)
    if not instructions:
        message = (
            "file with no instructions" if source.text.strip(SPACES) else "the Dockerfile cannot be empty"
        )
        raise SyntaxProblem(message, span=Span(filename, 1, max(1, reader.line)))
    meta_args, stages = _group(instructions)
    return Dockerfile(
        source=source,
        directives=tuple(reader.directives),
        escape=reader.escape,
        meta_args=meta_args,
        stages=stages,
        warnings=tuple(reader.warnings),
    )


def parse_instruction(
    text: str, *, escape: str = "\\", filename: str = "Dockerfile", first_line: int = 1
) -> Instruction:
    """
    Parse exactly one instruction, such as an ONBUILD trigger that was stored in an image.

    Args:
        text: the instruction; continuation lines and heredocs may follow.
        escape: the escape character of the file it comes from.
        filename: the name in spans.
        first_line: the number of the first line in spans.

    Raises:
        DockerfileError: it is no instruction, or more than one.

    """
    reader = LineReader(
        _source(text, filename), opens_heredocs=opens_heredocs, escape=escape, first_line=first_line
    )
    instructions = _instructions(reader)
    if len(instructions) != 1:
        span = (
            instructions[1].span if instructions else Span(filename, first_line, max(first_line, reader.line))
        )
        raise SyntaxProblem(f"expected one instruction, found {len(instructions)}", span=span)
    return instructions[0]


def split_keyword(text: str) -> tuple[str, str]:
    """Split a logical line into its first word and the rest."""
    keyword, *rest = _KEYWORD_END.split(text, maxsplit=1)
    return keyword, rest[0] if rest else ""


def _source(text: str | bytes, filename: str) -> SourceText:
    if isinstance(text, bytes):
        # Comments may hold anything; bytes that are no UTF-8 are refused where an instruction has them.
        text = text.decode("utf-8", "surrogateescape")
    return SourceText(filename, text)


def _instructions(reader: LineReader) -> list[Instruction]:
    return [_parse_line(line, reader.escape) for line in reader]


def _parse_line(line: LogicalLine, escape: str) -> Instruction:
    from .construct import build_instruction

    keyword, arguments = split_keyword(line.text)
    rule = keyword.lower()
    if not keyword:
        raise SyntaxProblem("a line continuation has nothing to continue", span=line.span)
    if rule not in INSTRUCTIONS:
        raise UnknownInstruction(
            f"unknown instruction: {keyword}",
            span=line.span,
            hint=did_you_mean_keyword(keyword, INSTRUCTIONS),
        )

    def parse_trigger(text: str) -> Instruction:
        return _parse_line(LogicalLine(text=text, span=line.span, heredocs=line.heredocs), escape)

    try:
        return build_instruction(line, rule, arguments, escape, parse_trigger)
    except DockerfileError as error:
        error.located(line.span)
        raise


def opens_heredocs(text: str, escape: str) -> bool:
    """Tell whether ``<<`` means a heredoc in a line: in RUN, COPY and ADD, unless in exec form."""
    from .grammar import Tree, parse_arguments

    keyword, arguments = split_keyword(text)
    if keyword.lower() == "onbuild":
        keyword, arguments = split_keyword(arguments.strip(SPACES))
    rule = keyword.lower()
    if rule not in _HEREDOC_INSTRUCTIONS:
        return False
    tree = parse_arguments(rule, arguments, escape)
    return not any(child.rule == "exec_form" for child in tree.children if isinstance(child, Tree))


def _group(instructions: list[Instruction]) -> tuple[tuple[Arg, ...], tuple[Stage, ...]]:
    """Divide the instructions of a file into the ARGs on top and stages."""
    starts = [index for index, instruction in enumerate(instructions) if isinstance(instruction, From)]
    top = instructions[: starts[0]] if starts else instructions
    meta_args: list[Arg] = []
    for instruction in top:
        if not isinstance(instruction, Arg):
            raise UndefinedStage(
                f"no build stage in current context: {instruction.keyword} before the first FROM",
                span=instruction.span,
            )
        meta_args.append(instruction)
    if not starts:
        raise UndefinedStage("dockerfile contains no stages to build", span=instructions[-1].span)
    stages = []
    for index, (start, end) in enumerate(zip(starts, [*starts[1:], len(instructions)], strict=True)):
        base = instructions[start]
        assert isinstance(base, From)  # noqa: S101 - starts holds nothing else
        stages.append(_stage(index, base, tuple(instructions[start + 1 : end])))
    return tuple(meta_args), tuple(stages)


def _stage(index: int, base: From, instructions: tuple[Instruction, ...]) -> Stage:
    last = instructions[-1].span if instructions else base.span
    return Stage(
        index=index,
        name=base.name,
        base=base,
        instructions=instructions,
        span=Span(base.span.filename, base.span.start_line, last.end_line),
    )
