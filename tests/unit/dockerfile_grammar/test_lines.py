"""Directives, logical lines, heredocs, excerpts and warnings."""

import pytest

from dockerfile_grammar.directives import find_directive
from dockerfile_grammar.dump import dump
from dockerfile_grammar.errors import DockerfileError, ExpansionError, SyntaxProblem
from dockerfile_grammar.forms import read_exec_form
from dockerfile_grammar.heredocs import heredocs_opened, read_heredoc_word
from dockerfile_grammar.lines import LineReader
from dockerfile_grammar.parser import parse
from dockerfile_grammar.ports import parse_ports
from dockerfile_grammar.spans import Position, SourceText, Span
from dockerfile_grammar.suggest import did_you_mean, did_you_mean_keyword, edit_distance, nearest


def read(text, **arguments):
    reader = LineReader(SourceText("f", text), opens_heredocs=lambda _line, _escape: True, **arguments)
    lines = list(reader)
    return reader, lines


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        ("A b", ["A b"]),
        ("  A b  ", ["A b"]),
        ("A \\\n  b", ["A   b"]),
        ("A \\ \t\nb", ["A b"]),
        ("A \\\\\nB", ["A \\\\", "B"]),
        ("A \\\\\\\nB", ["A \\\\\\", "B"]),
        ("A \\\n# c\n  # d\nb", ["A b"]),
        ("A \\\n\n \nb", ["A b"]),
        ("A # no comment \\\nb", ["A # no comment b"]),
        ("# comment \\\nA", ["A"]),
        ("A \\", ["A"]),
        ("\\\nA", ["A"]),
        (" \\\n\\\n A", ["A"]),
        ("A\r\nB \\\r\n c\r\n", ["A", "B  c"]),
        ("A\u2028b\x0bc\x85d", ["A\u2028b\x0bc\x85d"]),
        ("\ufeffA", ["A"]),
        ("A `\nb", ["A `", "b"]),
        ("# escape=`\nA `\nb \\\nC", ["A b \\", "C"]),
        ("# Escape = ` \r\nA `\nb", ["A b"]),
        ("  # escape=`\nA `\nb", ["A b"]),
        ("# syntax=docker/dockerfile:1\n# escape=`\nA `\nb", ["A b"]),
        ("\n# escape=`\nA `\nb", ["A `", "b"]),
        ("# x=y\n# escape=`\nA `\nb", ["A `", "b"]),
        ("# text\n# escape=`\nA `\nb", ["A `", "b"]),
        ("#!/bin/sh\n# escape=`\nA `\nb", ["A `", "b"]),
        ("A\n# escape=`\nB `\nc", ["A", "B `", "c"]),
    ],
)
def test_logical_lines(text, joined):
    """Continuations should be joined, comments dropped, and directives obeyed only on top."""
    assert [line.text for line in read(text)[1]] == joined


def test_comments_belong_to_the_instruction_below():
    """Blank lines should keep a comment attached, a bare "#" and an instruction should end it."""
    text = "# escape=\\\n# one\n\n  #two\nA\nB\n# lost\n#\n# three\nC\n"
    assert [line.comments for line in read(text)[1]] == [("one", "two"), (), ("three",)]


def test_empty_continuation_lines_are_warned_about():
    """The warning should be at the last line of the instruction, and comments should not cause it."""
    warnings = parse("FROM a\nRUN b \\\n\n c\nRUN d \\\n# e\n f\n").warnings
    assert [(w.rule, w.message, w.span.start_line) for w in warnings] == [
        ("NoEmptyContinuation", "Empty continuation line found in: RUN b  c", 4)
    ]


def test_first_line_moves_spans():
    """A text from the middle of a file should have the lines of that file."""
    _, lines = read("A\nB <<E\nx\nE\n", first_line=10)
    assert [(line.span.start_line, line.span.end_line) for line in lines] == [(10, 10), (11, 13)]


@pytest.mark.parametrize(
    ("text", "contents"),
    [
        ("A <<E\nE\n", [("E", "")]),
        ("A <<E\nx\nE", [("E", "x\n")]),
        ("A <<E\n E\nE \nEE\nE\n", [("E", " E\nE \nEE\n")]),
        ("A <<-E\n\tx\n\t\tE\n", [("E", "\tx\n")]),
        ("A <<-E\n E\n\tE\n", [("E", " E\n")]),
        ("A <<E\r\nx\r\nE\r\n", [("E", "x\r\n")]),
        ("A <<E <<F\nF\nE\nx\nF\n", [("E", "F\n"), ("F", "x\n")]),
        ("A <<E \\\n b\nx \\\n# y\n\nE\n", [("E", "x \\\n# y\n\n")]),
        ("A 5<<E\nE", [("E", "")]),
    ],
)
def test_heredocs_are_read_as_written(text, contents):
    """Content should be kept byte for byte, up to a line that is only the name."""
    (line,) = read(text)[1]
    assert [(heredoc.name, heredoc.content) for heredoc in line.heredocs] == contents


