"""Whole Dockerfiles: structure, errors with their lines, and properties that hold for any text."""

import pickle
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockerfile_grammar.errors import (
    DockerfileError,
    InvalidFlag,
    SyntaxProblem,
    UndefinedStage,
    UnknownInstruction,
)
from dockerfile_grammar.instructions import INSTRUCTIONS, Copy, Instruction, Onbuild, Run
from dockerfile_grammar.parser import parse, parse_instruction

NO_DESTINATION = (
    "{} requires at least two arguments, but only one was provided. Destination could not be determined"
)


def outcome(text):
    """Parse, and return the values and the error, one of which is None."""
    try:
        return parse(text), None
    except DockerfileError as error:
        return None, error


def refused(text):
    with pytest.raises(DockerfileError) as caught:
        parse(text)
    return caught.value


@pytest.mark.parametrize(
    ("instruction", "kind", "message"),
    [
        ("RNU true", UnknownInstruction, "unknown instruction: RNU (did you mean RUN?)"),
        ("form x", UnknownInstruction, "unknown instruction: form (did you mean from?)"),
        ("XYZZY", UnknownInstruction, "unknown instruction: XYZZY"),
        ("FROM", SyntaxProblem, "FROM requires either one or three arguments"),
        ("FROM a b", SyntaxProblem, "FROM requires either one or three arguments"),
        ("FROM a as", SyntaxProblem, "FROM requires either one or three arguments"),
        ("FROM a if b", SyntaxProblem, "FROM requires either one or three arguments"),
        ("FROM a as b c", SyntaxProblem, "FROM requires either one or three arguments"),
        (
            "FROM a as 1x",
            SyntaxProblem,
            'invalid name for build stage: "1x", name can\'t start with a number or contain symbols',
        ),
        ("FROM --plaform=x a", InvalidFlag, "unknown flag: --plaform (did you mean --platform?)"),
        ("RUN", SyntaxProblem, "RUN requires at least one argument"),
        ("RUN []", SyntaxProblem, "RUN requires at least one argument"),
        ("RUN --network=hots x", InvalidFlag, 'invalid network mode "hots" (did you mean host?)'),
        ("RUN --security=none x", InvalidFlag, 'security "none" is not valid'),
        ("RUN --mount=tpye=bind x", InvalidFlag, "unexpected key 'tpye' in 'tpye=bind' (did you mean type?)"),
        ("RUN --network x", InvalidFlag, "missing a value on flag: --network"),
        ("RUN --network=none --network=host x", InvalidFlag, "duplicate flag specified: --network"),
        (
            "CMD [1]",
            SyntaxProblem,
            "when using JSON array syntax, arrays must be comprised of strings only",
        ),
        (
            'COPY ["a", null]',
            SyntaxProblem,
            "when using JSON array syntax, arrays must be comprised of strings only",
        ),
        ("CMD --x true", InvalidFlag, "unknown flag: --x"),
        ("SHELL /bin/sh -c", SyntaxProblem, "SHELL requires the arguments to be in JSON form"),
        ("SHELL []", SyntaxProblem, "SHELL requires at least one argument"),
        ("SHELL", SyntaxProblem, "SHELL requires at least one argument"),
        (
            "COPY a",
            SyntaxProblem,
            NO_DESTINATION.format("COPY"),
        ),
        (
            'ADD ["a"]',
            SyntaxProblem,
            NO_DESTINATION.format("ADD"),
        ),
        (
            "COPY",
            SyntaxProblem,
            NO_DESTINATION.format("COPY"),
        ),
        ("COPY --link=maybe a b", InvalidFlag, "expecting boolean value for flag --link, not: maybe"),
        ("COPY --link= a b", InvalidFlag, "missing a value on flag: --link"),
        ("COPY --checksum=x a b", InvalidFlag, "unknown flag: --checksum"),
        ("ADD --from=x a b", InvalidFlag, "unknown flag: --from"),
        ("ARG", SyntaxProblem, "ARG requires at least one argument"),
        ("ARG =x", SyntaxProblem, "ARG names can not be blank"),
        ("ENV", SyntaxProblem, "ENV requires at least one argument"),
        ("ENV A", SyntaxProblem, "ENV must have two arguments"),
        ("ENV =x", SyntaxProblem, "ENV names can not be blank"),
        (
            'ENV A=1 "B"',
            SyntaxProblem,
            'Syntax error - can\'t find = in "\\"B\\"". Must be of the form: name=value',
        ),
        ("LABEL A", SyntaxProblem, "LABEL must have two arguments"),
        ("MAINTAINER", SyntaxProblem, "MAINTAINER requires exactly one argument"),
        ("USER", SyntaxProblem, "USER requires exactly one argument"),
        ("WORKDIR", SyntaxProblem, "WORKDIR requires exactly one argument"),
        ("STOPSIGNAL", SyntaxProblem, "STOPSIGNAL requires exactly one argument"),
        ("EXPOSE", SyntaxProblem, "EXPOSE requires at least one argument"),
        ("VOLUME", SyntaxProblem, "VOLUME requires at least one argument"),
        ('VOLUME ["/a", " "]', SyntaxProblem, "VOLUME specified can not be an empty string"),
        ("HEALTHCHECK", SyntaxProblem, "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK NONE x", SyntaxProblem, "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK CMD", SyntaxProblem, "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK CMD []", SyntaxProblem, "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK curl x", SyntaxProblem, 'Unknown type "CURL" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK --interval=5 CMD x", InvalidFlag, '--interval: missing unit in duration "5"'),
        ("HEALTHCHECK --timeout=1us CMD x", InvalidFlag, 'Interval "timeout" cannot be less than 1ms'),
        ("HEALTHCHECK --timeout=-1s CMD x", InvalidFlag, 'Interval "timeout" cannot be less than 1ms'),
        ("HEALTHCHECK --retries=x CMD x", InvalidFlag, '--retries: invalid number "x"'),
        ("HEALTHCHECK --retries=-1 CMD x", InvalidFlag, "--retries cannot be negative (-1)"),
        ("ONBUILD", SyntaxProblem, "ONBUILD requires at least one argument"),
        ("ONBUILD FROM x", SyntaxProblem, "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD maintainer x", SyntaxProblem, "MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("ONBUILD ONBUILD RUN x", SyntaxProblem, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD RNU x", UnknownInstruction, "unknown instruction: RNU (did you mean RUN?)"),
        ("COPY a <<EOF", SyntaxProblem, "COPY cannot accept a heredoc as a destination"),
        (
            "RUN <<EOF",
            SyntaxProblem,
            "unterminated heredoc (end it with a line that is only EOF)",
        ),
    ],
)
def test_mistakes_are_named(instruction, kind, message):
    """A mistake should be reported in one sentence, with its kind and its line."""
    text = f"FROM scratch\n\n{instruction}\n"
    if instruction.startswith("COPY a <<"):
        text += "EOF\n"
    error = refused(text)
    assert type(error) is kind
    assert str(error) == message
    assert (error.span.filename, error.span.start_line, error.span.end_line) == (
        "Dockerfile",
        3,
        text.count("\n") if "<<" in instruction else 3,
    )


@pytest.mark.parametrize(
    ("text", "kind", "message", "lines"),
    [
        ("", SyntaxProblem, "the Dockerfile cannot be empty", (1, 1)),
        (" \n\n", SyntaxProblem, "the Dockerfile cannot be empty", (1, 2)),
        ("# only\n# comments", SyntaxProblem, "file with no instructions", (1, 2)),
        ("RUN x", UndefinedStage, "no build stage in current context: RUN before the first FROM", (1, 1)),
        ("ARG A\nARG B", UndefinedStage, "dockerfile contains no stages to build", (2, 2)),
        ("# escape=x\nFROM a", SyntaxProblem, "invalid escape token 'x' does not match ` or \\", (1, 1)),
        ("# escape=`\n# escape=`", SyntaxProblem, "only one escape parser directive can be used", (2, 2)),
        ("FROM a\nRUN \\\n x \\\n [ \nCMD [{}]", SyntaxProblem, "comprised of strings", (5, 5)),
        ("FROM a\nRNU \\\n\n x", UnknownInstruction, "unknown instruction: RNU", (2, 4)),
        ("FROM a\n\\", SyntaxProblem, "nothing to continue", (2, 2)),
        ("FROM a\nRUN <<A <<B\nx\nA\ny\n", SyntaxProblem, "unterminated heredoc", (2, 5)),
        ("FROM a\nRUN " + "x" * 65532, SyntaxProblem, "max allowed size of 65535", (2, 2)),
        ("FROM a\nRUN <<E\n" + "é" * 32768 + "\nE\n", SyntaxProblem, "max allowed size", (3, 3)),
    ],
)
def test_structure_is_checked(text, kind, message, lines):
    """A mistake in the structure of a file should be reported with the lines it is about."""
    error = refused(text)
    assert type(error) is kind
    assert message in error.message
    assert (error.span.start_line, error.span.end_line) == lines


def test_longest_line_is_accepted():
    """A line of exactly the greatest length should be fine, with or without a line feed."""
    text = "FROM a\nRUN " + "x" * 65531
    assert parse(text).stages == parse(text + "\n").stages


def test_first_mistake_in_the_file_wins():
    """Mistakes of different kinds should be reported in the order of the file."""
    error = refused("FROM a\nCOPY x\nRNU y\nRUN <<EOF\n")
    assert error.span.start_line == 2


@pytest.mark.parametrize(
    "frontend",
    [
        "docker/dockerfile",
        "docker/dockerfile:1",
        "docker/dockerfile:1.7-labs",
        "docker.io/docker/dockerfile:1@sha256:abc",
        "mirror.example:5000/hub/docker/dockerfile:1.4",
        "docker/dockerfile-upstream:master",
        "docker/dockerfile:1 // with options",
    ],
)
def test_known_frontends_are_accepted(frontend):
    """The usual syntax directives should change nothing, wherever the frontend is mirrored."""
    assert parse(f"# syntax={frontend}\nFROM a").stages[0].base.image == "a"


@pytest.mark.parametrize("frontend", ["tonistiigi/other:1", "docker/dockerfilex", "dockerfile"])
def test_other_frontends_are_refused_by_name(frontend):
    """A frontend that is not built in should be named instead of being ignored."""
    error = refused(f"# syntax={frontend}\nFROM a")
    assert error.message == f"unsupported syntax frontend {frontend}"
    assert error.hint


def test_bytes_that_are_no_text():
    """Comments may hold any bytes; an instruction with bytes that are no UTF-8 should be refused."""
    assert (
        parse(b"# caf\xe9\nFROM a\nRUN \\\n# caf\xe9\n true\n").stages[0].instructions[0].command.text
        == "true"
    )
    with pytest.raises(SyntaxProblem, match="not valid UTF-8") as caught:
        parse(b"FROM a\nRUN caf\xe9\n")
    assert caught.value.span.start_line == 2
    with pytest.raises(SyntaxProblem, match="not valid UTF-8"):
        parse(b"FROM a\nCOPY <<E /x\ncaf\xe9\nE\n")


def test_stages_and_lookup():
    """Stages should be found by name without case, by number, and only before the one that asks."""
    dockerfile = parse("ARG V\nFROM a AS One\nRUN x\nFROM b AS two\nFROM one AS One\nFROM 1\n")
    assert [pair.name for arg in dockerfile.meta_args for pair in arg.pairs] == ["V"]
    assert [(s.index, s.name, len(s.instructions)) for s in dockerfile.stages] == [
        (0, "one", 1),
        (1, "two", 0),
        (2, "one", 0),
        (3, None, 0),
    ]
    assert (dockerfile.stages[0].span.start_line, dockerfile.stages[0].span.end_line) == (2, 3)
    assert dockerfile.stage("ONE").index == 2
    assert dockerfile.stage("one", before=2).index == 0
    assert dockerfile.stage("two", before=1) is None
    assert dockerfile.stage("1").index == 1
    assert dockerfile.stage("1", before=1) is None
    assert dockerfile.stage("9") is None
    assert dockerfile.stage("alpine") is None
    assert dockerfile.target(None).index == 3
    assert dockerfile.target("Two").index == 1
    with pytest.raises(UndefinedStage, match='target stage "tow" could not be found') as caught:
        dockerfile.target("tow")
    assert caught.value.hint == "did you mean two?"


def test_parse_instruction_of_a_trigger():
    """A trigger as an image stores it should parse to what it was written as."""
    onbuild = parse("FROM a\nONBUILD COPY --from=b <<A x /y/\ntext\nA\n").stages[0].instructions[0]
    assert isinstance(onbuild, Onbuild)
    assert onbuild.trigger == "COPY --from=b <<A x /y/\ntext\nA"
    again = parse_instruction(onbuild.trigger, filename="base image", first_line=7)
    assert isinstance(again, Copy)
    assert (again.sources, again.dest, again.heredocs) == (("x",), "/y/", onbuild.instruction.heredocs)
    assert (again.span.filename, again.span.start_line, again.span.end_line) == ("base image", 7, 9)


def test_parse_instruction_wants_one():
    """Nothing and more than one instruction should be refused."""
    assert parse_instruction("RUN a `\n b", escape="`").command.text == "a  b"
    with pytest.raises(SyntaxProblem, match="expected one instruction, found 0"):
        parse_instruction("# nothing")
    with pytest.raises(SyntaxProblem, match="expected one instruction, found 2") as caught:
        parse_instruction("RUN a\nRUN b")
    assert caught.value.span.start_line == 2


def test_heredoc_marks_that_are_none():
    """Quoted marks, exec form and other instructions should not swallow the lines below."""
    text = """FROM a
RUN echo '<<A'
RUN ["sh", "<<A"]
RUN echo "${x" <<A
RUN echo $((1<<2)) a<<b <<<c
CMD cat <<A
ONBUILD CMD cat <<A
ONBUILD
"""
    error = refused(text)
    assert error.span.start_line == 8
    runs = parse(text.removesuffix("ONBUILD\n")).stages[0].instructions
    assert len(runs) == 6
    assert not any(run.heredocs for run in runs if isinstance(run, Run))


def test_heredoc_in_a_broken_line_is_not_read():
    """A line that has a heredoc but is no instruction should be the mistake that is reported."""
    assert refused("FROM a\nCOPY --x <<EOF /\nRNU y\nEOF\n").message == "unknown flag: --x"
    assert refused("FROM a\nCOPY\t<<EOF\nEOF").span.start_line == 2


def test_healthcheck_none():
    """A check that is switched off should say so."""
    assert parse_instruction("HEALTHCHECK NONE").none
    assert not parse_instruction("HEALTHCHECK CMD true").none


@pytest.mark.parametrize(
    ("text", "legacy", "pairs"),
    [
        ("LABEL a b=c", True, [("a", "b=c")]),
        ("LABEL a\tb", True, [("a", "b")]),
        (r"LABEL a\ b=c", False, [(r"a\ b", "c")]),
        ('LABEL "a b"=c', False, [('"a b"', "c")]),
        ('LABEL "a=b"', False, [('"a', 'b"')]),
        ("LABEL 'a=b' c=d", False, [("'a", "b'"), ("c", "d")]),
        ('LABEL "a b" c', True, [('"a', 'b" c')]),
        (r"LABEL a\=b", False, [("a\\", "b")]),
        ("LABEL =a=b c=", None, None),
        ("LABEL a= b=", False, [("a", ""), ("b", "")]),
        ('LABEL a="open b=c', False, [("a", '"open b=c')]),
        ("LABEL a b\\\\", True, [("a", "b\\\\")]),
        ("LABEL a=b\\\\\\", False, [("a", "b\\\\")]),
    ],
)
def test_first_word_decides_between_the_two_forms(text, legacy, pairs):
    """An "=" anywhere in the first word, quoted or not, should mean NAME=value."""
    if pairs is None:
        with pytest.raises(SyntaxProblem):
            parse_instruction(text)
        return
    label = parse_instruction(text)
    assert (label.legacy, [*label.pairs]) == (legacy, pairs)


def test_unusual_blanks():
    """Words of paths should be divided by ordinary blanks only, words of ARG by any white space."""
    assert parse_instruction("COPY a\u00a0b\x1cc \u00a0 /d").sources == ("a\u00a0b\x1cc",)
    assert [pair.name for pair in parse_instruction("ARG a\u00a0b\u3000c\x1cd").pairs] == ["a", "b", "c\x1cd"]


def test_keyword_is_kept_as_written():
    """The case of a keyword should be known to whoever checks the style of a file."""
    assert parse_instruction("  eNv a=b").keyword == "eNv"


def test_copy_in_exec_form_has_no_heredocs():
    """In exec form a source that looks like a heredoc should be a path."""
    copy = parse_instruction('COPY ["<<EOF", "/x"]')
    assert copy.sources == ("<<EOF",)


def test_quoted_flags():
    """Quotes and escapes in flags should be resolved before the value is read."""
    copy = parse_instruction(r"""COPY --from="a b" --chown='x'y --exclude=a\ b --exclude="\"" /s /d""")
    assert (copy.from_, copy.chown, copy.exclude) == ("a b", "xy", ("a b", '"'))
    assert parse_instruction("COPY --chown=`'a b /c", escape="`").chown == "'a"
    with pytest.raises(SyntaxProblem, match="RUN requires at least one argument"):
        parse_instruction('RUN --network="none true')


def test_values_survive_pickling_without_lark():
    """A parsed file should load in a process that never imports lark."""
    text = "# check=skip=all\nFROM a AS b\nRUN --mount=type=cache,target=/c <<E\nx\nE\nONBUILD ENV A=b\n"
    program = (
        "import pickle, sys\n"
        "value = pickle.load(sys.stdin.buffer)\n"
        "assert 'lark' not in sys.modules, 'lark was imported'\n"
        "sys.stdout.buffer.write(pickle.dumps(value))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps(parse(text)), stdout=subprocess.PIPE, check=True
    )
    assert pickle.loads(ran.stdout) == parse(text)


def test_errors_survive_pickling():
    """An error should keep its place and hint when it crosses a process boundary."""
    error = refused("FROM a\nRNU x")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.span) == (type(error), str(error), error.span)


