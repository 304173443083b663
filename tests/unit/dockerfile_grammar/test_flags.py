"""The flags between a keyword and its arguments."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerfile_grammar.errors import InvalidFlag
from dockerfile_grammar.flags import FLAGS, FlagKind, parse_flags, resolve_quotes
from dockerfile_grammar.instructions import INSTRUCTIONS

KNOWN = {"name": FlagKind.TEXT, "item": FlagKind.LIST, "on": FlagKind.SWITCH, "off": FlagKind.SWITCH}


def test_parse_flags():
    """Values should keep everything behind the first "=", and lists their order."""
    written = ["--item=a", "--name=x=y", "--on", "--off=FALSE", "--item=", "--", "--bad"]
    flags = parse_flags(KNOWN, written)
    assert flags.used == ("item", "name", "on", "off")
    assert flags.text("name") == "x=y"
    assert flags.all("item") == ("a", "")
    assert flags.switch("on") is True
    assert flags.switch("off") is False
    nothing = parse_flags(KNOWN, [])
    assert (nothing.text("name"), nothing.all("item"), nothing.switch("on")) == (None, (), None)


@pytest.mark.parametrize(
    ("flag", "message", "hint"),
    [
        ("--nmae=x", "unknown flag: --nmae", "did you mean --name?"),
        ("--NAME=x", "unknown flag: --NAME", None),
        ("name=x", "arg should start with -- : name=x", None),
        ("--name", "missing a value on flag: --name", None),
        ("--item", "missing a value on flag: --item", None),
        ("--on=", "missing a value on flag: --on", None),
        ("--on=1", "expecting boolean value for flag --on, not: 1", None),
    ],
)
def test_flags_that_are_refused(flag, message, hint):
    """A flag should be known, and have the kind of value it takes."""
    with pytest.raises(InvalidFlag) as caught:
        parse_flags(KNOWN, [flag])
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize("flag", ["--name=x", "--on"])
def test_only_lists_may_repeat(flag):
    """A second value should be refused, not win."""
    with pytest.raises(InvalidFlag, match="duplicate flag specified: --"):
        parse_flags(KNOWN, [flag, flag])


@pytest.mark.parametrize(
    ("word", "escape", "expected"),
    [
        ("--a=b", "\\", "--a=b"),
        ("--a='b c'\"d e\"", "\\", "--a=b cd e"),
        ("--a=\\\"'b'", "\\", '--a="b'),
        ('--a="\\"\'"', "\\", "--a=\"'"),
        ('--a=`"\\', "`", '--a="\\'),
        ("--a=b\\", "\\", "--a=b"),
        ("--a='open", "\\", "--a=open"),
    ],
)
def test_resolve_quotes(word, escape, expected):
    """Quotes and escapes should disappear, whether or not they are complete."""
    assert resolve_quotes(word, escape) == expected


@given(st.text())
def test_escaped_text_comes_back(text):
    """Any text should be writable by escaping each character."""
    assert resolve_quotes("".join("\\" + char for char in text), "\\") == text


def test_table_names_only_instructions():
    """The table of flags should have no entry that nothing reads."""
    assert set(FLAGS) <= set(INSTRUCTIONS)
