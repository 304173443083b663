"""How checks, outlines and targets are printed, and what ``--call`` takes."""

import base64
import json

import pytest

from builder.checks import CheckResult
from builder.cli.answers import (
    check_json,
    check_text,
    outline_json,
    outline_text,
    targets_json,
    targets_text,
)
from builder.cli.calling import Call, parse_call
from builder.errors import InvalidOption, Unsupported
from builder.outline import Credential, Outline, Parameter, list_targets
from dockerfile_grammar.lint.linter import Finding
from dockerfile_grammar.lint.rules import INVALID_BASE_IMAGE_PLATFORM, MAINTAINER_DEPRECATED
from dockerfile_grammar.parser import parse
from dockerfile_grammar.spans import Span

TEXT = "FROM x\nRUN a \\\n b \\\n c\nRUN 5\nMAINTAINER me\nRUN 7\nRUN 8\nRUN 9\n"
FILE = parse(TEXT)


def finding(first, last, rule=MAINTAINER_DEPRECATED):
    return Finding(rule, "the detail", Span("Dockerfile", first, last))


def result(*findings, problem=None):
    return CheckResult(findings=findings, problem=problem)


def test_one_finding():
    """A finding should be shown with its page and two lines on both sides."""
    assert check_text(result(finding(6, 6)), FILE.source) == (
        "Check complete, 1 warning has been found!\n"
        "\n"
        "WARNING: MaintainerDeprecated - "
        "https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/\n"
        "the detail\n"
        "Dockerfile:6\n"
        "--------------------\n"
        "   4 |      c\n"
        "   5 |     RUN 5\n"
        "   6 | >>> MAINTAINER me\n"
        "   7 |     RUN 7\n"
        "   8 |     RUN 8\n"
        "--------------------\n"
    )


def numbers(first, last):
    lines = check_text(result(finding(first, last)), FILE.source).splitlines()
    return [int(line.partition("|")[0]) for line in lines if " | " in line]


def test_lines_around():
    """A long finding should have less around it, one at an end of the file more on the other side."""
    assert numbers(2, 4) == [1, 2, 3, 4, 5]
    assert numbers(1, 1) == [1, 2, 3]
    assert numbers(9, 9) == [7, 8, 9, 10]
    assert numbers(9, 40) == [8, 9, 10]


def test_several_findings():
    """The head should count; a rule without a page should have none."""
    text = check_text(result(finding(1, 1), finding(2, 4, INVALID_BASE_IMAGE_PLATFORM)), FILE.source)
    assert text.startswith("Check complete, 2 warnings have been found!\n\nWARNING: Maintainer")
    assert "\nWARNING: InvalidBaseImagePlatform\nthe detail\nDockerfile:2\n" in text


def test_nothing_found():
    """Nothing found should be told, unless an error follows."""
    assert check_text(result(), FILE.source) == "Check complete, no warnings found.\n"
    assert check_text(result(problem=Unsupported("x")), FILE.source) == ""


def test_control_characters_are_not_printed():
    """What a Dockerfile holds should not reach a terminal as escape sequences."""
    file = parse("FROM x\nRUN \x1b[31m\nMAINTAINER me\n")
    assert "\x1b" not in check_text(result(finding(3, 3)), file.source)


def test_check_as_json():
    """Programs should get rule, texts, lines and the file."""
    problem = Unsupported("no such thing", span=Span("Dockerfile", 5, 6))
    value = json.loads(
        check_json(result(finding(2, 4, INVALID_BASE_IMAGE_PLATFORM), problem=problem), FILE.source)
    )
    assert value["warnings"] == [
        {
            "ruleName": "InvalidBaseImagePlatform",
            "description": INVALID_BASE_IMAGE_PLATFORM.description,
            "detail": "the detail",
            "location": {"ranges": [{"start": {"line": n}, "end": {"line": n}} for n in (2, 3, 4)]},
        }
    ]
    assert base64.b64decode(value["sources"][0]["data"]).decode() == TEXT
    assert value["buildError"] == {
        "message": "no such thing",
        "location": {"ranges": [{"start": {"line": n}, "end": {"line": n}} for n in (5, 6)]},
    }
    assert (
        json.loads(check_json(result(problem=Unsupported("x")), FILE.source))["buildError"]["location"] == {}
    )
    assert json.loads(check_json(result(), FILE.source))["warnings"] == []