KEYWORDS = st.sampled_from([*(keyword.upper() for keyword in INSTRUCTIONS), "run", "Copy", "foo", ""])
CHARACTERS = "a= \"'\\`[]{},#\t\n\u00e9\u00a0\x00"
TOKENS = """A=b $x ${ ["a"] --x -- --mount= --from=a type=cache target=/x <<EOF <<-'E' EOF AS CMD NONE 1s
--interval="""
FRAGMENTS = st.sampled_from([*CHARACTERS, *TOKENS.split(), "\r\n", "\\\n"])
LINES = st.tuples(KEYWORDS, st.sampled_from([" ", "\t", "\n", " \\\n"]), st.lists(FRAGMENTS, max_size=8)).map(
    lambda line: line[0] + line[1] + "".join(line[2]) + "\n"
)
HEADS = st.sampled_from(
    ["FROM a\n", "# escape=`\nFROM a\n", "", "# syntax=docker/dockerfile:1\n", "\ufeffFROM a\n"]
)


def spans_of(instruction: Instruction):
    yield instruction.span
    if isinstance(instruction, Onbuild):
        yield instruction.instruction.span


def check_any_text(text):
    last = max(1, len(text.removesuffix("\n").split("\n")))
    dockerfile, error = outcome(text)
    if error:
        assert error.message
        assert error.span.filename == "Dockerfile"
        assert 1 <= error.span.start_line <= error.span.end_line <= last
        return
    previous = 0
    for stage in dockerfile.stages:
        for instruction in (stage.base, *stage.instructions):
            for span in spans_of(instruction):
                assert previous < span.start_line <= span.end_line <= last
            previous = instruction.span.end_line
    assert all(1 <= warning.span.start_line <= last for warning in dockerfile.warnings)