@pytest.mark.parametrize(
    ("word", "name", "expand", "chomp", "fd"),
    [
        ("<<E", "E", True, False, 0),
        ("<<-E", "E", True, True, 0),
        ("<<'E'", "E", False, False, 0),
        ('<<-"E F"', "E F", False, True, 0),
        ("<<E'F'", "EF", False, False, 0),
        ("12<<E", "E", True, False, 12),
        (r"<<E\'", "E'", True, False, 0),
        ("<<$E", "$E", True, False, 0),
    ],
)
def test_heredoc_words(word, name, expand, chomp, fd):
    """The name should lose its quotes, and any quote in it should switch expansion off."""
    heredoc = read_heredoc_word(word)
    assert (heredoc.name, heredoc.expand, heredoc.chomp, heredoc.fd) == (name, expand, chomp, fd)


@pytest.mark.parametrize("word", ["", "<E", "<<", "<<-", "<<<E", "a<<E", "<<E F", "<<''", "<< "])
def test_words_that_open_no_heredoc(word):
    """Anything but one name behind the mark should be an ordinary word."""
    assert read_heredoc_word(word) is None


def test_broken_heredoc_names():
    """A quote that does not end should be an error in a word, and no heredoc in a line."""
    with pytest.raises(ExpansionError):
        read_heredoc_word("<<'E")
    assert heredocs_opened("RUN <<'E") == []
    assert heredocs_opened("RUN x") == []


def test_heredoc_body():
    """The body should lose its leading tabs, and only tabs, exactly when the mark asks for it."""
    plain, chomped = (read(f"A {mark}\n\t\ta\tb\n \tc\nE\n")[1][0].heredocs[0] for mark in ("<<E", "<<-E"))
    assert plain.body == plain.content == chomped.content == "\t\ta\tb\n \tc\n"
    assert chomped.body == "a\tb\n \tc\n"


def test_find_directive():
    """A directive should be found after "#!" and, on request, in other notations."""
    assert find_directive("syntax", "#!/x\n# syntax=a b\n").first_word == "a"
    assert find_directive("syntax", "FROM a\n# syntax=b") is None
    assert find_directive("escape", "# syntax=a\n#escape=`\r\n").value == "`"
    assert find_directive("syntax", "//syntax=a") is None
    assert find_directive("syntax", "//syntax=a", any_format=True).value == "a"
    assert find_directive("syntax", '{"syntax": "a"}', any_format=True).value == "a"
    assert find_directive("syntax", '{"syntax": 1}', any_format=True) is None
    assert find_directive("syntax", "[1]", any_format=True) is None
    assert find_directive("syntax", "", any_format=True) is None
    assert find_directive("check", "# escape=`\n# syntax=a\n# check=x").value == "x"
    assert find_directive("check", "# escape=`") is None
    assert find_directive("check", "# escape=`\n# escape=`\n# check=x") is None


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("[]", ()),
        (' [ "a" , "b\\n" ] ', ("a", "b\n")),
        ('["\\ud83d\\ude00 \\ud83d"]', ("😀 \ufffd",)),
        ("a", None),
        ('["a"', None),
        ('["a",]', None),
        ('["a"] b', None),
        ("['a']", None),
        ('["a\tb"]', None),
        ("[NaN]", None),
        ("[" * 100_000, None),
        ("{}", None),
    ],
)
def test_read_exec_form(text, argv):
    """Valid arrays should be exec form, everything else should be left to the shell."""
    assert read_exec_form(text) == argv


@pytest.mark.parametrize(
    "text", ["[1]", '["a", null]', '[["a"]]', "[true]", "[{}]", "[1e999]", "[" + "9" * 5000 + "]"]
)
def test_arrays_of_other_things_are_refused(text):
    """A valid array with something other than strings should be a mistake."""
    with pytest.raises(SyntaxProblem, match="comprised of strings only"):
        read_exec_form(text)