SPAN = Span("Dockerfile", 3, 3)
OUTLINE = Outline(
    name="app",
    description="is it",
    args=(
        Parameter(name="LONG_NAME", value="", description="does this", span=SPAN),
        Parameter(name="B", value="1.22", description="", span=SPAN),
    ),
    secrets=(
        Credential(name="token", required=True, span=SPAN),
        Credential(name="x", required=False, span=SPAN),
    ),
    ssh=(Credential(name="default", required=False, span=SPAN),),
)
EMPTY = Outline(name="", description="", args=(), secrets=(), ssh=())


def test_outline_as_text():
    """Each kind of parameter should have its table."""
    lines = outline_text(OUTLINE).split("\n")
    assert [line.rstrip() for line in lines] == [
        "TARGET:      app",
        "DESCRIPTION: is it",
        "",
        "BUILD ARG   VALUE   DESCRIPTION",
        "LONG_NAME           does this",
        "B           1.22",
        "",
        "SECRET   REQUIRED",
        "token    true",
        "x",
        "",
        "SSH       REQUIRED",
        "default",
        "",
        "",
    ]
    assert outline_text(EMPTY) == ""


def test_outline_as_json():
    """What is empty should be left out."""
    location = {"ranges": [{"start": {"line": 3}, "end": {"line": 3}}]}
    value = json.loads(outline_json(OUTLINE, FILE.source))
    assert value["args"] == [
        {"name": "LONG_NAME", "description": "does this", "location": location},
        {"name": "B", "value": "1.22", "location": location},
    ]
    assert value["secrets"][0] == {"name": "token", "required": True, "location": location}
    assert value["ssh"] == [{"name": "default", "location": location}]
    assert (value["name"], value["description"]) == ("app", "is it")
    assert list(json.loads(outline_json(EMPTY, FILE.source))) == ["sources"]


def test_targets():
    """The default should be marked, with or without a name."""
    file = parse("# a is first\nFROM x AS a\nFROM --platform=linux/arm64 y\n")
    targets = list_targets(file)
    shown = [line.rstrip() for line in targets_text(targets).splitlines()]
    assert shown == ["TARGET    DESCRIPTION", "a         is first", "(default)"]
    assert targets_text(list_targets(parse("FROM x AS a\n"))).splitlines()[1].rstrip() == "a (default)"
    value = json.loads(targets_json(targets, file.source))["targets"]
    assert value[0] == {
        "name": "a",
        "description": "is first",
        "base": "x",
        "location": {"ranges": [{"start": {"line": 2}, "end": {"line": 2}}]},
    }
    assert (value[1]["default"], value[1]["platform"], "name" in value[1]) == (True, "linux/arm64", False)


CALLS = [
    ("build", Call(method="build")),
    ("check", Call(method="check")),
    ("lint", Call(method="check")),
    ("outline,format=json", Call(method="outline", is_json=True)),
    ("targets,format=text", Call(method="targets")),
    ("check,ignorestatus=true,format=json", Call(method="check", is_json=True, ignores_findings=True)),
]


@pytest.mark.parametrize(("text", "expected"), CALLS)
def test_calls(text, expected):
    """Every method and option of docker should be understood."""
    assert parse_call(text) == expected


@pytest.mark.parametrize(
    "text", ["plan", "x", "check,json", "check,format=xml", "check,ignorestatus=2", "check,a=b"]
)
def test_calls_that_are_refused(text):
    """Anything else should be named in the error."""
    with pytest.raises(InvalidOption, match=f"--call {text}"):
        parse_call(text)


def lines_of(location):
    return [(one["start"]["line"], one["end"]["line"]) for one in location["ranges"]]


def test_each_line_is_a_range():
    """Locations should be told line by line, as BuildKit tells them."""
    answer = json.loads(check_json(result(finding(2, 4)), FILE.source))
    assert lines_of(answer["warnings"][0]["location"]) == [(2, 2), (3, 3), (4, 4)]
    parsed = parse("FROM a \\\n AS b\nRUN c\n")
    answer = json.loads(targets_json(list_targets(parsed), parsed.source))
    assert lines_of(answer["targets"][0]["location"]) == [(1, 1), (2, 2)]


@pytest.mark.parametrize(
    ("hint", "message"),
    [("did you mean RUN?", "no RNU (did you mean RUN?)"), ("create it", "no RNU"), (None, "no RNU")],
)
def test_what_was_probably_meant_is_part_of_the_mistake(hint, message):
    """Editors have one message to show, so a suggestion should be in it."""
    problem = InvalidOption("no RNU", span=Span("Dockerfile", 5, 5), hint=hint)
    answer = json.loads(check_json(result(problem=problem), FILE.source))
    assert answer["buildError"]["message"] == message