@settings(max_examples=400)
@given(HEADS, st.lists(LINES, max_size=6))
def test_dockerfile_like_text_parses_or_is_refused(head, lines):
    """Anything like a Dockerfile should parse, or be refused with lines that are in the file."""
    check_any_text(head + "".join(lines))


@given(st.text())
def test_any_text_parses_or_is_refused(text):
    """Any text should parse, or be refused with lines that are in the file."""
    check_any_text(text)


@given(st.binary())
def test_any_bytes_parse_or_are_refused(data):
    """Any bytes should parse, or be refused as such."""
    dockerfile, error = outcome(data)
    assert dockerfile or error.span


WORDS = st.sampled_from(["a", "b=c", "$d", '"e f"', "-g", "&&", "x#y", "\\\\", "é"])
COMMANDS = st.lists(
    st.tuples(st.sampled_from(["RUN", "ENV X", "LABEL a=b", "CMD", "WORKDIR"]), st.lists(WORDS, min_size=1)),
    min_size=1,
    max_size=4,
)
FILLINGS = st.sampled_from(
    [" \\\n", " \\ \t\n", " \\\n# comment\n", " \\\n\t# indented\n\n", " \\\n\n \n", " \\\r\n", " "]
)


def without_places(dockerfile):
    values = []
    for stage in dockerfile.stages:
        for instruction in (stage.base, *stage.instructions):
            names = list(type(instruction).__dataclass_fields__)
            values.append(
                [type(instruction)]
                + [getattr(instruction, n) for n in names if n not in ("span", "comments")]
            )
    return values


@settings(max_examples=150)
@given(COMMANDS, st.data())
def test_reflowing_changes_nothing(commands, data):
    """Breaking lines, and putting comments and blank lines between them, should change no value."""
    try:
        plain = parse("FROM a\n" + "".join(f"{keyword} {' '.join(words)}\n" for keyword, words in commands))
    except DockerfileError:
        return
    text = "FROM a\n"
    for keyword, words in commands:
        text += data.draw(st.sampled_from(["", "\n", "# note\n", "  \t\n"])) + data.draw(
            st.sampled_from(["", "  "])
        )
        text += " ".join([keyword, words[0]])
        for word in words[1:]:
            text += data.draw(FILLINGS) + word
        text += "\n"
    assert without_places(parse(text)) == without_places(plain)
