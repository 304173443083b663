"""Challenges and scopes survive the trip between the two ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.protocol.challenges import (
    Challenge,
    Scope,
    basic,
    bearer,
    parse_challenges,
    parse_scopes,
    repository_scope,
)

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
NAMES = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True)


@given(
    st.lists(st.builds(Challenge, NAMES, st.dictionaries(NAMES, TEXT, min_size=1, max_size=3)), max_size=3)
)
def test_challenges_round_trip(challenges):
    """Several challenges in one header are told apart, whatever their values contain."""
    assert parse_challenges(", ".join(map(str, challenges))) == tuple(challenges)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a:pull"',
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a:pull",
                    },
                )
            ],
        ),
        ("BASIC Realm=plain", [Challenge("basic", {"realm": "plain"})]),
        ("Negotiate", [Challenge("negotiate")]),
        ("Negotiate abc123==, Basic realm=x", [Challenge("negotiate"), Challenge("basic", {"realm": "x"})]),
        (r'Basic realm="a\"b"', [Challenge("basic", {"realm": 'a"b'})]),
        ('Bearer realm="a" , service="b"', [Challenge("bearer", {"realm": "a", "service": "b"})]),
        ("", []),
        ("!!!=", []),
    ],
)
def test_challenges_of_real_registries(text, expected):
    """Names and schemes have no case, blanks do not matter, tokens without names are skipped."""
    assert parse_challenges(text) == tuple(expected)


@given(st.text(max_size=100))
def test_any_challenge_header_is_handled(text):
    """The parser is total."""
    parse_challenges(text)


def test_a_bearer_challenge():
    """It names the endpoint, the service and every scope."""
    scopes = [repository_scope("lib/a", "pull", "push"), repository_scope("b", "pull")]
    assert str(bearer("https://h/token", "s", scopes, "insufficient_scope")) == (
        'Bearer realm="https://h/token",service="s",'
        'scope="repository:lib/a:pull,push repository:b:pull",error="insufficient_scope"'
    )
    assert str(bearer("r", "s")) == 'Bearer realm="r",service="s"'
    assert str(basic("here")) == 'Basic realm="here"'
    assert str(Challenge("negotiate")) == "Negotiate"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("repository:a:pull,push", [Scope("repository", "a", ("pull", "push"))]),
        ("repository:h:5000/a:pull", [Scope("repository", "h:5000/a", ("pull",))]),
        (
            "registry:catalog:*  repository:b:",
            [Scope("registry", "catalog", ("*",)), Scope("repository", "b", ())],
        ),
        ("nonsense a:b :x:y", []),
        ("", []),
    ],
)
def test_scopes(text, expected):
    """A name may contain colons; what is no scope is skipped."""
    assert parse_scopes(text) == tuple(expected)


@given(st.text(max_size=60))
def test_any_scope_text_is_handled(text):
    """What is parsed can be written and parsed again."""
    scopes = parse_scopes(text)
    assert parse_scopes(" ".join(map(str, scopes))) == scopes
