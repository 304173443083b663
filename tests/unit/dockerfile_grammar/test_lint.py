"""The build checks of a file's text, the options that choose among checks, and the linter."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerfile_grammar.errors import SyntaxProblem
from dockerfile_grammar.ignorefile import IgnoreMatcher
from dockerfile_grammar.lint.file import check_file
from dockerfile_grammar.lint.linter import Finding, Linter
from dockerfile_grammar.lint.options import CheckOptions, comment_options, parse_options
from dockerfile_grammar.lint.rules import (
    INVALID_DEFINITION_DESCRIPTION,
    MAINTAINER_DEPRECATED,
    RULES,
    STAGE_NAME_CASING,
)
from dockerfile_grammar.lint.stage import exposed, ignored_source
from dockerfile_grammar.parser import parse, parse_instruction
from dockerfile_grammar.spans import Span


def findings(text, options=""):
    linter = Linter(parse_options(options))
    check_file(parse(text), linter)
    return [(found.rule.name, found.span.start_line) for found in linter.findings]


def texts(text, options=""):
    linter = Linter(parse_options(options))
    check_file(parse(text), linter)
    return [found.detail for found in linter.findings]


def test_there_are_twenty_two_rules():
    """Names should be unique, every rule have its sentence, and all but one a page."""
    assert len(RULES) == 22
    assert all(rule.description and name == rule.name for name, rule in RULES.items())
    assert [rule.name for rule in RULES.values() if not rule.url] == ["InvalidBaseImagePlatform"]
    assert [rule.name for rule in RULES.values() if rule.experimental] == ["InvalidDefinitionDescription"]
    assert RULES["JSONArgsRecommended"].url.endswith("/rule/json-args-recommended/")
    assert RULES["SecretsUsedInArgOrEnv"].url.endswith("/rule/secrets-used-in-arg-or-env/")


CASES = [
    ("FROM scratch AS BadName\n", [("StageNameCasing", 1)]),
    ("FROM scratch AS good\n", []),
    ("FROM scratch as base\n", [("FromAsCasing", 1)]),
    ("from scratch AS base\n", [("FromAsCasing", 1)]),
    ("from scratch as base\n", []),
    ("FROM scratch As base\n", [("FromAsCasing", 1)]),
    ("From scratch aS base\n", [("ConsistentInstructionCasing", 1)]),
    ("FROM scratch\nRUN a \\\n\n  b \\\n\n c\n", [("NoEmptyContinuation", 6)]),
    ("FROM scratch\nRUN a \\\n# comment\n  b\n", []),
    ("FROM scratch\nMAINTAINER me\n", [("MaintainerDeprecated", 2)]),
    (
        "FROM scratch AS a\nFROM scratch AS b\nFROM scratch AS A\n",
        [("DuplicateStageName", 3), ("StageNameCasing", 3)],
    ),
    ("FROM scratch AS scratch\nFROM a AS context\n", [("ReservedStageName", 1), ("ReservedStageName", 2)]),
    ("FROM scratch\ncopy a /\nCOPY a /\n", [("ConsistentInstructionCasing", 2)]),
    ("from scratch\nCOPY a /\ncopy a /\n", [("ConsistentInstructionCasing", 2)]),
    ("from scratch\nCOPY a /\n", [("ConsistentInstructionCasing", 1)]),
    ("arg x\nFROM scratch\n", []),
    ("FROM scratch\nOnbuild run x\n", [("ConsistentInstructionCasing", 2)]),
    ("# a comment\nFROM scratch AS x\n", []),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_rules_of_the_text(text, expected):
    """A rule should be reported where it is broken, and nowhere else."""
    assert sorted(findings(text)) == sorted(expected)


def test_texts():
    """What is told should be what other tools match."""
    assert texts("FROM scratch AS BadName\nFROM scratch as b\nFROM x as badname\n") == [
        "Stage name 'BadName' should be lowercase",
        "'as' and 'FROM' keywords' casing do not match",
        "'as' and 'FROM' keywords' casing do not match",
        'Duplicate stage name "badname", stage names should be unique',
    ]
    assert texts("frOM scratch\nfrom x\n") == [
        "Command 'frOM' should match the case of the command majority (lowercase)"
    ]


DESCRIPTIONS = [
    ("# foo is it\nARG foo\nFROM scratch\n", []),
    (
        "# bar is it\nARG foo\nFROM scratch\n",
        ["Comment for ARG should follow the format: `# foo <description>`"],
    ),
    ("# bar\nARG a b\nFROM x\n", ["Comment for ARG should follow the format: `# <arg_key> <description>`"]),
    (
        "# B it is\nARG a b\nFROM x\n# b it is\nARG a b\n",
        ["Comment for ARG should follow the format: `# <arg_key> <description>`"],
    ),
    ("# Base is it\nFROM x AS base\n", ["Comment for FROM should follow the format: `# base <description>`"]),
    ("# anything\nFROM x\n# anything\nRUN x\n", []),
    ("# something\n#\nARG foo\nFROM scratch\n", []),
    ("# something\n# foo is it\nARG foo\nFROM scratch\n", []),
]


@pytest.mark.parametrize(("text", "expected"), DESCRIPTIONS)
def test_descriptions(text, expected):
    """Comments above stages and arguments should describe them; nobody is told who did not ask."""
    assert texts(text) == []
    assert texts(text, "experimental=InvalidDefinitionDescription") == expected
    assert texts(text, "skip=all;experimental=all") == expected


def test_comments_above():
    """A comment should switch rules off for its instruction, but not rules about the whole file."""
    assert findings("FROM x\n# check=skip=MaintainerDeprecated\nMAINTAINER me\nMAINTAINER me\n") == [
        ("MaintainerDeprecated", 4)
    ]
    assert findings("FROM x\n# check=skip=all // because\nmaintainer me\n") == [
        ("ConsistentInstructionCasing", 3)
    ]
    assert findings("FROM x\n# check=experimental=all\nARG a\n") == [("InvalidDefinitionDescription", 3)]
    assert findings("FROM x\n# check=skip=all;nonsense\nMAINTAINER me\n") == [("MaintainerDeprecated", 3)]


def test_the_directive_is_no_comment():
    """A directive on top belongs to the file, not to the first instruction."""
    assert findings("# check=skip=all\nFROM x AS A\n") == [("StageNameCasing", 2)]


OPTIONS = [
    ("", CheckOptions()),
    ("skip=A, B", CheckOptions(skipped=frozenset({"A", "B"}))),
    (" skip = all ; error = T ", CheckOptions(skips_all=True, is_error=True)),
    (
        "error=false;experimental=X;skip=Y",
        CheckOptions(experimental=frozenset({"X"}), skipped=frozenset({"Y"})),
    ),
    ("experimental=all", CheckOptions(experimental_all=True)),
]


@pytest.mark.parametrize(("text", "expected"), OPTIONS)
def test_options_are_read(text, expected):
    """Every form of the value should be understood."""
    assert parse_options(text) == expected


@pytest.mark.parametrize(
    "text", ["skip", "skip=A;", "foo=bar", "error=maybe", "error=", "skip=A;skip=B;error=1;x=y", ";"]
)
def test_malformed_options(text):
    """Anything else should be refused."""
    with pytest.raises(SyntaxProblem, match="check option"):
        parse_options(text)


def test_comment_options():
    """The first check of several comments should count, up to its first blank."""
    assert comment_options(["hello", "check=skip=A // why", "check=skip=B"]).skipped == {"A"}
    assert comment_options(["syntax=x", "check=nonsense", "check=skip=B"]) == CheckOptions()
    assert comment_options([]) == CheckOptions()


def test_a_linter_counts_once():
    """The same finding should be kept once, findings be sorted by line, and violations name their rules."""
    linter = Linter(parse_options("error=true"))
    assert linter.violation() is None
    late, early = Span("Dockerfile", 9, 9), Span("Dockerfile", 2, 3)
    linter.report(STAGE_NAME_CASING, late, "A")
    linter.report(STAGE_NAME_CASING, late, "A")
    linter.above(("check=skip=StageNameCasing",)).report(STAGE_NAME_CASING, late, "B")
    linter.above(("check=experimental=all",)).report(INVALID_DEFINITION_DESCRIPTION, early, "ARG", "x")
    linter.above(("check=skip=Other",)).report(MAINTAINER_DEPRECATED, early)
    assert [str(found) for found in linter.findings] == [
        "InvalidDefinitionDescription: " + INVALID_DEFINITION_DESCRIPTION.detail("ARG", "x") + " (line 2)",
        "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)",
        "StageNameCasing: Stage name 'A' should be lowercase (line 9)",
    ]
    assert linter.violation() == (
        "lint violation found for rules: InvalidDefinitionDescription, MaintainerDeprecated, StageNameCasing"
    )
    assert Finding(STAGE_NAME_CASING, "x", late) == Finding(STAGE_NAME_CASING, "x", late)


def test_an_instruction_cannot_make_errors():
    """error=true above an instruction should change nothing."""
    linter = Linter(CheckOptions())
    linter.above(("check=error=true",)).report(STAGE_NAME_CASING, Span("Dockerfile", 1, 1), "A")
    assert linter.violation() is None


@pytest.mark.parametrize("word", ["x:", "80/foo", ":", "/tcp"])
def test_ports_that_are_errors(word):
    """What is no port should be left to the build."""
    linter = Linter(CheckOptions())
    exposed([word, "1/TCP"], parse_instruction("EXPOSE 1"), linter)
    assert linter.findings == ()


def test_sources_of_the_whole_context():
    """`/` and `.` should be reported only when everything is left out."""
    copy = parse_instruction("COPY . /")
    for patterns, count in ((["**"], 1), (["**/*"], 1), (["a"], 0), (["*", "!a"], 0)):
        for path in (".", "/", "./"):
            linter = Linter(CheckOptions())
            ignored_source(path, copy, IgnoreMatcher(patterns), linter)
            assert len(linter.findings) == count, (patterns, path)


@given(
    st.lists(st.sampled_from(["FROM a", "from b as C", "Run x", "ENV a b", "# x y", "", "ARG k=v", "CMD x"]))
)
def test_checks_never_fail(lines):
    """Whatever can be parsed can be checked, and every finding lies in the file."""
    text = "\n".join(["FROM scratch", *lines])
    linter = Linter(parse_options("experimental=all"))
    dockerfile = parse(text)
    check_file(dockerfile, linter)
    for found in linter.findings:
        assert 1 <= found.span.start_line <= len(lines) + 1
        assert re.search(r" \(line \d+\)\Z", str(found))


def test_every_rule_is_documented():
    """The reference should have a line for each rule, and name no others."""
    reference = Path(__file__).resolve().parents[3] / "docs" / "reference" / "checks.md"
    table = re.findall(r"^\| `([A-Z]\w+)` \|", reference.read_text(encoding="utf-8"), re.MULTILINE)
    assert table == sorted(RULES)
