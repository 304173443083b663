"""The borrowed rules of Go's standard library."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockerfile_grammar.golang import (
    clean_path,
    csv_fields,
    parse_bool,
    parse_duration,
    parse_size,
    parse_unsigned,
    quote,
)

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("+0", 0),
        ("5s", 5 * SECOND),
        ("1h30m", 5400 * SECOND),
        ("1.5h", 5400 * SECOND),
        (".5s", SECOND // 2),
        ("1.s", SECOND),
        ("-1m", -60 * SECOND),
        ("3ms4us5ns", 3_004_005),
        ("1µs", 1000),
        ("1\u03bcs", 1000),
        ("0.3333333333333333333h", 1_199_999_999_999),
        ("9223372036854775807ns", 2**63 - 1),
    ],
)
def test_parse_duration(text, nanoseconds):
    """Durations should be read exactly."""
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "5",
        "s",
        ".s",
        "1x",
        "1 s",
        "5s ",
        "9223372036854775808ns",
        "1s-1s",
        "1" * 30 + "s",
        "\uff11s",
    ],
)
def test_parse_duration_refuses(text):
    """Anything else should be refused with the text."""
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("32", 32),
        ("32b", 32),
        ("+32", 32),
        ("32k", 32 << 10),
        ("32KB", 32 << 10),
        ("32 KiB", 32 << 10),
        ("1.5g", 3 << 29),
        (".5m", 1 << 19),
        ("2T", 2 << 40),
        ("1P", 1 << 50),
    ],
)
def test_parse_size(text, size):
    """Suffixes should be binary, with or without B and iB."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "k", "-1", "1x", "1kk", "1ib", "1bb", " 1", "0x10", "1" * 40, "9000p"])
def test_parse_size_refuses(text):
    """Anything else should be refused."""
    with pytest.raises(ValueError, match="invalid size"):
        parse_size(text)


def test_parse_bool():
    """Only Go's twelve words should be booleans."""
    assert [parse_bool(word) for word in ("1", "t", "T", "TRUE", "true", "True")] == [True] * 6
    assert [parse_bool(word) for word in ("0", "f", "F", "FALSE", "false", "False")] == [False] * 6
    with pytest.raises(ValueError, match="invalid boolean"):
        parse_bool("tRUE")


def test_parse_unsigned():
    """Only digits that fit 32 bits should be a number."""
    assert parse_unsigned("0755", 8) == 0o755
    assert parse_unsigned("4294967295", 10) == 2**32 - 1
    for text, base in (("", 10), ("+1", 10), ("1_0", 10), ("8", 8), ("4294967296", 10), ("9" * 20, 10)):
        with pytest.raises(ValueError, match="number"):
            parse_unsigned(text, base)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", '"a"'),
        ('"\\\n\t', r'"\"\\\n\t"'),
        ("\a\b\f\r\v", r'"\a\b\f\r\v"'),
        ("\x00\x7f", r'"\x00\x7f"'),
        ("é☃", '"é☃"'),
        ("\u200b\U000e0001", r'"\u200b\U000e0001"'),
    ],
)
def test_quote(text, expected):
    """Text should be quoted so that nothing invisible is left."""
    assert quote(text) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "."),
        ("a/../b//c/.", "b/c"),
        ("//a", "/a"),
        ("/..", "/"),
        ("../x", "../x"),
        ("/", "/"),
        ("a/", "a"),
    ],
)
def test_clean_path(path, expected):
    """A path should come out in its shortest form."""
    assert clean_path(path) == expected


@given(st.lists(st.text(), min_size=1))
def test_quoted_csv_fields_come_back(fields):
    """Any text should survive in a quoted field."""
    line = ",".join('"' + field.replace('"', '""') + '"' for field in fields)
    assert csv_fields(line) == fields


def test_csv_fields():
    """Empty fields should count, also the last."""
    assert csv_fields("a,,b") == ["a", "", "b"]
    assert csv_fields("") == [""]
    assert csv_fields("a,") == ["a", ""]
    assert csv_fields('"a",') == ["a", ""]