def test_excerpt():
    """An excerpt should mark the lines of the span and show what is around them."""
    source = SourceText("d/Dockerfile", "one\n\ttwo\r\nthree\n\nfive\nsix\n")
    assert source.excerpt(Span("d/Dockerfile", 2, 3), context=1) == (
        "d/Dockerfile:2\n"
        "--------------------\n"
        "   1 |     one\n"
        "   2 | >>> \ttwo\n"
        "   3 | >>> three\n"
        "   4 |\n"
        "--------------------"
    )
    assert source.excerpt(Span("d/Dockerfile", 6, 9)).splitlines()[-2] == "   6 | >>> six"
    assert "?" in SourceText("f", "caf\udce9").excerpt(Span("f", 1, 1))


def test_spans():
    """Spans should give their ends as positions."""
    span = Span("f", 2, 3)
    assert (span.start, span.end) == (Position(2), Position(3))
    assert str(span) == "f:2"


def test_error_keeps_its_first_place():
    """A place that is known should not be overwritten by a wider one."""
    error = DockerfileError("x", span=Span("f", 1, 1))
    assert error.located(Span("f", 2, 2)).span.start_line == 1
    assert DockerfileError("x").located(Span("f", 2, 2)).span.start_line == 2


def test_suggestions():
    """Only near words should be suggested, and never the word itself."""
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("abcd", "abdc") == 1
    assert edit_distance("", "abc") == 3
    assert nearest("mout", ["mount", "network"]) == "mount"
    assert nearest("mount", ["mount", "mounts"]) is None
    assert did_you_mean("xxxxxx", ["mount"]) is None
    assert did_you_mean_keyword("ENTRYPONT", ["entrypoint"]) == "did you mean ENTRYPOINT?"
    assert did_you_mean_keyword("cpoy", ["copy"]) == "did you mean copy?"


@pytest.mark.parametrize(
    ("words", "ports"),
    [
        (["80"], ("80/tcp",)),
        (["80", "80/tcp", "80/TCP"], ("80/tcp",)),
        (["53/UDP", "9/sctp"], ("53/udp", "9/sctp")),
        (["8000-8002/udp"], ("8000/udp", "8001/udp", "8002/udp")),
        (["80-80"], ("80/tcp",)),
        (["0", "65535"], ("0/tcp", "65535/tcp")),
        (["80/"], ("80/tcp",)),
        (["127.0.0.1:1:2"], ("2/tcp",)),
        (["[::1]:1:2"], ("2/tcp",)),
        (["::1:1:2"], ("2/tcp",)),
        (["1-3:7"], ("7/tcp",)),
        ([":7"], ("7/tcp",)),
        ([], ()),
    ],
)
def test_parse_ports(words, ports):
    """Ports should come out once each, with their protocol."""
    assert parse_ports(words) == ports


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("", "no port specified"),
        ("/tcp", "no port specified"),
        ("80/foo", "invalid proto: foo"),
        ("a", "invalid containerPort: a"),
        ("65536", "invalid containerPort: 65536"),
        ("-1", "invalid containerPort: -1"),
        ("3-1", "invalid containerPort: 3-1"),
        ("1-", "invalid containerPort: 1-"),
        ("x:80", "invalid hostPort: x"),
        ("1-3:1-2", "invalid ranges specified for container and host Ports: 1-2 and 1-3"),
        ("host:1:2", "invalid IP address: host"),
    ],
)
def test_parse_ports_refuses(word, message):
    """A word that is no port should be refused with the reason."""
    with pytest.raises(SyntaxProblem) as caught:
        parse_ports([word])
    assert message in caught.value.message


def test_dump():
    """The dump should show flags, words and pairs, and the parts of a trigger in parentheses."""
    text = """FROM --platform=x a AS b
RUN --mount="type=cache" -- echo
ENV a b c
LABEL a=b "c"=d
CMD ["x", "\\t"]
copy <<E --x /d
E
onbuild copy --a=b c
HEALTHCHECK CMD true
ENV
XYZ a
"""
    assert (
        dump(text)
        == """(from ["--platform=x"] "a" "AS" "b")
(run ["--mount=type=cache"] "echo")
(env "a" "b c" "")
(label "a" "b" "=" "\\"c\\"" "d" "=")
(cmd "x" "\\t")
(copy "<<E" "--x" "/d")
(onbuild (copy ["--a=b"] "c"))
(healthcheck "CMD" "true")
(env)
(xyz "")
"""
    )
    for broken in ("FROM a b", "ENV a", "COPY [1]"):
        with pytest.raises(SyntaxProblem):
            dump(broken)
