"""Word expansion and splitting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerfile_grammar.errors import ExpansionError
from dockerfile_grammar.words import expand, expand_heredoc, expand_with_names, split_raw_words, split_words

VARIABLES = {"A": "one", "EMPTY": "", "FILE": "dir/sub/name.tar.gz", "SPACED": " x  y ", "한": "k"}
lookup = VARIABLES.get


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("", ""),
        ("plain", "plain"),
        ("$A", "one"),
        ("${A}x", "onex"),
        ("$Ax", ""),
        ("$한", "k"),
        ("$", "$"),
        ("$.", "$."),
        ("a$1b$@c", "abc"),
        ("$12x", "x"),
        ("'$A'", "$A"),
        ('"$A"', "one"),
        (r"\$A", "$A"),
        (r'"\$A \" \\ \n"', r'$A " \ \n'),
        (r'"a\\"', "a\\"),
        ("end\\", "end"),
        ("<<EOF", "<<EOF"),
        ("a<b", "a<b"),
        ("${NONE:-$A}", "one"),
        ("${NONE:-'q $A'}", "q $A"),
        ("${NONE-x}${EMPTY-x}${EMPTY:-y}", "xy"),
        ("${A+x}${EMPTY+y}${EMPTY:+z}${NONE+w}", "xy"),
        ("${A?}${A:?no}${EMPTY?}", "oneone"),
        ("${FILE#*/}", "sub/name.tar.gz"),
        ("${FILE##*/}", "name.tar.gz"),
        ("${FILE#**/}${FILE%%**.*}", "sub/name.tar.gz"),
        ("${FILE%.*}", "dir/sub/name.tar"),
        ("${FILE%%.*}", "dir/sub/name"),
        ("${FILE%nothing}", "dir/sub/name.tar.gz"),
        ("${FILE#d?r}", "/sub/name.tar.gz"),
        ("${FILE/a/A}", "dir/sub/nAme.tar.gz"),
        ("${FILE//a/A}", "dir/sub/nAme.tAr.gz"),
        (r"${FILE//\//_}", "dir_sub_name.tar.gz"),
        ("${FILE/%x/y}", "dir/sub/name.tar.gz"),
        ("${A/*/$FILE}", "dir/sub/name.tar.gz"),
        ("${A//?/-}", "---"),
        ("${A//x*/-}", "one"),
        ("${A///-}", "-o-n-e-"),
        ("${EMPTY//*/x}", "x"),
        ("${A//*/x}", "x"),
        ("${NONE#x}${NONE/a/b}", ""),
        ("${A#[o]}", "one"),
        (r"${A#\*}", "one"),
        ("${-}${?}$#", ""),
        ("${A:-}}", "one}"),
    ],
)
def test_expand(word, expected):
    """Every form should give what a shell would, within the language."""
    assert expand(word, lookup) == expected


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("'open", "single-quote"),
        ('"open', "double-quote"),
        ("${", "missing '}'"),
        ("${A", "missing '}'"),
        ("${A:-x", "missing '}'"),
        ("${A:", "missing '}'"),
        ("${A/x", "syntax error: missing '/' in ${}"),
        ("${A/x/y", "missing '}'"),
        ("${}", "bad substitution"),
        ("${:x}", "bad substitution"),
        ("${{A}}", "bad substitution"),
        ("${A=x}", "unsupported modifier (=)"),
        ("${A:=x}", "unsupported modifier (:=)"),
        ("${A:#x}", "unsupported modifier (:#)"),
        ("${A:%x}", "unsupported modifier (:%)"),
        ("${.}", "unsupported modifier (.)"),
        ("${NONE?}", "NONE: is not allowed to be unset"),
        ("${NONE:?gone}", "NONE: gone"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        (r"${A#\x}", r"invalid escape '\x'"),
        (r"${A/\x/y}", r"invalid escape '\x'"),
        ("${A:-'}x", "syntax error: missing '}'"),
        ("${A:-${}}", "bad substitution"),
        ("${x-" * 100, "nested too deeply"),
    ],
)
def test_expand_refuses(word, message):
    """What is malformed should be refused with the reason and the word."""
    with pytest.raises(ExpansionError) as caught:
        expand(word, lookup)
    assert message in caught.value.message
    assert caught.value.message.startswith("failed to process ")


def test_escape_character_is_a_parameter():
    """With a backtick as escape, backslashes should be ordinary."""
    assert expand("C:\\`$A\\$A", lookup, escape="`") == "C:\\$A\\one"
    assert expand('"`"`` `x\\"', lookup, escape="`") == '"` `x\\'


def test_names_are_reported():
    """The names with and without a value should be told, in order, also from nested words."""
    result = expand_with_names("$A ${NONE:-$B} $A '$C' ${EMPTY}", lookup)
    assert result.text == "one  one $C "
    assert result.used == ("A", "EMPTY")
    assert result.unset == ("B", "NONE")


def test_heredoc_content_keeps_its_quotes():
    """In the content of a heredoc only variables and escapes should mean anything."""
    assert expand_heredoc('it\'s "$A" \\$A\n', lookup) == 'it\'s "one" $A\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  a  b ", ["a", "b"]),
        ("a$SPACED", ["a", "x", "y"]),
        ('a"$SPACED"b', ["a x  y b"]),
        (r"a\ b 'c d'", ["a b", "c d"]),
        ("$NONE", []),
        ("a '' b", ["a", "b"]),
        ("x${NONE:-y}z", ["xyz"]),
        ("a\x1cb\u00a0c", ["a\x1cb", "c"]),
    ],
)
def test_split_words(text, expected):
    """Words should be split after replacement, at blanks that are neither quoted nor escaped."""
    assert split_words(text, lookup) == expected


def test_split_raw_words_changes_nothing():
    """Raw words should keep quotes, escapes and variables as written."""
    text = r"""RUN <<  EOF "a b" 'c d' e\ f $X ${Y} ${Z:-w} ${P//a/b} ${P#a\*} "\n\"" """
    assert split_raw_words(text) == [
        "RUN",
        "<<  EOF",
        '"a b"',
        "'c d'",
        r"e\ f",
        "$X",
        "${Y}",
        "${Z:-w}",
        "${P//a/b}",
        r"${P#a\*}",
        r'"\n\""',
    ]


@given(st.text(alphabet="ab$ {}:-+?#%/*'\"\\<1", max_size=40))
def test_expand_fails_only_with_its_error(word):
    """Any text should expand or be refused as such."""
    try:
        expand(word, lookup)
        split_words(word, lookup, escape="`")
    except ExpansionError:
        pass


@given(st.text())
def test_single_quotes_keep_everything(text):
    """Quoted text without a quote inside should come back unchanged."""
    text = text.replace("'", "")
    assert expand(f"'{text}'", lookup) == text


@given(st.text())
def test_values_are_not_expanded_again(text):
    """A value should be taken as it is, whatever it looks like."""
    assert expand('$V"$V"${V}', {"V": text}.get) == text * 3
